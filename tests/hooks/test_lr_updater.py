"""LrUpdaterHook: schedules and warm-up."""

import pytest
import torch

import nncore_compat as E

from . import scenarios
from .fake_engine import FakeEngine, loaders, sgd


@pytest.fixture(scope='module')
def rates(tmp_path_factory):
    return scenarios.learning_rates(E, tmp_path_factory.mktemp('lr'))


@pytest.mark.parametrize('case', scenarios.lr_cases())
def test_rates_are_nncores_bit_for_bit(case, rates, reference):
    assert rates[case] == reference['learning_rates'][case]
    assert len(rates[case]) == 30


def rates_of(**stage):
    seen = []
    watch = E.ClosureHook(
        'after_train_iter', lambda e: seen.append(e.optimizer.param_groups[0]['lr'])
    )
    stages = [dict(epochs=2, optimizer=sgd, **stage)]
    FakeEngine(E.Buffer(), [E.LrUpdaterHook(), watch], loaders(), stages).run()
    return seen


def test_step_is_accepted_for_steps():
    warmup = dict(type='iter', policy='linear', ratio=0.1)
    assert rates_of(warmup=dict(warmup, step=4)) == rates_of(warmup=dict(warmup, steps=4))
    assert rates_of(warmup=dict(warmup, step=4))[0] == pytest.approx(0.01)


def test_the_documentations_warmup_without_ratio():
    warmup = dict(type='iter', policy='linear', steps=5)
    assert rates_of(warmup=warmup) == rates_of(warmup=dict(warmup, ratio=0.001))
    assert 'ratio' not in warmup


def test_a_registered_policy_gets_its_settings_and_the_progress():
    given = []

    @E.hooks.lr_updater.POLICIES.register(name='mine')
    def mine(base_lr, **kwargs):
        given.append(kwargs)
        return base_lr / 2

    try:
        schedule = dict(type='epoch', policy='mine', extra=1)
        assert rates_of(lr_schedule=schedule) == [0.05] * 10
    finally:
        E.hooks.lr_updater.POLICIES.pop('mine')
    assert given == [dict(schedule, progress=i, max_progress=2) for i in range(2)]
    assert schedule == dict(type='epoch', policy='mine', extra=1)


def test_an_unknown_warmup_policy():
    with pytest.raises(TypeError, match=r"'lineer'.*'linear', 'exp', 'constant'"):
        rates_of(warmup=dict(type='iter', policy='lineer', steps=2))


@pytest.mark.parametrize('warmup', [None, dict(type='epoch', policy='constant', steps=2)])
def test_the_base_rate_of_a_group_that_comes_later_is_noted_with_the_next_iteration(warmup):
    seen = []

    def unfreeze(engine):
        if engine.iter == 1:
            group = {'params': [torch.nn.Parameter(torch.ones(1))], 'lr': 0.5}
            engine.optimizer.add_param_group(group)
        seen.append([group.get('base_lr') for group in engine.optimizer.param_groups])

    watch = E.ClosureHook('after_train_iter', unfreeze)
    stages = [dict(epochs=1, optimizer=sgd, warmup=warmup)]
    FakeEngine(E.Buffer(), [E.LrUpdaterHook(), watch], loaders(6), stages).run()
    assert seen == [[0.1], [0.1, None], [0.1, 0.5]]
