"""Hooks and callbacks are called in the order of the one list, and follow its changes."""

import copy

import torch
from lightning.pytorch import Callback
from tiny import Points, engine, stage
from torch.utils.data import DataLoader

from nncore_compat import Engine, Hook
from nncore_compat.hooks.base import HOOK_NAMES

# What both sides have, side by side.
PAIRS = {
    'before_launch': 'on_train_start',
    'before_train_epoch': 'on_train_epoch_start',
    'before_train_iter': 'on_train_batch_start',
    'after_train_iter': 'on_train_batch_end',
    'before_val_epoch': 'on_validation_start',
    'before_val_iter': 'on_validation_batch_start',
    'after_val_iter': 'on_validation_batch_end',
    'after_val_epoch': 'on_validation_epoch_end',
    'after_launch': 'on_train_end',
}
ALONE = (
    'setup',
    'on_fit_start',
    'on_train_epoch_end',
    'on_validation_end',
    'on_fit_end',
    'teardown',
)


class Calls(Hook):
    """A hook that writes down its events."""

    def __init__(self, name, calls):
        super().__init__(name)
        self.calls = calls


class Spy(Callback):
    """A callback that writes down its events under the names that nncore has for them."""

    def __init__(self, name, calls):
        self.name = name
        self.calls = calls


def _add(cls, method, event):
    setattr(cls, method, lambda self, *args, **kwargs: self.calls.append(f'{self.name}.{event}'))


for _name in HOOK_NAMES:
    _add(Calls, _name, _name)
for _name, _method in PAIRS.items():
    _add(Spy, _method, _name)
for _name in ALONE:
    _add(Spy, _name, _name)


def loaders(train=4, val=2):
    return {'train': DataLoader(Points(train), 2), 'val': DataLoader(Points(val), 2)}


def all_of(names, *events):
    return [f'{name}.{event}' for event in events for name in names]


def run(tmp_path, hooks, stages, cls=Engine, data=None):
    one = engine(tmp_path, stages=stages, hooks=hooks, data_loaders=data or loaders(), cls=cls)
    one.unregister_hook(['EvalHook', 'EventWriterHook'])
    one.launch()
    return one


def test_whole_run(tmp_path):
    calls = []
    everyone, cbs, hks = ['h1', 'c1', 'c2', 'h2', 'c3'], ['c1', 'c2', 'c3'], ['h1', 'h2']
    hooks = [(Calls if name in hks else Spy)(name, calls) for name in everyone]
    stages = [stage(validation={'interval': 1}), stage()]
    one = run(tmp_path, hooks, stages)
    epoch = [
        *all_of(everyone, 'before_train_epoch'),
        *all_of(everyone, 'before_train_iter', 'after_train_iter') * 2,
        *all_of(hks, 'after_train_epoch'),
    ]
    validation = [
        *all_of(everyone, 'before_val_epoch', 'before_val_iter', 'after_val_iter'),
        *all_of(everyone, 'after_val_epoch'),
        *all_of(cbs, 'on_validation_end'),
    ]
    assert calls == [
        *all_of(cbs, 'setup', 'on_fit_start'),
        *all_of(everyone, 'before_launch'),
        *all_of(hks, 'before_stage'),
        *epoch,
        *validation,
        *all_of(cbs, 'on_train_epoch_end'),
        *all_of(hks, 'after_stage', 'before_stage'),
        *epoch,
        *all_of(cbs, 'on_train_epoch_end'),
        *all_of(hks, 'after_stage'),
        *all_of(everyone, 'after_launch'),
        *all_of(cbs, 'on_fit_end', 'teardown'),
    ]
    assert one.iter == 4


def test_a_callback_sees_what_stands_before_it(tmp_path):
    seen = []

    class Sees(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            seen.append((self.tag, trainer.global_step, module.engine.iter, batch_idx))

    before, after = Sees(), Sees()
    before.tag, after.tag = 'before', 'after'
    one = engine(tmp_path, data_loaders=loaders())
    one.register_hook(before, before='OptimizerHook')
    one.register_hook(after)
    one.launch()
    assert seen == [
        ('before', 0, 0, 0),
        ('after', 1, 0, 0),
        ('before', 1, 1, 1),
        ('after', 2, 1, 1),
    ]


class Overrides(Engine):
    def train_iter(self, data):
        self.log.append('train_iter')
        super().train_iter(data)

    def val_iter(self, data):
        self.log.append('val_iter')
        super().val_iter(data)

    def val_epoch(self):
        self.log.append('val_epoch')
        super().val_epoch()


def test_overridden_steps(tmp_path):
    calls = []
    Overrides.log = calls
    hooks = [Calls('h', calls), Spy('c', calls)]
    run(tmp_path, hooks, stage(validation={'interval': 1}), Overrides)
    start = calls.index('c.before_train_epoch')
    stop = calls.index('h.after_stage')
    assert calls[start + 1 : stop] == [
        *['c.before_train_iter', 'train_iter', 'h.before_train_iter', 'h.after_train_iter'],
        'c.after_train_iter',
        *['c.before_train_iter', 'train_iter', 'h.before_train_iter', 'h.after_train_iter'],
        'c.after_train_iter',
        'h.after_train_epoch',
        'c.before_val_epoch',
        *['val_epoch', 'h.before_val_epoch', 'val_iter', 'h.before_val_iter', 'h.after_val_iter'],
        *['h.after_val_epoch', 'c.after_val_epoch', 'c.on_validation_end'],
        'c.on_train_epoch_end',
    ]


class Liar(DataLoader):
    length = 0

    def __len__(self):
        return self.length


def test_loaders_with_a_wrong_length(tmp_path):
    for length in (1, 3, 4):
        calls = []
        data = {split: Liar(Points(6), 2) for split in ('train', 'val')}
        for loader in data.values():
            loader.length = length
        stages = stage(epochs=2, validation={'interval': 1})
        run(tmp_path / str(length), [Calls('h', calls), Spy('c', calls)], stages, data=data)
        seen = [call for call in calls if call.startswith('h.') or call.endswith('_end')]
        assert [call for call in seen if '_iter' not in call] == [
            *['h.before_launch', 'h.before_stage'],
            *[
                *['h.before_train_epoch', 'h.after_train_epoch'],
                *['h.before_val_epoch', 'h.after_val_epoch'],
                *['c.on_validation_end', 'c.on_train_epoch_end'],
            ]
            * 2,
            *['h.after_stage', 'h.after_launch', 'c.on_fit_end'],
        ]
        assert seen.count('h.after_train_iter') == seen.count('h.after_val_iter') == 6


def test_changes_while_training_runs(tmp_path):
    calls = []
    late, gone = Spy('late', calls), Spy('gone', calls)
    hook = Calls('new', calls)

    class Changes(Hook):
        def after_train_iter(self, engine):
            if engine.iter == 0:
                engine.register_hook([late, hook])
                engine.unregister_hook(gone)
                calls.append('changed')

    one = engine(tmp_path, data_loaders=loaders(), hooks=[Changes(), gone])
    one.launch()
    begin = calls.index('gone.before_train_iter')
    assert calls[begin:] == [
        'gone.before_train_iter',
        # At once, as to what it has missed.
        *all_of(['late'], 'setup', 'on_fit_start', 'before_launch'),
        'gone.teardown',
        'changed',
        # Goes on over the list as it was.
        'gone.after_train_iter',
        *all_of(['late', 'new'], 'before_train_iter', 'after_train_iter'),
        'new.after_train_epoch',
        'late.on_train_epoch_end',
        'new.after_stage',
        *all_of(['late', 'new'], 'after_launch'),
        *all_of(['late'], 'on_fit_end', 'teardown'),
    ]
    assert late in one.trainer.callbacks and gone not in one.trainer.callbacks


def test_changes_between_two_phases_of_one_event(tmp_path):
    calls = []

    class Changes(Hook):
        def before_stage(self, engine):
            engine.register_hook(Spy('c', calls), before='h2')
            engine.unregister_hook('h1')

        def after_stage(self, engine):
            engine.register_hook(Calls('h4', calls))

    names = ['h1', 'h2', 'h3']
    hooks = [Changes(), *(Calls(name, calls) for name in names), Spy('c0', calls)]
    run(tmp_path, hooks, stage())
    wanted = ('before_train_epoch', 'after_launch')
    events = [call for call in calls if call.split('.')[1] in wanted]
    assert events == [
        *all_of(['c', 'h2', 'h3', 'c0'], 'before_train_epoch'),
        *all_of(['c', 'h2', 'h3', 'c0', 'h4'], 'after_launch'),
    ]


def test_a_list_changed_by_hand(tmp_path):
    calls = []
    one = engine(tmp_path, data_loaders=loaders(), hooks=[Calls('h', calls), Spy('c', calls)])
    one.hooks.move_to_end('h')
    one.launch()
    assert calls.index('c.before_train_iter') < calls.index('h.before_train_iter')


def test_stop_iteration_from_behind_a_callback(tmp_path):
    class Raises(Hook):
        def before_val_iter(self, engine):
            raise StopIteration('enough')

    one = engine(tmp_path, stages=stage(validation={'interval': 1}), hooks=[Callback(), Raises()])
    try:
        one.launch()
    except StopIteration as error:
        assert str(error) == 'enough'
    else:
        raise AssertionError('swallowed')


def test_grad_mode_of_hooks_behind_a_callback(tmp_path):
    seen = {}

    class Sees(Hook):
        def before_val_iter(self, engine):
            seen['hook'] = torch.is_grad_enabled()

    class AlsoSees(Callback):
        def on_validation_batch_start(self, *args):
            seen['callback'] = torch.is_grad_enabled()

    run(tmp_path, [AlsoSees(), Sees()], stage(validation={'interval': 1}))
    assert seen == {'hook': True, 'callback': False}


def test_an_evaluation_calls_neither(tmp_path):
    calls = []
    one = engine(tmp_path, hooks=[Spy('c', calls), 'LearningRateMonitor', 'ModelCheckpoint'])
    files = sorted(tmp_path.rglob('*'))
    one.launch(eval='val')
    assert calls == [] and sorted(tmp_path.rglob('*')) == files


def test_the_module_is_copied_without_the_engine(tmp_path):
    one = engine(tmp_path)
    one.launch()
    copied = copy.deepcopy(one.lightning_module)
    assert copied.engine is None and copied.views == {}
    ours, theirs = one.lightning_module.state_dict(), copied.state_dict()
    assert list(ours) == list(theirs) and torch.equal(*(s['model.fc.bias'] for s in (ours, theirs)))
    assert copied.model.fc.weight is not one.model.fc.weight
