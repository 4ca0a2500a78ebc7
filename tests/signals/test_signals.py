"""Signals during a training: one more checkpoint, and the same end as without them."""

import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from paths import python_path
from torch.utils.data import DataLoader

from nncore_compat import Hook, _handlers, _signals
from nncore_compat._signals import StopRequests
from nncore_compat.hooks import CheckpointHook

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 138}


def handlers():
    return [signal.getsignal(signum) for signum in CODES]


@pytest.fixture(autouse=True)
def defaults():
    """Python's own handlers, before and after."""
    before = [signal.SIG_DFL, signal.default_int_handler, signal.SIG_DFL]
    assert handlers() == before
    yield
    found = handlers()
    for signum, handler in zip(CODES, before, strict=True):
        signal.signal(signum, handler)
    assert found == before
    assert signal.set_wakeup_fd(-1) == -1


class At(Hook):
    """Does something at an event, in one iteration."""

    def __init__(self, event, iteration, action):
        super().__init__()
        self.iteration, self.action = iteration, action
        setattr(self, event, self.act)

    def act(self, engine):
        if engine.iter == self.iteration:
            self.action()


class Counted(At):
    pass


def send(*signums):
    for signum in signums:
        os.kill(os.getpid(), signum)


def train(folder, *hooks, resume=None, checkpoints=True, **options):
    """Two stages of 3 epochs of 3 iterations, order and weights drawn from one seed."""
    stages = [
        tiny.stage(epochs=3, validation={'interval': 1}, optimizer={'type': kind, 'lr': 0.1})
        for kind in ('SGD', 'Adam')
    ]
    loaders = {
        'train': DataLoader(tiny.Points(), 4, shuffle=True),
        'val': DataLoader(tiny.Points(6), 2),
    }
    engine = tiny.engine(folder, stages=stages, data_loaders=loaders, hooks=list(hooks))
    if not checkpoints:
        engine.unregister_hook('CheckpointHook')
    elif options:
        engine.register_hook(CheckpointHook(**options))
    torch.manual_seed(3)
    if resume is not None:
        engine.resume(folder / resume)
    engine.launch()
    return torch.load(folder / 'epoch_6.pth', weights_only=True) if checkpoints else engine


def assert_same(one, other):
    assert one['meta']['iter'] == other['meta']['iter']
    for key, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][key]), key
    for index, state in one['optimizer']['state'].items():
        for key, value in state.items():
            assert torch.equal(value, other['optimizer']['state'][index][key]), key


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    return train(tmp_path_factory.mktemp('uninterrupted'))


# Signal, event, iterations done, options of CheckpointHook: which file is left.
CASES = {
    'in an iteration': (signal.SIGTERM, 'before_train_iter', 4, {}, 'iter_5.pth'),
    'in the last one of an epoch': (signal.SIGINT, 'after_train_iter', 5, {}, 'iter_6.pth'),
    'while an epoch is saved': (signal.SIGUSR1, 'after_train_epoch', 9, {}, 'epoch_3.pth'),
    'in a validation': (signal.SIGTERM, 'before_val_iter', 6, {}, 'epoch_2.pth'),
    'not saved before it': (
        signal.SIGTERM,
        'before_val_iter',
        6,
        {'interval': 4},
        'iter_6.pth',
    ),
    'before the first': (signal.SIGINT, 'before_launch', 0, {}, 'iter_1.pth'),
    'saved in the background': (
        signal.SIGTERM,
        'before_train_iter',
        7,
        {'background': True},
        'iter_8.pth',
    ),
}


@pytest.mark.parametrize('case', CASES)
def test_one_more_checkpoint_and_the_same_end(tmp_path, uninterrupted, case):
    signum, event, iteration, options, file = CASES[case]
    with pytest.raises(SystemExit) as ending:
        train(tmp_path, At(event, iteration, lambda: send(signum)), **options)
    assert ending.value.code == CODES[signum]
    assert max(tmp_path.glob('*.pth'), key=os.path.getmtime).name == file
    assert_same(train(tmp_path, resume=file, **options), uninterrupted)


def test_an_unfinished_validation_is_not_waited_for(tmp_path):
    """Where the epoch is saved; else it is finished."""
    for folder, interval, steps in ((tmp_path / 'a', 1, 1), (tmp_path / 'b', 4, 3)):
        seen = []
        counted = Counted('after_val_iter', 6, lambda seen=seen: seen.append(1))
        with pytest.raises(SystemExit):
            sending = At('before_val_iter', 6, lambda: send(signal.SIGTERM))
            train(folder, sending, counted, interval=interval)
        assert len(seen) == steps


def test_a_signal_that_comes_when_all_is_done(tmp_path, uninterrupted):
    """The training ends as it should, and then the script."""
    with pytest.raises(SystemExit) as ending:
        train(tmp_path, At('after_launch', 18, lambda: send(signal.SIGTERM)))
    assert ending.value.code == 143
    assert_same(torch.load(tmp_path / 'epoch_6.pth', weights_only=True), uninterrupted)
    assert not list(tmp_path.glob('iter_*'))


def test_without_a_checkpoint_hook_ctrl_c_does_what_it_does(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, At('before_train_iter', 4, lambda: send(signal.SIGINT)), checkpoints=False)


def test_handlers_of_the_script_stay(tmp_path):
    seen = []

    def own(signum, frame):
        seen.append(signum)

    def look():
        assert signal.getsignal(signal.SIGTERM) is own
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        send(signal.SIGTERM)

    signal.signal(signal.SIGTERM, own)
    try:
        train(tmp_path, At('before_train_iter', 4, look))
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert seen == [signal.SIGTERM]


def test_handlers_are_given_back_after_an_error(tmp_path):
    def fail():
        assert handlers()[0] is not signal.SIG_DFL
        raise ValueError('no')

    with pytest.raises(ValueError, match='no'):
        train(tmp_path, At('before_train_iter', 4, fail))
    assert handlers()[0] is signal.SIG_DFL


@contextlib.contextmanager
def listening(**attributes):
    logger = logging.getLogger('listening')
    engine = SimpleNamespace(iter=0, hooks={'C': CheckpointHook()}, data_loaders={}, logger=logger)
    vars(engine).update(attributes)
    stop = StopRequests()
    stop.begin(engine)
    try:
        yield stop
    finally:
        stop.end()


def test_a_second_ctrl_c(monkeypatch):
    """Not the same one once more, which a launcher may hand on: that one is expected."""
    monkeypatch.setattr(_handlers, 'SAME', 0.2)
    with listening() as stop:
        send(signal.SIGINT, signal.SIGTERM, signal.SIGINT)
        assert stop.due(1) == signal.SIGINT
        time.sleep(0.3)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_slurm_warns_before_it_ends(monkeypatch):
    monkeypatch.setattr(_handlers, 'SAME', 0.0)
    with listening() as stop:
        send(signal.SIGUSR1, signal.SIGTERM)
        assert stop.due(1) == signal.SIGUSR1


def test_what_is_said(caplog):
    with caplog.at_level('WARNING'), listening():
        send(signal.SIGTERM)
        time.sleep(0.2)
    assert caplog.messages == [
        'SIGTERM: saving a checkpoint after this iteration; again to end at once'
    ]


def test_an_event_loop_keeps_its_socket():
    """Second signals are counted without it."""
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        signal.set_wakeup_fd(one.fileno())
        with listening() as stop:
            send(signal.SIGTERM)
            assert stop.due(1) == signal.SIGTERM
        assert signal.set_wakeup_fd(-1) == one.fileno()


def test_forked_processes_are_not_meant():
    with listening() as stop:
        child = os.fork()
        if child == 0:
            clean = handlers() == [signal.SIG_DFL, signal.default_int_handler, signal.SIG_DFL]
            os._exit(0 if clean and signal.set_wakeup_fd(-1) == -1 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert handlers() == [stop._handle] * 3


def test_in_another_thread_signals_do_what_they_do():
    seen = []

    def work():
        with listening():
            seen.extend(handlers())

    thread = _signals.threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL, signal.default_int_handler, signal.SIG_DFL]


def start(*command, **env):
    """Start a command in a session of its own."""
    env = {**os.environ, 'PYTHONPATH': python_path(ROOT), 'OMP_NUM_THREADS': '1', **env}
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(*processes):
    """Return what each has said, once all have ended."""
    try:
        return [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def ranks(size, *args):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        env = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(free.getsockname()[1])}
    return [start(HERE / 'apart.py', rank, size, *args, **env) for rank in range(size)]


@pytest.mark.slow
@pytest.mark.parametrize('size', [2, 3])
def test_processes_that_run_apart_stop_after_the_same_iteration(size):
    processes = ranks(size, 'random', 30)
    outputs = finish(*processes)
    assert [process.returncode for process in processes] == [0] * size, outputs
    assert int(outputs[0]) > 20


def test_a_second_signal_ends_a_process_that_waits_for_another():
    """The first one waits in gloo, the other one in Python."""
    processes = ranks(2, 'stuck', 0)
    for process in processes:
        assert process.stdout.readline() == 'waiting\n'
    time.sleep(0.5)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    time.sleep(_handlers.SAME + 0.3)
    assert [process.poll() for process in processes] == [None, None]
    for process, code in zip(processes, (143, -signal.SIGTERM), strict=True):
        process.send_signal(signal.SIGTERM)
        assert process.wait(_signals.PATIENCE + 2) == code
    finish(*processes)


@pytest.mark.slow
def test_where_one_process_is_gone_the_others_end():
    """The first at the end of an iteration; the second, which comes to none, after a while."""
    processes = ranks(3, 'gone', 0)
    outputs = finish(*processes)
    assert [process.returncode for process in processes] == [143, 143, 3], outputs
    assert 'other processes do not answer' in outputs[0]


LAUNCHERS = {
    # Two workers, and a signal to all processes: what a terminal and Slurm do.
    'alone': [],
    # A signal to the first process only.
    'devices': ['-m', 'nncore_compat', '--devices', 2],
    # Which signals all processes of each rank.
    'torchrun': ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2'],
}


@pytest.fixture(scope='module')
def scripts(tmp_path_factory):
    """Where the script has been run to its end, by launcher."""
    folders = {launcher: tmp_path_factory.mktemp(launcher) for launcher in ('alone', 'devices')}
    processes = [script(launcher, folder, 0) for launcher, folder in folders.items()]
    outputs = finish(*processes)
    assert [process.returncode for process in processes] == [0, 0], outputs
    return {**folders, 'torchrun': folders['devices']}


def script(launcher, folder, pause):
    return start(*LAUNCHERS[launcher], HERE / 'script.py', folder, 2, pause)


def interrupted(process, signum, batches, group=False):
    """Signal a process when it has got so far; return its last words."""
    seen = 0
    while seen < batches:
        line = process.stdout.readline()
        assert line or process.poll() is None
        seen += line.startswith('train')
    (os.killpg if group else os.kill)(process.pid, signum)
    return finish(process)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    'launcher', ['alone', 'devices', pytest.param('torchrun', marks=pytest.mark.whole_matrix)]
)
def test_scripts_with_workers_go_on_to_the_same_end(tmp_path, scripts, launcher):
    process = script(launcher, tmp_path, 0.05)
    output = interrupted(process, signal.SIGTERM, 8, group=launcher == 'alone')
    # torchrun tells of signals in its own way.
    assert process.returncode == (1 if launcher == 'torchrun' else 143), output
    assert output.count('left') == (1 if launcher == 'alone' else 2)
    assert 'Traceback' not in output or launcher == 'torchrun', output
    (file,) = tmp_path.glob('iter_*.pth')
    assert 0 < torch.load(file, weights_only=True)['meta']['iter'] < 12

    process = script(launcher, tmp_path, 0)
    output = finish(process)[0]
    assert process.returncode == 0 and re.search(r'Resumed stage 1, .* iter \d', output), output
    files = [folder / 'epoch_4.pth' for folder in (tmp_path, scripts[launcher])]
    assert_same(*(torch.load(file, weights_only=True) for file in files))
