"""What a run does to the process around it, and what the process's settings do to a run."""

import gc
import logging
import os
import signal
import sys
import threading
import warnings

import torch
import torch.multiprocessing
from _lab import Net, finish, loaders, note, seed, watch
from nncore.engine import Engine, Hook


class Talkative(Net):
    """Prints and warns."""

    def pack(self, out, y, mode):
        warnings.warn(f'careful in {mode}', UserWarning, stacklevel=1)
        warnings.warn('old in here', DeprecationWarning, stacklevel=1)
        logging.getLogger('somebody.else').warning('a word from the model')
        if mode == 'val':
            print('seen', len(y))
        return super().pack(out, y, mode)


def settings(where):
    note(
        'settings',
        by=where,
        deterministic=torch.are_deterministic_algorithms_enabled(),
        cudnn=[torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic],
        matmul=torch.get_float32_matmul_precision(),
        dtype=str(torch.get_default_dtype()),
        device=str(torch.get_default_device()),
        threads=torch.get_num_threads(),
        anomaly=torch.is_anomaly_enabled(),
        sharing=torch.multiprocessing.get_sharing_strategy(),
        method=torch.multiprocessing.get_start_method(),
        excepthook=sys.excepthook is sys.__excepthook__,
        environment=sorted(k for k in os.environ if k not in before),
        root=[logging.root.level, len(logging.root.handlers), logging.root.manager.disable],
        gc=[gc.isenabled(), *gc.get_threshold()],
        alive=sum(one.name != 'signals' for one in threading.enumerate()),
        cwd=os.getcwd() == cwd,
        argv=len(sys.argv),
        recursion=sys.getrecursionlimit(),
    )


def handlers():
    """What may be otherwise during a run, but not after it."""
    names = [
        getattr(signal.getsignal(s), '__name__', str(signal.getsignal(s)))
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    ]
    note('handlers', signals=names, filters=len(warnings.filters) - filters)


class Look(Hook):
    """Looks around during the run."""

    def before_train_iter(self, engine):
        if engine.iter_in_epoch == 0:
            settings('training')

    def before_val_iter(self, engine):
        settings('validation')


before, cwd, filters = set(os.environ), os.getcwd(), len(warnings.filters)
settings('start')
for name in ('plain', 'set'):
    seed()
    if name == 'set':
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_float32_matmul_precision('high')
        torch.autograd.set_detect_anomaly(True)
        torch.backends.cudnn.benchmark = True
        warnings.simplefilter('error', ResourceWarning)
        signal.signal(signal.SIGTERM, lambda *args: None)
        gc.set_threshold(500, 5, 5)
    stage = dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1))
    # The writer of events keeps a thread; it is not what is looked at here.
    writers = ['CommandLineWriter', 'JSONWriter']
    engine = Engine(
        Talkative(),
        loaders(train=8, val=4),
        stages=stage,
        hooks=[Look(), dict(type='EventWriterHook', writers=writers)],
        work_dir=name,
        logger=name,
    )
    settings('made')
    watch(engine)
    engine.launch()
    settings('done')
    handlers()
    finish(name, engine)
