"""A run that is killed and started again ends like one that was never interrupted, to the bit.

    python -m nncore_compat examples/resume.py

It starts the training below three times: one run to the end; one that is killed in the middle of
an epoch; and the same command again, with `--resume auto`. What the training needs for that is a
fixed work_dir, and a checkpoint now and then.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

import torch
import torch.nn as nn
import torch.nn.functional as F
from nncore.engine import Engine, Hook, set_random_seed
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.2), nn.Linear(64, 10))

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


class KillHook(Hook):
    """Kills the process, which has no time to save anything."""

    def after_train_iter(self, engine):
        if engine.iter == 110:
            os.kill(os.getpid(), 9)


def train(work_dir, killed):
    set_random_seed(1)
    stage = dict(epochs=4, optimizer=dict(type='Adam', lr=2e-3), validation=dict(interval=1))
    hooks = [
        dict(type='CheckpointHook', every_n_iters=20),
        dict(type='EventWriterHook', interval=5),
        *([KillHook()] if killed else []),
    ]
    Engine(Net(), make_loaders(), stages=stage, hooks=hooks, work_dir=work_dir).launch()


def run(*args):
    """Run this script in a process of its own; return its exit status and its last resume."""
    command = [sys.executable, '-m', 'nncore_compat', '--resume', 'auto', __file__, *args]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, re.findall(r'Resumed (.*)', done.stdout)


def read(work_dir):
    """The weights at the end, and what was logged, but for the time it took."""
    weights = torch.load(os.path.join(work_dir, 'epoch_4.pth'), weights_only=True)['state_dict']
    with open(os.path.join(work_dir, 'metrics.json')) as file:
        records = [json.loads(line) for line in file]
    times = ('time', 'data_time')
    return weights, [{k: v for k, v in r.items() if k not in times} for r in records]


def main(folder):
    whole, killed = os.path.join(folder, 'whole'), os.path.join(folder, 'killed')
    print('A whole run: exit status', run(whole)[0])
    print('One that is killed in iteration 110: exit status', run(killed, 'kill')[0])
    status, (place,) = run(killed)
    print(f'The same, started again: exit status {status}, went on from {place}')
    (weights, records), (resumed_weights, resumed_records) = read(whole), read(killed)
    same = [torch.equal(weights[key], resumed_weights[key]) for key in weights]
    print(f'Tensors of weights that end the same, to the bit: {sum(same)} of {len(weights)}')
    print(f'Lines of metrics.json: {len(records)}, the same: {resumed_records == records}')


if __name__ == '__main__':
    if sys.argv[1:]:
        train(sys.argv[1], killed='kill' in sys.argv)
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(folder)
