"""SamplerSeedHook: another order in every epoch."""

import torch
from torch.utils.data import DataLoader, DistributedSampler

import nncore_compat as E

from . import scenarios
from .fake_engine import FakeEngine, loaders, sgd


def test_it_is_never_called_with_the_quirk_as_in_nncore(reference, ours):
    assert ours('sampler_seeds') == reference['sampler_seeds'] == []


def test_training_and_validation_tell_the_epoch(tmp_path):
    # The loader is shared by both; the engine counts an epoch before it validates.
    assert scenarios.sampler_seeds(E, tmp_path) == [0, 1, 1, 2, 2, 3]


def test_the_order_of_a_distributed_sampler_changes():
    data = loaders()['train'].dataset
    sampler = DistributedSampler(data, num_replicas=2, rank=0, shuffle=True, seed=5)
    train = DataLoader(data, batch_size=1, sampler=sampler)
    seen = []
    watch = E.ClosureHook('before_train_epoch', lambda engine: seen.append(list(sampler)))
    hooks = [E.SamplerSeedHook(), watch]
    stages = [dict(epochs=3, optimizer=sgd)]
    FakeEngine(E.Buffer(), hooks, {**loaders(), 'train': train}, stages).run()

    expected = []
    for epoch in range(3):
        order = torch.randperm(10, generator=torch.Generator().manual_seed(5 + epoch)).tolist()
        expected.append(order[0::2])
    assert seen == expected


def test_other_samplers_and_loaders_are_left_alone():
    hook = E.SamplerSeedHook()
    engine = FakeEngine(E.Buffer(), [hook], loaders(), [dict(epochs=1, optimizer=sgd)])
    engine.run()
    engine.data_loader = [1, 2]
    hook.before_epoch(engine)
