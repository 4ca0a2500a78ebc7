"""For those who have a Lightning Trainer: stages of nncore in it, and hooks of nncore in it.

    python examples/from_lightning.py

First, an engine's stages, with its hooks, run in a Trainer of one's own: `engine.lightning_module`
is what it fits. Second, `as_callback` makes a callback of a hook, for a Trainer and a
LightningModule that know nothing of engines.
"""

import logging
import warnings

import torch
import torch.nn as nn
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from nncore_compat import Engine, Hook, as_callback, set_random_seed

STAGES = [
    dict(epochs=2, optimizer=dict(type='Adam', lr=2e-3), validation=dict(interval=1)),
    dict(epochs=2, optimizer=dict(type='SGD', lr=1e-1), validation=dict(interval=1)),
]


class LossHook(Hook):
    """A hook like any other: it reads losses, and knows where in the run it is."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def after_train_iter(self, engine):
        if self.first_iter_in_epoch(engine) or self.last_iter(engine):
            self.losses.append(f'{engine.losses["loss"].item():.3f} in iteration {engine.iter}')


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


class Classifier(LightningModule):
    """The same network, as Lightning has it."""

    def __init__(self):
        super().__init__()
        self.net = Net()

    def training_step(self, batch, batch_idx):
        return self.net(batch, mode='train')['loss']

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=2e-3)


# Without Lightning's remarks, bar and files.
logging.getLogger('lightning.pytorch').setLevel(logging.ERROR)
warnings.filterwarnings('ignore', module='lightning')


def make_trainer(max_epochs, callback):
    return Trainer(
        max_epochs=max_epochs,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


if __name__ == '__main__':
    set_random_seed(1)
    engine = Engine(Net(), make_loaders(), stages=STAGES)
    lines = []

    def note(trainer, module):
        optimizer, loss = trainer.optimizers[0], trainer.callback_metrics['val_loss']
        lines.append(f'Epoch {engine.epoch}: {type(optimizer).__name__}, val_loss {loss:.4f}')

    trainer = make_trainer(engine.max_epochs, LambdaCallback(on_validation_end=note))
    trainer.fit(engine.lightning_module)

    hook = LossHook()
    make_trainer(2, as_callback(hook)).fit(Classifier(), make_loaders()['train'])

    print(*lines, sep='\n')
    print('Losses that the hook saw:', ', '.join(hook.losses))
