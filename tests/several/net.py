"""A model, data and stages for several processes, and the same training in plain PyTorch."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

torch.set_num_threads(1)
BATCH = 4


class Points(Dataset):
    """Labelled points; an even number of batches for each of two processes."""

    def __init__(self, size, seed):
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(size, 6, generator=generator)
        self.y = torch.randint(3, (size,), generator=generator)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {'x': self.x[index], 'y': self.y[index]}

    def evaluate(self, outputs, logger=None, **kwargs):
        hits = torch.stack(outputs).reshape(-1)
        return {'hits': hits[: len(self)].sum().item()}


class Net(nn.Module):
    """Blocks in a ModuleList, as transformers have them."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(6, 6) for _ in range(2)])
        self.head = nn.Linear(6, 3)

    def logits(self, x):
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return self.head(x)

    def forward(self, data, mode='train', **kwargs):
        logits = self.logits(data['x'])
        return {
            'loss': nn.functional.cross_entropy(logits, data['y']),
            '_avg_factor': len(logits),
            '_out': logits.argmax(1) == data['y'],
        }


def seeded(seed=0):
    torch.manual_seed(seed)
    return Net()


def loaders():
    """Plain loaders, which know nothing of processes."""
    return {
        'train': DataLoader(Points(24, 1), BATCH),
        'val': DataLoader(Points(8, 2), BATCH),
    }


def stages():
    return [
        {
            'epochs': 2,
            'optimizer': {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9},
            'validation': {'interval': 1},
        },
        {
            'epochs': 2,
            'optimizer': {'type': 'Adam', 'lr': 0.01},
            'grad_clip': {'max_norm': 0.5},
        },
    ]


def by_hand(interval=1, freeze=False):
    """Train as two processes would, with one: each step on the batches of both.

    Args:
        interval: How many iterations are accumulated before a step.
        freeze: Whether the first block is frozen in the second stage.
    """
    model, data = seeded(), Points(24, 1)
    for cfg in stages():
        if freeze and cfg['optimizer']['type'] == 'Adam':
            model.blocks[0].requires_grad_(False)
        options = {k: v for k, v in cfg['optimizer'].items() if k != 'type'}
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = getattr(torch.optim, cfg['optimizer']['type'])(trained, **options)
        for _ in range(cfg['epochs']):
            batches = []
            for rank in range(2):
                sampler = DistributedSampler(data, 2, rank, shuffle=False)
                batches.append(list(DataLoader(data, BATCH, sampler=sampler)))
            for index, pair in enumerate(zip(*batches, strict=True), start=1):
                for batch in pair:
                    loss = nn.functional.cross_entropy(model.logits(batch['x']), batch['y'])
                    (loss / 2 / interval).backward()
                if index % interval == 0:
                    if 'grad_clip' in cfg:
                        nn.utils.clip_grad_norm_(trained, **cfg['grad_clip'])
                    optimizer.step()
                    optimizer.zero_grad()
    return model.state_dict()


def whole(model):
    """The weights of a model, whole on every process where they are sharded."""
    return {
        name: value.full_tensor() if hasattr(value, 'full_tensor') else value
        for name, value in model.state_dict().items()
    }
