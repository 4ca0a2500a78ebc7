"""A real run of wandb, offline."""

import os

os.environ['WANDB_MODE'] = 'offline'

import wandb
from _lab import Net, finish, loaders, note, seed
from nncore.engine import Engine

seed()
engine = Engine(
    Net(),
    loaders(),
    stages=dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
    hooks=[dict(type='EventWriterHook', interval=2, writers=['WandbWriter'])],
    work_dir='run',
    logger='offline',
    meta=dict(seed=3),
)
engine.launch()
run = wandb.run
summary = {k: run.summary.get(k) for k in ('loss/train', 'loss/val', 'accuracy/val')}
note('run', name=run.name, config=dict(run.config), step=run.step, summary=summary)
wandb.finish()
finish('offline', engine)
