"""The command as it is typed, its processes started by themselves."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from .conftest import LIMIT, PACKAGES, SCRIPTS

EXAMPLES = Path(__file__).resolve().parents[2] / 'examples'
COMMAND = [sys.executable, '-m', 'nncore_compat', '--verify']

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('reference_installed')]


def environment(folder):
    env = {k: v for k, v in os.environ.items() if not k.startswith('NNCORE_COMPAT')}
    return {**env, 'PYTHONPATH': str(PACKAGES), 'OMP_NUM_THREADS': '1', 'TMPDIR': str(folder)}


@pytest.mark.skipif(find_spec('sklearn') is None, reason='the example needs scikit-learn')
def test_the_example(tmp_path):
    here, temporary = tmp_path / 'here', tmp_path / 'temporary'
    here.mkdir(), temporary.mkdir()
    done = subprocess.run(
        [*COMMAND, EXAMPLES / 'digits.py'],
        cwd=here,
        env=environment(temporary),
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '\nidentical: 20 iterations, 1 validation, ' in done.stdout
    assert done.stderr == ''
    # Not even the default work_dirs.
    assert list(here.iterdir()) == [] and not list(temporary.glob('nncore-compat-*'))


ENDLESS = """
import os, sys
sys.path.insert(0, {scripts!r})
os.makedirs('work/dir')
from lab import *
with open('pid', 'w') as file:
    file.write(str(os.getpid()))
engine(stage(10**6)).launch()
"""


@pytest.mark.parametrize(('signum', 'code'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ended_before_its_time(tmp_path, signum, code):
    (tmp_path / 'main.py').write_text(ENDLESS.format(scripts=str(SCRIPTS)))
    temporary = tmp_path / 'temporary'
    temporary.mkdir()
    process = subprocess.Popen(
        [*COMMAND, '1000000', 'main.py'], cwd=tmp_path, env=environment(temporary), stderr=-1
    )
    try:
        end = time.monotonic() + LIMIT
        while not (tmp_path / 'seen.txt').exists():
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signum)
        process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode == code
    assert not (tmp_path / 'work').exists()
    assert not list(temporary.glob('nncore-compat-*'))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / 'pid').read_text()), 0)
