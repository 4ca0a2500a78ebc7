"""A log that cannot be written, in whole or in part, does not stop training."""

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from paths import python_path

from nncore_compat import _console, _logging

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def told(monkeypatch, capsys):
    """What is said on standard error."""
    monkeypatch.setattr(_console, '_said', set())
    return lambda: capsys.readouterr().err


def logger_to(stream, name):
    logger = logging.Logger(name)
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    _console.guard(logger)
    return logger


def test_characters_that_a_console_does_not_have(told):
    raw = io.BytesIO()
    logger = logger_to(io.TextIOWrapper(raw, 'latin-1', write_through=True), 'latin')
    logger.info('lr %s \\ %s', 'ü', '日\udcff')
    assert raw.getvalue() == b'lr \xfc \\ \\u65e5\\udcff\n' and told() == ''


def test_the_log_file_has_all_characters(tmp_path, monkeypatch):
    monkeypatch.setattr(_logging, '_known', [])
    one = tiny.engine(tmp_path / 'ü')
    one.logger.info('日\udcff')
    (file,) = (tmp_path / 'ü').glob('*.log')
    assert '日\\udcff' in file.read_bytes().decode('utf-8')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no device that is full')
def test_a_full_disk_is_told_once(told, tmp_path):
    full = open('/dev/full', 'w')  # noqa: SIM115
    logger = logger_to(full, 'full')
    logger.addHandler(logging.FileHandler('/dev/full'))
    _console.guard(logger)
    for _ in range(5):
        logger.info('a line')
    lines = told().splitlines()
    assert len(lines) == 2 and all('No space left' in line for line in lines)
    for closes in (full.close, logger.handlers[1].close):
        with pytest.raises(OSError, match='No space'):
            closes()


def test_other_errors_are_reported_as_ever(told):
    logger = logger_to(io.StringIO(), 'wrong')
    logger.info('%d', 'x')
    assert '--- Logging error ---' in told()


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import tiny
one = tiny.engine({folder!r}, stages=tiny.stage(epochs=3, validation={{'interval': 1}}))
one.launch()
one.logger.info('\\u65e5')
print('end')
"""


def test_whoever_reads_may_go(tmp_path):
    """As `| head -1` does: the run goes on to its end, with its log in the file."""
    code = SCRIPT.format(tests=str(ROOT / 'tests'), folder=str(tmp_path / 'w'))
    env = {**os.environ, 'PYTHONPATH': python_path(ROOT), 'OMP_NUM_THREADS': '1'}
    env.update(LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0')
    run = subprocess.Popen(
        [sys.executable, '-c', code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    run.stdout.readline()
    run.stdout.close()
    errors = run.stderr.read().decode()
    assert run.wait(120) == 0, errors
    lines = [line for line in errors.splitlines() if not line.startswith('nncore_compat: ')]
    assert lines == ['Cannot write to standard output: Broken pipe. Training goes on.']
    (log,) = (tmp_path / 'w').glob('*.log')
    text = log.read_text(encoding='utf-8')
    assert 'Done running' in text and '日' in text
