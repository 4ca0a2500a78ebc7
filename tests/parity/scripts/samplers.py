"""Loaders with samplers, generators, drop_last, batch samplers and streams of known length."""

import torch
from _lab import Net, Points, finish, note, seed, watch
from nncore.engine import Engine
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    WeightedRandomSampler,
)


class Stream(IterableDataset):
    """Endless in principle, ten points long in practice."""

    def __init__(self):
        self.points = Points(10)

    def __len__(self):
        return 10

    def __iter__(self):
        note('stream', draw=int(torch.randint(1000, ())))
        return (self.points[i] for i in range(10))


def make(name):
    data = Points(14)
    own = torch.Generator().manual_seed(8)
    return dict(
        weighted=lambda: DataLoader(
            data, batch_size=4, sampler=WeightedRandomSampler(torch.arange(14.0) + 1, 11)
        ),
        own_generator=lambda: DataLoader(data, batch_size=4, shuffle=True, generator=own),
        drop_last=lambda: DataLoader(data, batch_size=4, shuffle=True, drop_last=True),
        batch_sampler=lambda: DataLoader(
            data, batch_sampler=BatchSampler(RandomSampler(data, num_samples=9), 2, True)
        ),
        stream=lambda: DataLoader(Stream(), batch_size=4),
        one_batch=lambda: DataLoader(data, batch_size=14, sampler=SequentialSampler(data)),
        pinned=lambda: DataLoader(data, batch_size=4, timeout=0, pin_memory=False),
    )[name]()


for name in (
    'weighted',
    'own_generator',
    'drop_last',
    'batch_sampler',
    'stream',
    'one_batch',
    'pinned',
):
    seed()
    val = DataLoader(Points(5, name='val'), batch_size=2, shuffle=True)
    engine = Engine(
        Net(dropout=0.2),
        dict(train=make(name), val=val),
        stages=dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
        hooks=[dict(type='OptimizerHook', interval=2)],
        work_dir=name,
        logger=name,
    )
    watch(engine)
    engine.launch()
    finish(name, engine)
