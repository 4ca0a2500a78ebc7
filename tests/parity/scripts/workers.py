"""Dropout, shuffling and augmentation by all three generators, with 0, 2 and persistent workers."""

import random

import numpy as np
import torch
from _lab import Net, Points, finish, seed, watch
from nncore.engine import Engine
from torch.utils.data import DataLoader


class Shaken(Points):
    """Adds noise from every generator, and says in which state it did."""

    state = 'new'

    def __getitem__(self, index):
        item = super().__getitem__(index)
        noise = torch.rand(6) + float(np.random.rand()) + random.random()
        item['x'] = item['x'] + 0.1 * noise * len(self.state)
        return item


CASES = dict(
    none=dict(),
    two=dict(num_workers=2),
    persistent=dict(num_workers=2, persistent_workers=True),
    prefetch=dict(num_workers=1, prefetch_factor=4),
)
for name, options in CASES.items():
    seed()
    data = {
        split: DataLoader(
            Shaken(size, name=split), batch_size=4, shuffle=split == 'train', **options
        )
        for split, size in (('train', 18), ('val', 6))
    }
    engine = Engine(
        Net(dropout=0.3),
        data,
        stages=dict(
            epochs=3,
            optimizer=dict(type='SGD', lr=0.1),
            lr_schedule=dict(type='iter', policy='cosine'),
            validation=dict(interval=1),
        ),
        work_dir=name,
        logger=name,
    )
    watch(engine)
    engine.launch()
    finish(name, engine)
