"""Batches of every shape, and keyword arguments of launch handed to the model."""

import collections

import torch
import torch.nn as nn
from _lab import Points, digest, finish, note, seed, watch
from nncore.engine import Engine
from torch.utils.data import DataLoader

Pair = collections.namedtuple('Pair', 'x y')


class Custom:
    """A batch type that nobody knows."""

    def __init__(self, items):
        self.x = torch.stack([i['x'] for i in items])
        self.y = torch.stack([i['y'] for i in items])


def stacked(items):
    batch = Custom(items)
    return batch.x, batch.y


COLLATES = dict(
    tuple=stacked,
    list=lambda items: list(stacked(items)),
    named=lambda items: Pair(*stacked(items)),
    nested=lambda items: dict(inputs=[stacked(items)], words=['a'] * len(items), none=None),
    custom=Custom,
    raw=lambda items: items,
    half=lambda items: [t.half() if t.is_floating_point() else t for t in stacked(items)],
)


class Reader(nn.Module):
    """Finds x and y in whatever comes; train() returns nothing."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def train(self, mode=True):
        super().train(mode)

    def forward(self, data, mode, scale=1.0, **kwargs):
        note('batch', by=type(data).__name__, mode=mode, scale=scale, kwargs=sorted(kwargs))
        if isinstance(data, dict):
            data = data['inputs'][0]
        elif isinstance(data, list) and isinstance(data[0], dict):
            data = Custom(data)
        if isinstance(data, Custom):
            data = data.x, data.y
        x, y = data
        note('content', by=str(x.dtype), digest=digest([x, y]))
        out = self.linear(x.float())
        return dict(_avg_factor=len(y), loss=scale * nn.functional.cross_entropy(out, y))


for name, collate in COLLATES.items():
    seed()
    data = {
        split: DataLoader(Points(size, name=split), batch_size=3, collate_fn=collate)
        for split, size in (('train', 7), ('val', 4))
    }
    stage = dict(epochs=1, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1))
    engine = Engine(Reader(), data, stages=stage, work_dir=name, logger=name)
    engine.unregister_hook('EvalHook')
    watch(engine)
    engine.launch(scale=0.5, words=('a', 'b'))
    note('kwargs', kwargs=engine.kwargs)
    finish(name, engine)
