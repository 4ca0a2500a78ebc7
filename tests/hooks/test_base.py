"""Hook: events, their defaults and the helpers."""

import pickle

import pytest

import nncore_compat as E
from nncore_compat.hooks.base import HOOK_NAMES, meets_hook_defaults

from . import scenarios
from .fake_engine import FakeEngine, loaders, sgd

DOCUMENTED = {
    'before_train_epoch': 'before_epoch',
    'after_train_epoch': 'after_epoch',
    'before_val_epoch': 'before_epoch',
    'after_val_epoch': 'after_epoch',
    'before_train_iter': 'before_iter',
    'after_train_iter': 'after_iter',
    'before_val_iter': 'before_iter',
    'after_val_iter': 'after_iter',
}
SUBSETS = scenarios.subsets(HOOK_NAMES)


class AfterIter(E.Hook):
    def after_iter(self, engine):
        pass


class AllThreeWords(E.Hook):
    before_train_epoch = after_train_epoch = before_val_epoch = after_val_epoch = print
    before_train_iter = after_train_iter = before_val_iter = after_val_iter = print
    before_epoch = print


def documented_calls(defined):
    calls = {}
    for event in HOOK_NAMES:
        called = event if event in defined else DOCUMENTED.get(event)
        calls[event] = [called] if called in defined else []
    return calls


def test_defaults_are_nncores_with_the_quirk(reference, ours):
    theirs, mine = reference['defaults'], ours('defaults')
    assert len(theirs) > 300
    assert mine == theirs


def test_defaults_are_the_documented_ones_without_it():
    for defined in SUBSETS:
        hook = scenarios.make_hook(E, defined)
        assert scenarios.calls_of(hook, defined, HOOK_NAMES) == documented_calls(defined), defined


def test_hooks_that_meet_the_quirk_are_those_called_otherwise(reference):
    for defined in SUBSETS:
        differs = reference['defaults'][defined] != documented_calls(defined)
        assert meets_hook_defaults(scenarios.make_hook(E, defined)) == differs, defined


@pytest.mark.parametrize(
    ('hook', 'expected'),
    [
        (E.SamplerSeedHook(), True),
        (AfterIter(), True),
        (E.ClosureHook('before_epoch', print), True),
        (AllThreeWords(), False),
        (E.TimerHook(), False),
        (E.OptimizerHook(), False),
        (E.EventWriterHook(), False),
        (E.ClosureHook('after_train_iter', print), False),
    ],
)
def test_which_hooks_meet_the_quirk(hook, expected):
    assert meets_hook_defaults(hook) is expected


def test_helpers(reference, ours):
    assert ours('helpers') == reference['helpers']


def test_a_hook_differs_from_what_is_no_hook():
    assert E.TimerHook() != 'TimerHook'
    assert E.TimerHook() != None  # noqa: E711


@pytest.mark.parametrize(
    'hook',
    [
        AfterIter(name='mine'),
        E.TimerHook(),
        E.LrUpdaterHook(),
        E.OptimizerHook(interval=3),
        E.CheckpointHook(),
        E.EvalHook(high_keys=['acc']),
        E.EventWriterHook(),
        E.PreciseBNHook(),
        E.SamplerSeedHook(),
        E.EmptyCacheHook(['after_iter']),
        E.ClosureHook('after_iter', print),
    ],
    ids=repr,
)
def test_pickling(hook):
    again = pickle.loads(pickle.dumps(hook))
    assert again == hook
    assert type(again) is type(hook)
    for event in HOOK_NAMES:
        assert callable(getattr(again, event))


def test_a_default_can_be_called_through_super():
    calls = []

    class Mine(E.Hook):
        def after_iter(self, engine):
            calls.append('short')

        def after_train_iter(self, engine):
            calls.append('long')
            super().after_train_iter(engine)

    FakeEngine(E.Buffer(), [Mine()], loaders(2), [dict(epochs=1, optimizer=sgd)]).run()
    assert calls == ['long', 'short']
