"""Writers whose disk or network fails, and runs that end with an error."""

import contextlib
import errno
import json
import os

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import (
    STORE_EVERYTHING_SIZE_GUIDANCE,
    EventAccumulator,
)

import nncore_compat as E
from nncore_compat.comm import main_only
from nncore_compat.hooks._writers import base
from nncore_compat.hooks.writer import Writer

from .fake_engine import FakeEngine, Linear, loaders, sgd

resource = pytest.importorskip('resource')

FULL = OSError(errno.ENOSPC, 'No space left on device')


class Mine(Writer):
    """Notes its calls, and raises in one of them."""

    def __init__(self, event=None, error=FULL):
        self.event, self.error, self.calls = event, error, []

    def meet(self, event):
        self.calls.append(event)
        if event == self.event:
            raise self.error

    def open(self, engine):
        self.meet('open')

    def write(self, engine, window_size):
        self.meet('write')

    def close(self, engine):
        self.meet('close')

    def position(self):
        self.meet('position')


class MainOnly(Mine):
    @main_only
    def write(self, engine, window_size):
        self.meet('write')


def hook_engine(writers, folder, model=None):
    stages = [dict(epochs=1, optimizer=sgd, validation=True)]
    hooks = [E.EventWriterHook(interval=1, writers=writers)]
    return FakeEngine(E.Buffer(), hooks, loaders(), stages, model, str(folder))


def run(writers, folder, model=None):
    return hook_engine(writers, folder, model).run()


def warnings(engine):
    return [line for line in engine.lines if line.startswith('WARNING')]


def test_a_write_that_fails(tmp_path):
    """It is told once and counted, the other writers get theirs, and the buffer is cleared."""
    bad, good = Mine('write'), Mine()
    engine = run([bad, good], tmp_path)
    assert bad.calls == good.calls == ['open', *['write'] * 6, 'close']
    name = 'Mine (EventWriterHook.writers[0]) failed in write'
    assert warnings(engine) == [
        f'WARNING: {name} after iteration 1: OSError: {FULL}. Training goes on, and so do its '
        'attempts; further failures are only counted',
        f'WARNING: {name} 6 times out of 6: what it has written is incomplete',
    ]
    assert [key for key in engine.buffer.keys() if key[0] != '_'] == []  # noqa: SIM118


@pytest.mark.parametrize('event', ['open', 'close', 'position'])
def test_other_events_that_fail(tmp_path, event):
    bad, good = Mine(event), Mine()
    engine = hook_engine([bad, good], tmp_path)
    hook = engine.hooks['EventWriterHook']
    engine.run()
    hook.state_dict()
    if event == 'open':
        assert bad.calls == ['open']
    assert good.calls == ['open', *['write'] * 6, 'close', 'position']
    (told,) = warnings(engine)
    assert f'[0]) failed in {event}: OSError' in told
    assert ('It is left out' in told) == (event == 'open')


@pytest.mark.parametrize(
    'error', [ValueError('x'), KeyError('x'), RuntimeError('x'), StopIteration(), SystemExit(3)]
)
@pytest.mark.parametrize('event', ['open', 'write', 'close'])
def test_mistakes_are_raised(tmp_path, event, error):
    with pytest.raises(type(error)):
        run([Mine(event, error)], tmp_path)


def test_a_writer_may_say_which_errors_it_survives(tmp_path):
    class Mild(Mine):
        def survives(self, error):
            return isinstance(error, RuntimeError)

    assert len(warnings(run([Mild('write', RuntimeError('x'))], tmp_path))) == 2
    with pytest.raises(OSError, match='No space'):
        run([Mild('write')], tmp_path)


def test_in_several_processes_others_may_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(base, 'get_world_size', lambda: 2)
    with pytest.raises(OSError, match='No space'):
        run([Mine('write')], tmp_path)
    assert warnings(run([MainOnly('write'), 'CommandLineWriter'], tmp_path))


def test_missing_factor_is_the_scripts_mistake(tmp_path):
    class Bare(Linear):
        def forward(self, data, mode='train', **kwargs):
            output = super().forward(data, mode)
            del output['_avg_factor']
            return output

    with pytest.raises(KeyError, match='_avg_factor'):
        run(['JSONWriter'], tmp_path, Bare())


@contextlib.contextmanager
def disk_with(space, file):
    """No file may become larger than this one by more than so many bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(file) + space, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def opened(writer, folder):
    engine = hook_engine([writer], folder)
    engine.mode, engine.data_loader = 'train', engine.data_loaders['train']
    engine.optimizer = sgd(engine.model.parameters())
    hook = engine.hooks['EventWriterHook']
    hook.before_launch(engine)

    def write(step, **values):
        engine.iter = step - 1
        for key, value in {'loss': step / 8, '_avg_factor': 1, **values}.items():
            engine.buffer.update(key, value)
        hook._write(engine, 1)

    return engine, hook, write


def test_json_lines_on_a_full_disk(tmp_path):
    engine, hook, write = opened('JSONWriter', tmp_path)
    file = tmp_path / 'metrics.json'
    write(1)
    with disk_with(10, file):
        write(2)
        write(3)
    write(4)
    hook.after_launch(engine)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line['loss'] for line in lines] == [1 / 8, 4 / 8]
    first, last = warnings(engine)
    assert 'JSONWriter (EventWriterHook.writers[0]) failed in write after iteration 2' in first
    assert '2 times out of 4' in last


@pytest.mark.filterwarnings('ignore:Exception in thread')
@pytest.mark.parametrize('large, noted', [(False, False), (True, False), (True, True)])
def test_tensorboard_on_a_full_disk(tmp_path, large, noted):
    """What comes when there is space again is read, whatever a piece of an event lies before."""
    engine, hook, write = opened('TensorboardWriter', tmp_path)
    extra = {'noise_image_': torch.rand(3, 64, 64)} if large else {}
    (file,) = (tmp_path / 'tf_logs').iterdir()
    write(1)
    with disk_with(20, file):
        write(2, **extra)
        if noted:
            assert hook.state_dict() == {'writers': [['TensorboardWriter', None]]}
        write(3, **extra)
        write(4)
    write(5, **extra)
    hook.after_launch(engine)
    log = EventAccumulator(str(tmp_path / 'tf_logs'), STORE_EVERYTHING_SIZE_GUIDANCE).Reload()
    steps = [event.step for event in log.Scalars('loss/train')]
    # The order of its files is that of their names.
    assert {1, 5} <= set(steps)
    assert warnings(engine)
    if large:
        assert 5 in [event.step for event in log.Images('noise/train')]


def test_the_end_of_a_line_that_was_cut_earlier(tmp_path):
    """A plain start in a folder where another run has died."""
    file = tmp_path / 'metrics.json'
    for text, kept in (('{"a": 1}\n{"a": 2', ['{"a": 1}']), ('{"a": 1}', ['{"a": 1}'])):
        file.write_text(text)
        run(['JSONWriter'], tmp_path)
        lines = file.read_text().splitlines()
        assert lines[:-6] == kept
        assert all(json.loads(line) for line in lines)


def test_an_error_closes_writers_and_is_the_one_to_see(tmp_path):
    bad, good = Mine('close', ValueError('at the close')), Mine()
    engine = hook_engine([bad, good], tmp_path)
    hook = engine.hooks['EventWriterHook']
    hook.before_launch(engine)
    engine.failure = KeyboardInterrupt()
    hook.after_launch(engine)
    hook.after_launch(engine)
    assert good.calls == bad.calls == ['open', 'close']
    assert ['failed in close: ValueError: at the close' in line for line in warnings(engine)] == [
        True
    ]
    # And again for the next launch.
    engine.failure = None
    bad.event = None
    engine.run()
    assert good.calls[2:] == ['open', *['write'] * 6, 'close']


def test_writers_that_were_never_opened_are_not_closed_by_an_error(tmp_path):
    engine = hook_engine([Mine()], tmp_path)
    engine.failure = ValueError()
    hook = engine.hooks['EventWriterHook']
    hook.after_launch(engine)
    assert hook._writers[0].calls == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').write_text('')
    engine = run(['JSONWriter', 'TensorboardWriter'], tmp_path / 'file')
    for line, kind in zip(warnings(engine), ('FileExists', 'NotADirectory'), strict=True):
        assert f'failed in open: {kind}Error' in line


def test_paths(tmp_path, monkeypatch):
    """A home folder, other alphabets, and a script that changes to another folder."""
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)

    class Moves(Mine):
        def open(self, engine):
            (tmp_path / 'elsewhere').mkdir()
            os.chdir(tmp_path / 'elsewhere')

    board = {'type': 'TensorboardWriter', 'log_dir': 'журнал 1'}
    engine = hook_engine(['JSONWriter', 'TensorboardWriter', board, Moves()], '~/ergebnis ü')
    hook = engine.hooks['EventWriterHook']
    engine.run()
    assert (tmp_path / 'ergebnis ü' / 'metrics.json').exists()
    for folder in (tmp_path / 'ergebnis ü' / 'tf_logs', tmp_path / 'журнал 1'):
        log = EventAccumulator(str(folder)).Reload()
        assert len(log.Scalars('loss/train')) == 5
    assert hook.state_dict()['writers'][2][1]['sizes']
    assert os.listdir(tmp_path / 'elsewhere') == []
