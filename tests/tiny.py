"""A model, a dataset and an engine as small as they get, for tests of the engine."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from nncore_compat import Engine

_numbers = itertools.count()


class Points(Dataset):
    """Points of the plane, to be told apart by the sign of their sum."""

    def __init__(self, size=10):
        generator = torch.Generator().manual_seed(size)
        self.x = torch.randn(size, 2, generator=generator)
        self.y = (self.x.sum(1) > 0).long()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {'x': self.x[index], 'y': self.y[index]}

    def evaluate(self, outputs, logger=None, **kwargs):
        return {'acc': (torch.cat(outputs) == self.y).float().mean().item(), **kwargs}


class Net(nn.Module):
    """A linear classifier whose output a test may change with `change`."""

    def __init__(self, change=lambda output: output):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(2, 2)
        self.change = change

    def forward(self, data, mode, **kwargs):
        logits = self.fc(data['x'])
        output = {
            'loss': nn.functional.cross_entropy(logits, data['y']),
            '_avg_factor': len(data['y']),
            '_out': logits.argmax(1),
        }
        return self.change(output)


def stage(**changes):
    cfg = {'epochs': 1, 'optimizer': {'type': 'SGD', 'lr': 0.1}, **changes}
    return {key: value for key, value in cfg.items() if value is not ...}


def engine(tmp_path, model=None, stages=None, data_loaders=None, cls=Engine, **kwargs):
    """Build an engine over 10 points in batches of 4, with a logger of its own."""
    if data_loaders is None:
        data_loaders = {'train': DataLoader(Points(), 4), 'val': DataLoader(Points(6), 4)}
    kwargs.setdefault('logger', f'tiny{next(_numbers)}')
    # A compiled model has no truth value.
    model = Net() if model is None else model
    return cls(model, data_loaders, stages=stages or stage(), work_dir=str(tmp_path), **kwargs)
