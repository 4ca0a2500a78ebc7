"""An error that nobody catches."""

import sys

from _lab import Net, loaders, seed
from nncore.engine import ClosureHook, Engine

ERRORS = dict(error=ValueError('no more'), interrupt=KeyboardInterrupt())


def stop(engine):
    if engine.iter == 3:
        raise ERRORS[sys.argv[2]]


seed()
stage = dict(epochs=1, optimizer=dict(type='SGD', lr=0.1))
hooks = [ClosureHook('after_train_iter', stop)]
engine = Engine(Net(), loaders(), stages=stage, hooks=hooks, work_dir='run', logger='run')
engine.launch()
