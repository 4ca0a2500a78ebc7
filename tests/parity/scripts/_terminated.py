"""A run that is terminated from outside, as a job scheduler does."""

import os
import signal
import time

from _lab import Net, loaders, seed
from nncore.engine import ClosureHook, Engine


def terminate(engine):
    if engine.iter == 3:
        print('terminating', flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
    print('iter', engine.iter, flush=True)


seed()
signal.signal(signal.SIGTERM, lambda *args: print('handled', flush=True))
stage = dict(epochs=1, optimizer=dict(type='SGD', lr=0.1))
engine = Engine(
    Net(),
    loaders(),
    stages=stage,
    hooks=[ClosureHook('after_train_iter', terminate)],
    work_dir='run',
    logger='run',
)
engine.launch()
print('done')
