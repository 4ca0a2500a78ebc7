"""Hooks and Lightning callbacks in one list: what they are called, and who replaces whom."""

import pytest
from lightning.pytorch import Callback, callbacks
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    Timer,
    TQDMProgressBar,
)
from tiny import engine

from nncore_compat import Hook
from nncore_compat.builder import HOOKS

DEFAULTS = [
    'TimerHook',
    'LrUpdaterHook',
    'OptimizerHook',
    'CheckpointHook',
    'EvalHook',
    'EventWriterHook',
]


class MyHook(Hook):
    pass


def test_objects_names_and_configs(tmp_path):
    stop = EarlyStopping(monitor='val_loss', patience=3)
    one = engine(
        tmp_path,
        hooks=[
            stop,
            {'type': 'ModelCheckpoint', 'monitor': 'acc', 'mode': 'max'},
            {'type': 'EvalHook', 'high_keys': ['acc']},
            'LearningRateMonitor',
            MyHook(),
        ],
    )
    assert list(one.hooks) == [
        *DEFAULTS,
        'EarlyStopping',
        'ModelCheckpoint',
        'LearningRateMonitor',
        'MyHook',
    ]
    assert one.hooks['EarlyStopping'] is stop
    assert isinstance(one.hooks['ModelCheckpoint'], ModelCheckpoint)
    assert one.hooks['ModelCheckpoint'].mode == 'max'
    assert one.hooks['EvalHook']._high_keys == ['acc'], 'replaced in its place'
    one.register_hook('Timer', duration={'hours': 1})
    assert one.hooks['Timer'].time_remaining() == 3600


def test_a_hook_goes_before_a_callback_of_the_same_name(tmp_path):
    @HOOKS.register(name='ModelSummary')
    class Mine(Hook):
        pass

    try:
        one = engine(tmp_path, hooks=['ModelSummary'])
        assert isinstance(one.hooks['Mine'], Mine)
    finally:
        HOOKS.pop('ModelSummary')


def test_several_of_one_class(tmp_path):
    one = engine(tmp_path)
    one.register_hook([ModelCheckpoint(monitor='acc'), ModelCheckpoint(monitor='loss')])
    one.register_hook([LambdaCallback(), LambdaCallback(), LambdaCallback()])
    assert list(one.hooks)[6:] == [
        'ModelCheckpoint',
        'ModelCheckpoint_2',
        'LambdaCallback',
        'LambdaCallback_2',
        'LambdaCallback_3',
    ]
    # One that is there goes to another place, under its name.
    one.register_hook(one.hooks['LambdaCallback_2'], before='TimerHook')
    assert list(one.hooks)[:2] == ['LambdaCallback_2', 'TimerHook'] and len(one.hooks) == 11

    # Lightning would refuse these beside the one before.
    again = ModelCheckpoint(monitor='loss')
    with pytest.raises(KeyError, match="'ModelCheckpoint_2' exists"):
        one.register_hook(again, overwrite=False)
    one.register_hook(again)
    assert one.hooks['ModelCheckpoint_2'] is again and len(one.hooks) == 11
    one.register_hook([Timer(duration={'hours': 1}), Timer(duration={'hours': 2})])
    assert one.hooks['Timer'].time_remaining() == 7200 and 'Timer_2' not in one.hooks


def test_places_across_both_kinds(tmp_path):
    one = engine(tmp_path)
    stop = EarlyStopping('val_loss')
    one.register_hook(stop, before='EvalHook')
    one.register_hook(MyHook(), before='EarlyStopping')
    assert list(one.hooks)[3:7] == ['CheckpointHook', 'MyHook', 'EarlyStopping', 'EvalHook']
    one.unregister_hook([stop, 'MyHook'])
    one.register_hook(LambdaCallback())
    one.unregister_hook('LambdaCallback')
    assert list(one.hooks) == DEFAULTS
    with pytest.raises(KeyError, match='EarlyStopping.* not found'):
        one.unregister_hook(stop)
    with pytest.raises(ValueError, match="'EarlyStoping' not found"):
        one.register_hook(MyHook(), before='EarlyStoping')


@pytest.mark.parametrize(
    ('name', 'near'), [('EarlyStoping', 'EarlyStopping'), ('EvalHok', 'EvalHook')]
)
def test_unknown_names(tmp_path, name, near):
    with pytest.raises(ValueError) as info:
        engine(tmp_path, hooks=[{'type': name}])
    for text in ('hooks[0]', repr(name), f"did you mean '{near}'", 'TimerHook'):
        assert text in str(info.value)
    assert 'lightning.pytorch.callbacks' in str(info.value)


def test_what_is_neither(tmp_path):
    with pytest.raises(TypeError, match='a Hook, a Lightning Callback, a dict or a str'):
        engine(tmp_path, hooks=[5])

    other = type('Callback', (), {'__module__': 'pytorch_lightning.callbacks.callback'})
    with pytest.raises(TypeError, match='package pytorch_lightning'):
        engine(tmp_path, hooks=[type('Stop', (other,), {})()])


UNSUPPORTED = {
    'StochasticWeightAveraging': ({'swa_lrs': 0.1}, 'EMAWeightAveraging'),
    'GradientAccumulationScheduler': ({'scheduling': {0: 2}}, r'OptimizerHook\(interval='),
    'LearningRateFinder': ({}, 'lr_schedule'),
    'BatchSizeFinder': ({}, 'batch_size in the loader'),
    'OnExceptionCheckpoint': ({'dirpath': '.'}, 'resume'),
    'BasePredictionWriter': ({}, 'dataset.evaluate'),
}


@pytest.mark.parametrize('name', UNSUPPORTED)
def test_what_cannot_work_is_refused(tmp_path, name):
    arguments, advice = UNSUPPORTED[name]
    with pytest.raises(ValueError, match=rf'hooks\[0\]: {name} cannot be used.*{advice}'):
        engine(tmp_path, hooks=[{'type': name, **arguments}])
    derived = type('Mine', (getattr(callbacks, name),), {})
    with pytest.raises(ValueError, match=rf'Mine \(a {name}\) cannot be used'):
        engine(tmp_path).register_hook(derived(**arguments))


def test_every_callback_of_lightning_is_decided_upon():
    # Those that work have a test with a run, in the files beside this one.
    tested = {
        'BackboneFinetuning', 'BaseFinetuning', 'DeviceStatsMonitor', 'EMAWeightAveraging',
        'EarlyStopping', 'LambdaCallback', 'LearningRateMonitor', 'ModelCheckpoint',
        'ModelPruning', 'ModelSummary', 'RichModelSummary', 'RichProgressBar', 'SpikeDetection',
        'TQDMProgressBar', 'ThroughputMonitor', 'Timer', 'WeightAveraging',
    }  # fmt: skip
    bases = {'Callback', 'Checkpoint', 'ProgressBar'}
    assert set(callbacks.__all__) - tested - bases - set(UNSUPPORTED) == set()


def test_a_second_bar_is_refused(tmp_path):
    class Mine(TQDMProgressBar):
        pass

    with pytest.raises(ValueError, match='Mine cannot be used beside TQDMProgressBar'):
        engine(tmp_path, hooks=['TQDMProgressBar', Mine()])


@pytest.mark.parametrize(
    ('hook', 'settings', 'text'),
    [
        ('LearningRateMonitor', {'logger': False}, 'LearningRateMonitor needs a logger'),
        ('DeviceStatsMonitor', {'logger': None}, 'DeviceStatsMonitor needs a logger'),
        ('ModelCheckpoint', {'enable_checkpointing': False}, 'enable_checkpointing=False'),
        ('TQDMProgressBar', {'enable_progress_bar': False}, 'enable_progress_bar=False'),
    ],
)
def test_what_is_switched_off_and_needed(tmp_path, hook, settings, text):
    with pytest.raises(ValueError, match=rf'hooks\[0\]: .*{text}'):
        engine(tmp_path, hooks=[hook], trainer=settings)
    assert list(tmp_path.iterdir()) == []


def test_callbacks_as_an_argument_of_the_trainer(tmp_path):
    with pytest.raises(ValueError, match='callbacks.*hooks='):
        engine(tmp_path, trainer={'callbacks': [Callback()]})
