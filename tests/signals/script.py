"""A training in three stages of chance: order, dropout, and what the data draw."""

import pathlib
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from nncore_compat import Engine

folder, workers, pause = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
torch.set_num_threads(1)


class Points(Dataset):
    def __len__(self):
        return 48

    def __getitem__(self, index):
        noise = torch.from_numpy(np.random.normal(size=6).astype(np.float32))
        return {'x': torch.arange(6) * (index % 5) / 10 + torch.rand(6) + noise, 'y': index % 3}

    def evaluate(self, outputs, **kwargs):
        return {'hits': torch.cat(outputs).float().mean().item()}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 3)
        )

    def forward(self, data, mode, **kwargs):
        print(mode, flush=True)
        time.sleep(pause)
        logits = self.body(data['x'])
        return {
            'loss': nn.functional.cross_entropy(logits, data['y']),
            '_avg_factor': len(logits),
            '_out': logits.argmax(1) == data['y'],
        }


if __name__ == '__main__':
    torch.manual_seed(0)
    np.random.seed(0)
    engine = Engine(
        Net(),
        {
            'train': DataLoader(Points(), 4, shuffle=True, num_workers=workers),
            'val': DataLoader(Points(), 8, num_workers=workers),
        },
        stages=[
            {
                'epochs': 2,
                'optimizer': {'type': kind, 'lr': 0.05},
                'validation': {'interval': 1},
            }
            for kind in ('SGD', 'Adam')
        ],
        hooks=[
            {'type': 'OptimizerHook', 'interval': 3},
            {'type': 'CheckpointHook', 'interval': 2},
            {'type': 'EventWriterHook', 'interval': 4, 'writers': ['JSONWriter']},
        ],
        work_dir=str(folder),
    )
    files = sorted(folder.glob('*.pth'), key=lambda path: path.stat().st_mtime_ns)
    if files:
        engine.resume(files[-1])
    try:
        engine.launch()
    finally:
        print('left', flush=True)
