"""The shortest script: a model, a data loader, the default stage of nncore.

python -m nncore_compat examples/minimal.py
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from nncore.engine import Engine
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
    torch.manual_seed(0)
    data_loaders = dict(train=make_loader(4096, shuffle=True), val=make_loader(512))
    Engine(Net(), data_loaders).launch()
