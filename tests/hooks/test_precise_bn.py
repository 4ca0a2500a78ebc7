"""PreciseBNHook: statistics, random draws and what is left of the layers."""

import pytest
import torch

import nncore_compat as E

from . import scenarios
from .fake_engine import FakeEngine, Linear, loaders, sgd


def test_statistics_are_nncores_bit_for_bit(reference, ours, capsys):
    theirs, mine = reference['precise_bn'], ours('precise_bn')
    assert len(theirs) == 3
    for name in theirs:
        assert mine[name] == theirs[name], name


def test_statistics_are_means_over_batches():
    class One(Linear):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(3)

        def forward(self, data, mode='train', **kwargs):
            return {'loss': self.layer(self.norm(data)).mean(), '_avg_factor': len(data)}

    model = One()
    stages = [dict(epochs=1, optimizer=sgd)]
    FakeEngine(E.Buffer(), [E.PreciseBNHook(num_iters=3)], loaders(), stages, model).run()
    batches = list(loaders()['train'])[:3]
    torch.testing.assert_close(
        model.norm.running_mean, torch.stack([b.mean(0) for b in batches]).mean(0)
    )
    torch.testing.assert_close(
        model.norm.running_var, torch.stack([b.var(0) for b in batches]).mean(0)
    )


def test_layers_without_statistics_are_left_alone():
    class Bare(scenarios.Normed):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.BatchNorm1d(4, track_running_stats=False)

    model = Bare()
    stages = [dict(epochs=1, optimizer=sgd)]
    FakeEngine(E.Buffer(), [E.PreciseBNHook()], loaders(), stages, model).run()
    assert model.first.running_mean is None
    assert model.second.running_mean.abs().sum() > 0


def test_momentum_comes_back_when_the_model_fails():
    model = scenarios.Normed()
    engine = FakeEngine(E.Buffer(), [], loaders(), [dict(epochs=1, optimizer=sgd)], model)
    engine.data_loader = [None]
    with pytest.raises(TypeError):
        E.PreciseBNHook().after_train_epoch(engine)
    assert (model.first.momentum, model.second.momentum) == (0.1, None)


def test_something_must_be_averaged():
    with pytest.raises(ValueError, match=r'num_iters must be .* at least 1, but got 0'):
        E.PreciseBNHook(num_iters=0)
