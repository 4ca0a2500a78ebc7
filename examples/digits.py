"""A small network on the 1,797 handwritten digits that ship inside scikit-learn.

    python -m nncore_compat examples/digits.py    # on Lightning
    python -m nncore_compat --devices 2 examples/digits.py
    python examples/digits.py                     # on nncore itself

The log, metrics.json, TensorBoard events and a checkpoint per epoch are left in work_dirs/.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from nncore.engine import Engine, set_random_seed
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset


class Digits(Dataset):
    """8x8 grey images in [0, 1]; every fifth one is held out for validation."""

    def __init__(self, split):
        images, labels = load_digits(return_X_y=True)
        held_out = torch.arange(len(labels)) % 5 == 4
        rows = held_out if split == 'val' else ~held_out
        self.images = torch.tensor(images, dtype=torch.float32)[rows].reshape(-1, 1, 8, 8) / 16
        self.labels = torch.tensor(labels)[rows]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, idx):
        return self.images[idx], self.labels[idx]

    def evaluate(self, blob, logger=None):
        return dict(accuracy=torch.cat(blob).float().mean().item())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(1024, 10),
        )

    def forward(self, data, mode, **kwargs):
        images, labels = data
        logits = self.layers(images)
        output = dict(_avg_factor=len(labels), loss=F.cross_entropy(logits, labels))
        if mode != 'train':
            # which ones are right, since several processes have them in an order of their own
            output['_out'] = logits.argmax(1) == labels
        return output


STAGES = [
    dict(
        epochs=4,
        optimizer=dict(type='Adam', lr=2e-3),
        warmup=dict(type='iter', policy='linear', steps=50, ratio=0.01),
        validation=dict(interval=1),
    ),
    dict(
        epochs=6,
        optimizer=dict(type='SGD', lr=1e-2, momentum=0.9, weight_decay=1e-4),
        lr_schedule=dict(type='iter', policy='cosine'),
        validation=dict(interval=1),
    ),
]


def main():
    # the network is too small to be faster on more
    torch.set_num_threads(1)
    set_random_seed(1)
    data_loaders = dict(
        train=DataLoader(Digits('train'), batch_size=32, shuffle=True),
        val=DataLoader(Digits('val'), batch_size=128),
    )

    engine = Engine(
        Net(),
        data_loaders,
        stages=STAGES,
        hooks=[
            dict(type='EvalHook', high_keys=['accuracy']),
            dict(type='EventWriterHook', interval=15),
        ],
    )
    engine.launch()


if __name__ == '__main__':
    main()
