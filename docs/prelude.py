import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from nncore_compat import *


class Points(Dataset):
    def __init__(self):
        self.x = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
        self.y = (self.x.sum(1) > 0).long()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]

    def evaluate(self, outputs, logger=None):
        return {'acc': (torch.cat(outputs) == self.y).float().mean().item()}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, data, mode, **kwargs):
        x, y = data
        scores = self.fc(x)
        loss = nn.functional.cross_entropy(scores, y)
        return {'loss': loss, '_avg_factor': len(y), '_out': scores.argmax(1)}


model = Net()
loaders = {'train': DataLoader(Points(), 4), 'val': DataLoader(Points(), 4)}
stages = [
    {
        'epochs': 2,
        'optimizer': {'type': 'SGD', 'lr': 0.1},
        'validation': {'interval': 1},
    }
]
engine = Engine(model, loaders, stages=stages)
