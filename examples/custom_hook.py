"""Two hooks of one's own: one changes the training, one has a number logged.

    python -m nncore_compat examples/custom_hook.py
    python examples/custom_hook.py                    # on nncore itself

What a hook puts into engine.buffer is averaged and written like any loss: to the log, metrics.json
and TensorBoard. The lines at the end are read from metrics.json.
"""

import json
import os

import torch
import torch.nn as nn
import torch.nn.functional as F
from nncore.engine import HOOKS, Engine, Hook, set_random_seed
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


@HOOKS.register()
class FreezeHook(Hook):
    """Freezes a layer during the first epochs."""

    def __init__(self, layer, epochs):
        super().__init__()
        self.layer = layer
        self.epochs = epochs

    def before_train_epoch(self, engine):
        engine.model.layers[self.layer].requires_grad_(engine.epoch >= self.epochs)


@HOOKS.register()
class WeightHook(Hook):
    """Logs the norm of a layer's weights."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def after_train_iter(self, engine):
        weight = engine.model.layers[self.layer].weight
        engine.buffer.update(f'norm_{self.layer}', weight.detach().norm())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, data, mode, **kwargs):
        images, labels = data
        logits = self.layers(images)
        hits = (logits.argmax(1) == labels).float().mean()
        return dict(_avg_factor=len(labels), loss=F.cross_entropy(logits, labels), acc=hits)


def make_loaders():
    """The digits of scikit-learn, 64 grey pixels each; 300 of them are held out."""
    images, labels = map(torch.tensor, load_digits(return_X_y=True))
    images = images.float() / 16
    train = TensorDataset(images[300:], labels[300:])
    val = TensorDataset(images[:300], labels[:300])
    return dict(train=DataLoader(train, batch_size=32, shuffle=True), val=DataLoader(val, 100))


if __name__ == '__main__':
    set_random_seed(1)
    stage = dict(epochs=4, optimizer=dict(type='Adam', lr=2e-3), validation=dict(interval=1))
    hooks = [dict(type='FreezeHook', layer=0, epochs=2)]
    engine = Engine(Net(), make_loaders(), stages=stage, hooks=hooks)
    # Hooks are called in order: after OptimizerHook's step, and before the values are written.
    engine.register_hook(dict(type='WeightHook', layer=0), before='EventWriterHook')
    engine.launch()

    print('Hooks:', ', '.join(engine.hooks))
    with open(os.path.join(engine.work_dir, 'metrics.json')) as file:
        records = [json.loads(line) for line in file]
    for epoch in range(1, 5):
        norm = [r['norm_0'] for r in records if r['mode'] == 'train' and r['epoch'] == epoch][-1]
        (acc,) = [r['acc'] for r in records if r['mode'] == 'val' and r['epoch'] == epoch]
        print(f'Epoch {epoch}: norm of the first layer {norm:.3f}, accuracy {acc:.1%}')
