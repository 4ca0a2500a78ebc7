"""A script that does not care how many processes run it: distributed.md has the commands.

    python -m nncore_compat --devices 2 examples/distributed.py

Each process gets its share of the batches, and gradients are averaged over all of them.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from nncore.engine import Engine, comm, set_random_seed
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, data, mode, **kwargs):
        points, labels = data
        loss = F.cross_entropy(self.layers(points), labels)
        return dict(_avg_factor=len(labels), loss=loss)


def make_loader(size, shuffle=False):
    """Points around the four corners of a square, seen through sixteen noisy sensors."""
    labels = torch.randint(4, (size,))
    points = torch.eye(4).repeat(1, 4)[labels] + 0.5 * torch.randn(size, 16)
    return DataLoader(TensorDataset(points, labels), batch_size=32, shuffle=shuffle)


if __name__ == '__main__':
    set_random_seed(1)
    data_loaders = dict(train=make_loader(4096, shuffle=True), val=make_loader(512))
    stage = dict(epochs=2, optimizer=dict(type='Adam', lr=1e-3), validation=dict(interval=1))
    engine = Engine(Net(), data_loaders, stages=stage)
    engine.launch()

    # Only now, since Engine may have started the other processes.
    share = len(engine.data_loaders['train'])
    weights = torch.cat([param.detach().flatten().cpu() for param in engine.model.parameters()])
    parts = comm.all_gather((share, weights))
    if comm.is_main_process():
        shares = ' + '.join(str(share) for share, _ in parts)
        print(f'Processes: {len(parts)}')
        print(f'Batches in an epoch: {shares} of {len(data_loaders["train"])}')
        print('Weights that are the same in all:', all(torch.equal(w, weights) for _, w in parts))
