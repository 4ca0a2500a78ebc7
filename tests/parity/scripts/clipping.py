"""Gradient clipping of every kind; the norm goes to the log."""

import math

from _lab import Net, finish, loaders, seed, watch
from nncore.engine import Engine

CLIPS = [
    dict(max_norm=0.5),
    dict(max_norm=1, norm_type=1),
    dict(max_norm=0.05, norm_type=math.inf),
    dict(max_norm=100.0, norm_type=2, error_if_nonfinite=True),
]
seed()
engine = Engine(
    Net(),
    loaders(),
    stages=[dict(epochs=1, optimizer=dict(type='SGD', lr=0.3), grad_clip=c) for c in CLIPS],
    hooks=[dict(type='EventWriterHook', interval=2)],
    work_dir='run',
    logger='clip',
)
watch(engine)
engine.launch()
finish('clip', engine)
