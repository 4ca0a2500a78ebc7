"""Errors that end a run: the hook and the event are named, the others are told, files closed."""

import itertools
import json
import os
import signal
import sys

import pytest
import tiny
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from nncore_compat import Hook, _options, _report, quirks
from nncore_compat.hooks import CheckpointHook, EventWriterHook
from nncore_compat.hooks.writer import Writer

NOTES = sys.version_info >= (3, 11)


class Fails(Hook):
    """Fails at an event, in one iteration."""

    def __init__(self, event, error, iteration=None):
        super().__init__()
        self.error, self.iteration, self.calls = error, iteration, []
        setattr(self, event, lambda engine: self.fail(engine, event))
        if event != 'after_launch':
            self.after_launch = lambda engine: self.calls.append('after_launch')

    def fail(self, engine, event):
        self.calls.append(event)
        if self.iteration in (None, engine.iter):
            raise self.error


class Told(Hook):
    """Notes what it is told of the end, and may fail then itself."""

    def __init__(self, name, error=None):
        super().__init__(name)
        self.seen, self.error = [], error

    def after_launch(self, engine):
        self.seen.append(engine.failure)
        if self.error is not None:
            raise self.error


class Open(Writer):
    """A writer that holds something."""

    is_open = None

    def open(self, engine):
        self.is_open = True

    def close(self, engine):
        self.is_open = False

    def write(self, engine, window_size):
        pass


def launch(folder, *hooks, change=None, **kwargs):
    """Launch an engine that fails; return it, its error and what its log says at level ERROR."""
    writer = Open()
    one = tiny.engine(
        folder,
        model=None if change is None else tiny.Net(change),
        stages=[tiny.stage(epochs=2, validation={'interval': 1}), tiny.stage()],
        hooks=[EventWriterHook(writers=['JSONWriter', writer]), *hooks],
        **kwargs,
    )
    with pytest.raises(BaseException) as info:
        one.launch()
    # Nor is anything kept that the traceback leads to.
    assert one.failure is one._failed_in is None
    for handler in one.logger.handlers:
        handler.flush()
    (log,) = folder.glob('*.log')
    lines = [line for line in log.read_text().splitlines() if ' ERROR]: ' in line]
    return one, info.value, [line.partition(' ERROR]: ')[2] for line in lines], writer


def test_writers_are_closed_when_a_later_one_cannot_be_opened(tmp_path):
    class Wrong(Open):
        def open(self, engine):
            raise ImportError('not there')

    writer = Open()
    one = tiny.engine(tmp_path, hooks=[EventWriterHook(writers=[writer, Wrong()])])
    with pytest.raises(ImportError, match='not there'):
        one.launch()
    assert writer.is_open is False


# Event and iteration: where that is.
PLACES = {
    ('before_launch', None): '',
    ('before_stage', 6): ' at stage 2',
    ('before_train_epoch', 3): ' at stage 1, epoch 2',
    ('after_train_iter', 4): ' at stage 1, epoch 2, iteration 5',
    ('after_train_epoch', 6): ' at stage 1, epoch 2',
    ('before_val_iter', 3): ' at the validation after epoch 1',
    ('after_val_epoch', 6): ' at the validation after epoch 2',
    ('after_launch', None): '',
}


@pytest.mark.parametrize(('event', 'iteration'), PLACES)
def test_hook_and_event_are_named_and_the_others_told(tmp_path, event, iteration):
    error = ValueError('boom', 7)
    first, last, failing = Told('First'), Told('Last'), Fails(event, error, iteration)
    _, raised, lines, writer = launch(tmp_path, first, failing, last)
    assert raised is error and error.args == ('boom', 7)
    what = f'Fails.{event} failed{PLACES[event, iteration]}'
    assert lines == [f"{what}: ValueError: ('boom', 7)"]
    if NOTES:
        assert error.__notes__ == [f'({what})']
    # Nobody who has not been told of the beginning is told of the end, and nobody twice.
    assert [len(hook.seen) for hook in (first, last)] == [1, event != 'before_launch']
    assert first.seen[0] is (None if event == 'after_launch' else error)
    assert writer.is_open is False
    assert failing.calls.count('after_launch') == (event == 'after_launch')


@pytest.mark.parametrize('error', [SystemExit(5), KeyboardInterrupt()], ids=repr)
def test_who_wants_to_end_at_once_does(tmp_path, error):
    told = Told('Told')
    _, raised, lines, writer = launch(tmp_path, told, Fails('after_train_iter', error, 4))
    assert raised is error and lines == told.seen == [] and writer.is_open is False
    assert not hasattr(error, '__notes__')


@pytest.mark.parametrize('error', [SystemExit(5), KeyboardInterrupt(), ValueError('x')], ids=repr)
def test_however_a_run_ends_it_has_its_line_of_quirks(tmp_path, capsys, monkeypatch, error):
    monkeypatch.setattr(quirks, '_active', frozenset())

    class Late(Fails):
        def before_epoch(self, engine):
            pass

    launch(tmp_path, Late('after_train_iter', error, 4))
    (log,) = tmp_path.glob('*.log')
    (line,) = [one for one in log.read_text().splitlines() if 'changed this run: ' in one]
    assert line.partition('run: ')[2] == 'hook-defaults'

    (tmp_path / 'none').mkdir()
    _, raised, *_ = launch(tmp_path / 'none', Fails('before_launch', error))
    assert raised is error and capsys.readouterr().err.count('changed this run: none') == 1
    # A pipe that has been closed does not take the place of what has ended the run.
    with open(os.devnull, 'w') as closed:
        pass
    monkeypatch.setattr(sys, 'stderr', closed)
    (tmp_path / 'closed').mkdir()
    assert launch(tmp_path / 'closed', Fails('before_launch', error))[1] is error


def test_stop_iteration_is_an_error_like_others(tmp_path):
    error, told = StopIteration('s'), Told('Told')
    _, raised, lines, _ = launch(tmp_path, told, Fails('before_train_iter', error, 1))
    assert raised is error and told.seen == [error]
    assert lines == [
        'Fails.before_train_iter failed at stage 1, epoch 1, iteration 2: StopIteration: s'
    ]


def test_a_hook_that_fails_at_the_end_as_well_stops_no_other(tmp_path):
    error, last = ValueError('boom'), Told('Last')
    hooks = Told('First', RuntimeError('worse')), Fails('after_train_iter', error, 1), last
    _, raised, lines, _ = launch(tmp_path, *hooks)
    assert raised is error and last.seen == [error] and raised.__context__ is None
    assert lines[1] == 'First.after_launch failed, too: RuntimeError: worse'


class Mute(Exception):
    """Cannot say what it is."""

    def __str__(self):
        raise RuntimeError('no text')


def test_an_error_that_cannot_say_what_it_is_costs_nothing_else(tmp_path, monkeypatch):
    report = tmp_path / 'report.json'
    monkeypatch.setenv(_options.REPORT, str(report))
    monkeypatch.setattr(_report, '_launches', [])
    (tmp_path / 'w').mkdir()
    error, last = Mute(), Told('Last')
    hooks = Told('First', Mute()), Fails('after_train_iter', error, 1), last
    _, raised, lines, writer = launch(tmp_path / 'w', *hooks)
    assert raised is error and last.seen == [error] and writer.is_open is False
    mute = 'Mute: <no text: its __str__ raises RuntimeError>'
    assert lines == [
        f'Fails.after_train_iter failed at stage 1, epoch 1, iteration 2: {mute}',
        f'First.after_launch failed, too: {mute}',
    ]
    (said,) = json.loads(report.read_text())['launches']
    assert (said['ended'], said['error']) == ('failed', mute)
    (log,) = (tmp_path / 'w').glob('*.log')
    assert 'would have changed this run: silent-failure' in log.read_text()


def test_errors_of_model_and_callbacks(tmp_path):
    def change(output):
        if next(counter) == 4:
            raise RuntimeError('first line\nlast line')
        return output

    class Bad(Callback):
        def on_train_batch_end(self, *args):
            raise ValueError('callback')

    counter, told = itertools.count(), [Told('Told'), Told('Told')]
    cases = {
        'model': ([told[0]], {'change': change}, ' at the validation after epoch 1'),
        'callback': ([told[1], Bad()], {}, ' at stage 1, epoch 1, iteration 1'),
    }
    for name, (hooks, options, where) in cases.items():
        (tmp_path / name).mkdir()
        _, error, lines, _ = launch(tmp_path / name, *hooks, **options)
        text = 'first line [...] last line' if name == 'model' else 'callback'
        assert lines == [f'The run failed{where}: {type(error).__name__}: {text}']
        assert hooks[0].seen == [error]


def test_what_hooks_have_put_off(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, 'full')

    hook = CheckpointHook(every_n_iters=2)
    monkeypatch.setattr(hook, '_save', full)
    _, _, lines, _ = launch(tmp_path, hook)
    assert lines == [
        'CheckpointHook.save_now failed at stage 1, epoch 1, iteration 2: OSError: [Errno 28] full'
    ]


def test_a_hook_called_by_a_hook(tmp_path):
    """The inner one is the one that fails."""

    class Outer(Hook):
        def after_train_epoch(self, engine):
            engine.val_epoch()

    error, outer = ValueError('boom'), Outer()
    _, _, lines, _ = launch(tmp_path, outer, Fails('before_val_iter', error))
    assert lines[0].startswith('Fails.before_val_iter failed') and len(lines) == 1


def test_a_run_that_ends_well_has_not_failed(tmp_path):
    told = Told('Told')
    one = tiny.engine(tmp_path, hooks=[Fails('after_train_iter', ValueError('x'), 1), told])
    with pytest.raises(ValueError, match='x'):
        one.launch()
    one.unregister_hook('Fails')
    one.reset_states()
    one.launch()
    assert one.failure is None and told.seen[1:] == [None]


def test_as_nncore_with_the_quirk(tmp_path, monkeypatch):
    monkeypatch.setattr(quirks, '_active', frozenset({'silent-failure'}))
    told = Told('Told')
    _, _, lines, writer = launch(tmp_path, told, Fails('after_train_iter', ValueError('x'), 1))
    assert lines == told.seen == [] and writer.is_open is False


def test_in_a_trainer_of_ones_own(tmp_path):
    error, told, writer = ValueError('boom'), Told('Told'), Open()
    one = tiny.engine(
        tmp_path,
        hooks=[told, Fails('after_train_iter', error, 1), EventWriterHook(writers=[writer])],
    )
    trainer = Trainer(
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    with pytest.raises(ValueError, match='boom'):
        trainer.fit(one.lightning_module)
    assert told.seen == [error] and writer.is_open is False and one.failure is None


class Dies(tiny.Points):
    """Ends the worker that loads it, as the system does when memory runs out."""

    def __getitem__(self, index):
        if index == self.bad:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


@pytest.mark.parametrize('persistent', [False, True])
def test_a_worker_that_dies(tmp_path, persistent):
    """It is said, and the run goes on from its last checkpoint to the end that it would have."""

    def engine(folder, bad):
        data = Dies(10)
        data.bad = bad
        loaders = {
            'train': DataLoader(data, 2, shuffle=True, num_workers=2, persistent_workers=persistent)
        }
        hooks = [dict(type='CheckpointHook', every_n_iters=1)]
        return tiny.engine(folder, data_loaders=loaders, stages=tiny.stage(epochs=2), hooks=hooks)

    torch.manual_seed(5)
    whole = engine(tmp_path / 'whole', None)
    whole.launch()
    torch.manual_seed(5)
    broken = engine(tmp_path / 'broken', 6)
    with pytest.raises(RuntimeError, match='DataLoader worker') as info:
        broken.launch()
    if NOTES:
        assert 'memory that ran out' in ''.join(info.value.__notes__)
    (log,) = (tmp_path / 'broken').glob('*.log')
    assert 'DataLoader worker' in log.read_text() and 'num_workers=0' in log.read_text()
    again = engine(tmp_path / 'broken', None)
    again.launch(resume='auto')
    del info, broken
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_lines_are_whole_after_an_error(tmp_path):
    launch(tmp_path, Fails('after_train_iter', ValueError('x'), 7))
    rows = [json.loads(line) for line in (tmp_path / 'metrics.json').read_text().splitlines()]
    assert [row['mode'] for row in rows] == ['train', 'val'] * 2
