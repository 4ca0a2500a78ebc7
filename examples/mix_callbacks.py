"""Lightning's callbacks among nncore's hooks, in one list.

    python -m nncore_compat examples/mix_callbacks.py

EarlyStopping ends the run, ModelCheckpoint keeps the best weights, LearningRateMonitor has the
learning rate written to a CSV file, and EMAWeightAveraging (Lightning 2.6 or newer) validates and
saves averaged weights. They are given as objects or by name. To monitor there are `val_` and
`train_` and a key of the model's output.
"""

import csv
import os

import torch
import torch.nn as nn
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from nncore.engine import Engine, set_random_seed
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


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


STAGE = dict(
    epochs=30,
    optimizer=dict(type='Adam', lr=1e-2),
    lr_schedule=dict(type='epoch', policy='step', step=[4], gamma=0.1),
    validation=dict(interval=1),
)

if __name__ == '__main__':
    set_random_seed(1)
    stopping = EarlyStopping(monitor='val_acc', mode='max', patience=2)
    best = ModelCheckpoint(monitor='val_acc', mode='max', filename='best')
    hooks = [
        dict(type='EventWriterHook', interval=20),
        stopping,
        best,
        'LearningRateMonitor',
        EMAWeightAveraging(decay=0.9),
    ]
    logger = CSVLogger('work_dirs', name='mix_callbacks')
    engine = Engine(Net(), make_loaders(), stages=STAGE, hooks=hooks, trainer=dict(logger=logger))
    engine.launch()

    print('In order:', ', '.join(engine.hooks))
    print(f'EarlyStopping: ended after {engine.epoch} epochs of {engine.max_epochs}')
    print(f'ModelCheckpoint: accuracy {best.best_model_score:.1%}, in {best.best_model_path}')
    with open(os.path.join(logger.log_dir, 'metrics.csv')) as file:
        rates = {row['lr-Adam'] for row in csv.DictReader(file)} - {''}
    print(f'LearningRateMonitor: {", ".join(sorted(rates, reverse=True))}')
    checkpoint = torch.load(best.best_model_path, weights_only=True)
    averaged = checkpoint['state_dict']['layers.2.bias']
    trained = checkpoint['current_model_state']['layers.2.bias']
    print(f'EMAWeightAveraging: {(averaged - trained).abs().max():.4f} from the trained weights')
