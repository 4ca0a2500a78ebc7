"""The timeline says what happens: it is compared with the calls of real runs."""

import subprocess
import sys

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from paths import ROOT, TESTS, python_path
from tiny import Points, engine, stage
from torch.utils.data import DataLoader

from nncore_compat import ClosureHook, Engine, Hook, quirks
from nncore_compat.hooks.base import HOOK_NAMES

CALLBACK_EVENTS = [
    name
    for name in vars(Callback)
    if name.startswith('on_') and not name.endswith(('_checkpoint', 'exception'))
] + ['setup', 'teardown']


class Generic(Hook):
    """Defines the short events alone."""

    def before_epoch(self, engine):
        pass

    def before_iter(self, engine):
        pass

    def after_iter(self, engine):
        pass


class Some(Callback):
    """Overrides a few events, of all kinds."""

    def on_train_start(self, *args):
        pass

    def on_train_epoch_start(self, *args):
        pass

    def on_train_batch_start(self, *args):
        pass

    def on_train_batch_end(self, *args):
        pass

    def on_before_backward(self, *args):
        pass

    def on_before_optimizer_step(self, *args):
        pass

    def on_validation_start(self, *args):
        pass

    def on_validation_batch_end(self, *args):
        pass

    def on_validation_epoch_end(self, *args):
        pass

    def on_validation_end(self, *args):
        pass

    def on_train_epoch_end(self, *args):
        pass

    def on_train_end(self, *args):
        pass


class Other(Some):
    pass


def short(folder, **kwargs):
    """An engine whose every loop is run once."""
    loaders = {'train': DataLoader(Points(4), 4), 'val': DataLoader(Points(4), 4)}
    return engine(folder, stages=stage(validation={'interval': 1}), data_loaders=loaders, **kwargs)


def trace(one):
    """Have every hook and callback of an engine write down its calls; return the list."""
    calls = []

    def spy(name, target, event, label):
        method = getattr(target, event)

        def call(*args, **kwargs):
            calls.append(label)
            return method(*args, **kwargs)

        setattr(target, event, call)

    for name, target in one.hooks.items():
        if isinstance(target, Callback):
            for event in CALLBACK_EVENTS:
                # Found overridden before the spies are there.
                if getattr(type(target), event) is not getattr(Callback, event):
                    spy(name, target, event, (name, event))
        else:
            for event in HOOK_NAMES:
                own = event in vars(target)
                if own or getattr(type(target), event) is not getattr(Hook, event):
                    spy(name, target, event, (name, event))
    return calls


def flat(timeline):
    """The calls of a run in which every loop is run once."""
    calls = []
    for row in timeline:
        for call in row.calls:
            name, _, method = call.partition('.')
            calls.append((name, method, row))
    return calls


def compare(one):
    table = one.timeline()
    calls = trace(one)
    one.launch()
    said = flat(table)
    # The event of a row is nncore's for hooks and Lightning's for callbacks.
    assert calls == [
        (
            name,
            method
            or (row.callback_event if isinstance(one.hooks[name], Callback) else row.hook_event),
        )
        for name, method, row in said
    ]
    return calls


@pytest.fixture(params=['none', 'all'])
def spec(request):
    quirks.enable(request.param)
    yield request.param
    quirks.enable('none')


def test_hooks_are_called_as_it_says(tmp_path, spec):
    hooks = [
        Generic(),
        ClosureHook(['before_train_iter', 'after_stage'], lambda engine: None),
        {'type': 'EmptyCacheHook', 'names': ['after_val_iter', 'before_epoch']},
        'SamplerSeedHook',
    ]
    calls = compare(short(tmp_path, hooks=hooks))
    # The table has short names at work, and what the quirk makes of them.
    shorts = ('before_epoch', 'before_iter') if spec == 'none' else ('after_iter',)
    assert {name for name in shorts if ('Generic', name) in calls} == set(shorts)
    assert (('SamplerSeedHook', 'before_epoch') in calls) is (spec == 'none')


def test_hooks_and_callbacks_are_called_as_it_says(tmp_path, spec):
    one = short(
        tmp_path,
        hooks=[EarlyStopping('val_loss', patience=3), ModelCheckpoint(monitor='val_loss'), Other()],
    )
    one.register_hook(Some(), before='CheckpointHook')
    one.register_hook(Generic(), before='TimerHook')
    calls = compare(one)
    events = ('after_train_iter', 'on_train_batch_end')
    iteration = [name for name, event in calls if event in events]
    assert iteration.index('OptimizerHook') < iteration.index('Some')
    assert iteration.index('Some') < iteration.index('EventWriterHook') < iteration.index('Other')


def test_mixed_table(tmp_path):
    """The words of a table, where hooks and callbacks stand in one list."""
    one = short(tmp_path, hooks=[Generic()])
    hooks = list(one.hooks.items())
    one.hooks.clear()
    one.hooks.update([('Stop', EarlyStopping('x')), *hooks[:3], ('Some', Some()), *hooks[3:]])
    one.trainer.callbacks.append(Other())
    text = str(one.timeline())
    lines = {' '.join(line.split()) for line in text.splitlines()}
    assert 'before_launch on_train_start TimerHook, OptimizerHook, Some, CheckpointHook, ' in [
        line[: line.index('EventWriterHook')] for line in lines if 'EventWriterHook' in line
    ]
    assert {
        '. setup Stop',
        '. on_before_backward Some, Other',
        '. on_before_optimizer_step Some, Other',
        'after_train_iter on_train_batch_end TimerHook, OptimizerHook',
        'after_train_iter on_train_batch_end Some, EventWriterHook, Generic.after_iter, Other',
        '. on_train_epoch_end Some, Other, Stop',
        'before_train_epoch on_train_epoch_start LrUpdaterHook, OptimizerHook, Some, '
        'Generic.before_epoch, Other',
        'after_train_epoch . OptimizerHook, CheckpointHook',
        'before_stage . LrUpdaterHook',
        'after_stage .',
    } <= lines
    order = [row.hook_event for row in one.timeline() if row.hook_event]
    assert order[:4] == ['before_launch', 'before_stage', 'before_train_epoch', 'before_train_iter']
    depths = {row.hook_event: row.depth for row in one.timeline()}
    events = ('before_launch', 'after_train_iter', 'after_val_iter')
    assert [depths[event] for event in events] == [0, 3, 4]


def test_own_steps_are_named(tmp_path):
    class Mine(Engine):
        def train_iter(self, data):
            super().train_iter(data)

        def val_epoch(self):
            pass

    text = str(short(tmp_path, cls=Mine).timeline())
    assert 'Mine.train_iter, and hooks as it calls them' in text
    assert 'Mine.val_epoch, and hooks as it calls them' in text
    assert 'after_train_iter' not in text and 'before_val_epoch' not in text


SCRIPT = """
from torch.utils.data import DataLoader
from nncore.engine import Engine, Hook
from paths import ROOT, TESTS, python_path
from tiny import Net, Points

class Mine(Hook):
    def before_launch(self, engine):
        raise RuntimeError('launched')

engine = Engine(Net(), DataLoader(Points(), 4), hooks=[Mine()], work_dir='out')
engine.launch()
print('went on')
"""


def test_runner(tmp_path):
    (tmp_path / 'script.py').write_text(SCRIPT)
    argv = [sys.executable, '-m', 'nncore_compat', '--timeline', 'script.py']
    env = {'PYTHONPATH': python_path(ROOT, TESTS), 'OMP_NUM_THREADS': '1'}
    run = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    lines = [line.split() for line in run.stdout.splitlines()]
    assert ['before_launch', 'on_train_start', 'TimerHook,'] in [line[:3] for line in lines]
    assert 'EventWriterHook, Mine' in run.stdout
    assert 'went on' not in run.stdout and not (tmp_path / 'out').exists()
