"""Runs that are killed and started again, each attempt in a process of its own.

    python -m nncore_compat --resume auto tests/interrupted.py FOLDER CASE...

A case is `name:event@iter,event@iter,...`: the moments at which the attempts kill themselves; one
more follows, which runs to the end. All processes are forked from one that has imported everything.
"""

import os
import signal
import sys
import time
from pathlib import Path

import lightning.pytorch  # noqa: F401
import torch

# Imported at the first optimizer: once here, instead of in every attempt.
import torch._dynamo
import torch.utils.tensorboard
from nncore.engine import Engine, Hook
from torch import nn
from torch.utils.data import DataLoader, Dataset

EVENTS = ('before_train_iter', 'after_train_iter', 'after_train_epoch', 'after_val_epoch')


class Points(Dataset):
    def __init__(self, size):
        self.x = torch.linspace(-1, 1, size * 3).reshape(size, 3)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index] + 0.1 * torch.randn(3)

    def evaluate(self, outputs, **kwargs):
        return {'score': torch.cat(outputs).mean().item()}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))

    def forward(self, data, mode, **kwargs):
        out = self.layers(data)
        loss = out.square().mean()
        output = {'loss': loss, '_avg_factor': len(data), '_out': out}
        if mode == 'train':
            # Further event files, which come up when training is under way.
            output['parts'] = {'a': loss.item(), 'b': 2 * loss.item()}
            output['some_note_text_'] = f'loss {loss.item()}'
        return output


class Die(Hook):
    """Kills the process, without a chance for anybody to tidy up."""

    def __init__(self, moment):
        super().__init__()
        self.event, _, at = (moment or '@-1').partition('@')
        self.at = int(at)

    def _meet(self, event, engine):
        if (event, engine.iter) == (self.event, self.at):
            os.kill(os.getpid(), signal.SIGKILL)


for event in EVENTS:
    setattr(Die, event, lambda self, engine, event=event: self._meet(event, engine))


def attempt(work_dir, moment, resume):
    engine = Engine(
        Net(),
        dict(train=DataLoader(Points(20), 4, shuffle=True), val=DataLoader(Points(8), 4)),
        stages=[
            dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
            dict(epochs=1, optimizer=dict(type='Adam', lr=0.01), validation=dict(interval=1)),
        ],
        hooks=[
            dict(type='CheckpointHook', every_n_iters=3),
            dict(type='EventWriterHook', interval=2),
            Die(moment),
        ],
        work_dir=str(work_dir),
        seed=7,
    )
    engine.launch(**resume(work_dir))


def newest(work_dir):
    """What a user would do by hand."""
    files = sorted(work_dir.glob('*_*.pth'), key=lambda file: file.stat().st_mtime_ns)
    return {'resume': str(files[-1])} if files else {}


def run(folder, name, moments):
    work_dir = folder / name
    byhand = name == 'by_hand'
    for moment in [*filter(None, moments.split(',')), None]:
        # Log files are named by the second.
        time.sleep(1.01 - time.time() % 1)
        child = os.fork()
        if child == 0:
            if byhand:
                del os.environ['NNCORE_COMPAT_RESUME']
            status = 1
            try:
                attempt(work_dir, moment, newest if byhand else lambda _: {})
                status = 0
            finally:
                sys.stdout.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        wanted = 0 if moment is None else signal.SIGKILL
        if status != wanted:
            sys.exit(f'{name}, {moment}: status {status} instead of {wanted}')


if __name__ == '__main__':
    for case in sys.argv[2:]:
        run(Path(sys.argv[1]), *case.split(':'))
