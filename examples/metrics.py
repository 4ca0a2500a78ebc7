"""Metrics of torchmetrics, without an `evaluate` method in the data set.

    python -m nncore_compat examples/metrics.py

The model returns what the metrics need as `_out`; MetricHook says which ones. Their values are
those of all samples together, in any number of processes (`--devices 2`), and go where all others
go: to the log, the writers, `best_...`, callbacks, and what `launch(eval=...)` returns.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
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
        loss = F.cross_entropy(logits, labels)
        out = {} if mode == 'train' else dict(_out=(logits, labels))
        return dict(_avg_factor=len(labels), loss=loss, **out)


def make_loaders():
    """The digits of scikit-learn, 64 grey pixels each; 300 of them are held out."""
    images, labels = map(torch.tensor, load_digits(return_X_y=True))
    images = images.float() / 16
    train = TensorDataset(images[300:], labels[300:])
    val = TensorDataset(images[:300], labels[:300])
    return dict(train=DataLoader(train, batch_size=32, shuffle=True), val=DataLoader(val, 100))


METRICS = dict(
    acc=dict(type='MulticlassAccuracy', num_classes=10, average='micro'),
    f1=dict(type='MulticlassF1Score', num_classes=10, average='macro'),
    calibration=dict(type='MulticlassCalibrationError', num_classes=10),
)

if __name__ == '__main__':
    set_random_seed(1)
    stage = dict(epochs=5, optimizer=dict(type='Adam', lr=2e-3), validation=dict(interval=1))
    hook = dict(
        type='MetricHook', metrics=METRICS, high_keys=['acc', 'f1'], low_keys=['calibration']
    )
    engine = Engine(Net(), make_loaders(), stages=stage, hooks=[hook])
    engine.launch()

    results = engine.launch(eval='val')['val']
    for name in METRICS:
        print(f'{name}: {results[name]:.4f}')
