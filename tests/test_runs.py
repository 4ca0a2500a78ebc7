"""What real nncore and this package leave in work dirs, as `summary` and `plot` tell of it.

The numbers are computed again here, from the lines of metrics.json one by one.
"""

import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import oracle
import pytest
import torch

from nncore_compat import _plot, _summary, get_checkpoint
from nncore_compat._pickles import Refused
from nncore_compat._plots.panels import drawing
from nncore_compat._runs import best, log, saved, state
from nncore_compat._runs.find import Place, places
from nncore_compat._runs.records import Records, epoch_of, iteration_of
from nncore_compat._runs.run import Run

FIXTURES = Path(__file__).parent / 'fixtures'

TRAINING = """
import os, time, torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

class Points(Dataset):
    def __init__(self, size):
        self.x = torch.randn(size, 2, generator=torch.Generator().manual_seed(size))
    def __len__(self):
        return len(self.x)
    def __getitem__(self, index):
        return self.x[index]
    def evaluate(self, outputs, logger=None, **kwargs):
        share = sum(map(len, outputs)) / len(self)
        values = torch.cat(outputs)
        return dict(zork=values.mean().item(), plonk=values.std().item(), acc=share)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(2, 1)
    def forward(self, data, mode, **kwargs):
        out = (self.fc(data) - data.sum(1, keepdim=True)).square()
        return dict(loss_a=out.mean(), loss_b=out.mean() / 3, _avg_factor=len(data),
                    _out=out[:, 0].detach())

def engine(name, stages, hooks, **loaders):
    loaders = dict(train=DataLoader(Points(23), 4), **loaders)
    return E.Engine(Net(), loaders, stages=stages, hooks=hooks, work_dir=os.path.join(FOLDER, name),
                    logger=name + str(time.time()))

STAGES = [
    dict(epochs=2, optimizer=dict(type='SGD', lr=0.01, momentum=0.9),
         warmup=dict(type='iter', policy='linear', steps=4, ratio=0.1),
         validation=dict(interval=1)),
    dict(epochs=3, optimizer=dict(type='Adam', lr=0.02),
         lr_schedule=dict(type='iter', policy='cosine'), validation=dict(interval=1)),
]
HOOKS = [dict(type='EvalHook', low_keys=['zork', 'plonk'], high_keys=['acc']),
         dict(type='EventWriterHook', interval=4),
         dict(type='CheckpointHook', create_symlink=True)]

class Fall(E.Hook):
    def after_train_iter(self, engine):
        if engine.iter == 4 * 6 + 4:
            raise RuntimeError('fallen')

val = dict(val=DataLoader(Points(9), 4))
engine('whole run', STAGES, HOOKS, **val).launch()
try:
    engine('resumed', STAGES, [*HOOKS, Fall()], **val).launch()
except RuntimeError:
    pass
time.sleep(1.1)
again = engine('resumed', STAGES, HOOKS, **val)
again.resume(os.path.join(FOLDER, 'resumed', 'epoch_1.pth'))
again.launch()
writers = ['CommandLineWriter', dict(type='JSONWriter', filename='lines.txt')]
engine('bare', [dict(epochs=2, optimizer=dict(type='SGD', lr=0.01))],
       [dict(type='EventWriterHook', interval=1, writers=writers)]).launch()
result = None
"""


@pytest.fixture(scope='module', params=['real', 'ours'])
def side(request, tmp_path_factory):
    """A folder with three runs of real nncore, or of ours."""
    folder = tmp_path_factory.mktemp('ü ') / request.param
    folder.mkdir()
    # The interrupted one goes on as nncore does: the epoch after the checkpoint.
    code = TRAINING.replace('.launch()', '.launch()')
    oracle.run(request.param, f'FOLDER = {str(folder)!r}\n{code}')
    folder.name_of_side = request.param if False else None
    return folder


def lines(folder, name='metrics.json'):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def summary(capsys, *args):
    _summary.main([str(arg) for arg in args])
    return capsys.readouterr().out


def told(capsys, *args):
    return json.loads(summary(capsys, *args, '--json'))
