import logging
import os
import re

import pytest
from oracle import both, needs_nncore, run

from nncore_compat import _logging, _progress, _timer
from nncore_compat._logging import get_logger, log

LINES = """
import io, logging, os, sys, tempfile
from contextlib import redirect_stdout

if E.__name__ == 'nncore.engine':
    from nncore import get_logger, log
else:
    from nncore_compat._logging import get_logger, log

LEVELS = [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL]
folder = tempfile.mkdtemp()
out = io.StringIO()
result = []
with redirect_stdout(out):
    log('before any logger')
    log('before any logger', log_level='WARNING')
    log('before any logger', log_level=logging.ERROR)
    path = os.path.join(folder, 'deep', 'one.log')
    logger = get_logger('one', log_file=path)
    for level in LEVELS:
        logger.log(level, 'a line with %s', {'level': level})
    logger.info('two\\nlines')
    log('through the default', log_level='WARNING')
    log('by name', logger='one')
    log('by another name', logger='two')
    log('given', logger=logger, log_level='ERROR')
    try:
        1 / 0
    except ZeroDivisionError:
        logger.error('failed', exc_info=True)
    root = get_logger(log_file=os.path.join(folder, 'root.log'))
    root.info('root')
    again = get_logger('one')
    again.info('again')
    result.append([again is logger, get_logger(logger) is logger, root is logging.getLogger()])
result.append([logger.level, logger.propagate, root.level, len(logger.handlers)])
result.append(out.getvalue())
result.append(open(path).read())
result.append(open(os.path.join(folder, 'root.log')).read())
"""

TIME = r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d'


def _masked(result):
    return [re.sub(TIME, 'TIME', r) if isinstance(r, str) else r for r in result]


@pytest.mark.parametrize('colour', [{}, {'FORCE_COLOR': '1'}])
def test_lines_are_as_in_nncore(colour):
    def plain(text):
        return re.sub(r'File ".*?", line \d+', 'FILE', text)

    results = [_masked(result) for result in both(LINES, **colour)]
    real, ours = ([plain(r) if isinstance(r, str) else r for r in result] for result in results)
    assert ('\033[' in real[2]) == bool(colour)
    assert real[3].count('TIME') == 10
    assert ours == real


@pytest.fixture
def name(request, monkeypatch):
    """A logger that is new to everyone; what is set up goes away again."""
    monkeypatch.setattr(_logging, '_known', [])
    yield f'test-{request.node.name}'
    logging.Logger.manager.loggerDict.pop(f'test-{request.node.name}', None)


def test_a_logger_that_is_set_up_still_gets_its_file(name, tmp_path):
    get_logger(name).info('lost')
    logger = get_logger(name, log_file=str(tmp_path / 'a.log'))
    logger.info('kept')
    assert re.fullmatch(rf'\[{TIME} INFO\]: kept\n', (tmp_path / 'a.log').read_text())
    assert len(logger.handlers) == 2


def test_a_logger_that_is_set_up_can_stay_without_a_file(name, tmp_path):
    get_logger(name, log_file=str(tmp_path / 'a.log'), late=False)
    get_logger(name + '2')
    get_logger(name + '2', log_file=str(tmp_path / 'b.log'), late=False)
    assert os.listdir(tmp_path) == ['a.log']


def test_a_second_file_is_not_added(name, tmp_path):
    get_logger(name, log_file=str(tmp_path / 'a.log'))
    get_logger(name, log_file=str(tmp_path / 'b.log')).info('one')
    assert os.listdir(tmp_path) == ['a.log']


def test_a_given_logger_is_left_alone(name, tmp_path):
    logger = logging.getLogger(name)
    assert get_logger(logger, log_file=str(tmp_path / 'a.log')) is logger
    assert logger.handlers == [] and logger.propagate and os.listdir(tmp_path) == []


def test_other_processes_are_silent_and_write_no_file(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_logging, 'is_main_process', lambda: False)
    logger = get_logger(name, log_file=str(tmp_path / 'a.log'))
    logger.warning('quiet')
    assert logger.level == logging.ERROR
    assert os.listdir(tmp_path) == [] and capsys.readouterr().out == ''
    logger.error('loud')
    assert capsys.readouterr().out.endswith('ERROR]: loud\n')


def test_a_level_of_its_own(name, capsys, monkeypatch):
    monkeypatch.setenv('FORCE_COLOR', '1')
    monkeypatch.delenv('NO_COLOR', raising=False)
    log('odd', logger=name, log_level=25)
    assert re.fullmatch(rf'\033\[97m\[{TIME} Level 25\]: \033\[0modd\n', capsys.readouterr().out)


SHARED = """
import io, os, tempfile
from contextlib import redirect_stdout
import nncore
from nncore_compat._logging import get_logger, log

out = io.StringIO()
with redirect_stdout(out), tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'a.log')
    theirs = nncore.get_logger('shared')
    ours = get_logger('shared', log_file=path)
    ours.info('once')
    get_logger('other').info('once')
    nncore.get_logger('other').info('twice')
    log('default')
    nncore.log('default')
    written = open(path).read().count('INFO')
result = [theirs is ours, written, out.getvalue().count('INFO')]
"""


@needs_nncore
def test_a_loaded_nncore_shares_its_handlers():
    assert run('ours', SHARED) == [True, 3, 5]


BARS = """
import importlib, io, os
from contextlib import redirect_stdout

if E.__name__ == 'nncore.engine':
    from nncore.utils import progress as module
    import nncore.utils.timer as clock
else:
    from nncore_compat import _progress as module, _timer as clock

now = 0.0
def perf_counter():
    global now
    now += step
    return now
clock.perf_counter = perf_counter

result = []
for columns in (20, 60, 80, 200):
    os.environ['COLUMNS'] = str(columns)
    for step in (0.013, 1.0, 61.5, 4000.0, 90000.0):
        out = io.StringIO()
        with redirect_stdout(out):
            for _ in module.ProgressBar(range(7)):
                pass
            bar = module.ProgressBar(num_tasks=12)
            bar.update()
            bar.update(times=10)
            for _ in module.ProgressBar(iter('abc')):
                pass
            list(module.ProgressBar([]))
            over = module.ProgressBar(num_tasks=1)
            over.update(1)
        result.append(out.getvalue())
"""


def test_progress_bars_are_nncores_to_the_character():
    real, ours = both(BARS)
    assert len(set(real)) == 20
    assert '\r[>>>>' in real[0] or '\r[>' in real[0]
    assert ours == real


def test_no_bar_outside_the_main_process(monkeypatch, capsys):
    monkeypatch.setattr(_progress, 'is_main_process', lambda: False)
    assert list(_progress.ProgressBar(range(3))) == [0, 1, 2]
    assert capsys.readouterr().out == ''


def test_a_bar_yields_what_it_is_given(capsys):
    assert list(_progress.ProgressBar(x for x in 'ab')) == ['a', 'b']
    assert 'Completed: 2' in capsys.readouterr().out


TIMERS = """
if E.__name__ == 'nncore.engine':
    import nncore.utils.timer as clock
else:
    import nncore_compat._timer as clock
now = 0.0
def perf_counter():
    global now
    now += 1.7
    return now
clock.perf_counter = perf_counter

result = []
timer = clock.Timer()
for name in 'ssPsisRsPssRsisrsPrsis':
    action = {'s': 'seconds', 'P': 'pause', 'R': 'resume', 'r': 'reset', 'i': 'is_paused'}[name]
    result.append(getattr(timer, action)())
for broken in ('resume', 'pause', 'pause'):
    try:
        result.append(getattr(timer, broken)())
    except RuntimeError:
        result.append('RuntimeError')
"""


def test_timers_count_as_nncores():
    real, ours = both(TIMERS)
    assert real[-3:] == ['RuntimeError', None, 'RuntimeError']
    assert ours == real


def test_a_timer_pauses_at_time_zero(monkeypatch):
    monkeypatch.setattr(_timer, 'perf_counter', iter([0.0, 0.0, 5.0]).__next__)
    timer = _timer.Timer()
    timer.pause()
    assert timer.seconds() == 0
