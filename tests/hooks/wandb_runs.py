"""Runs of wandb, offline: `python wandb_runs.py FOLDER`.

Each case is a forked process, as multiprocessing makes it, but for the last, which is this one.
"""

import argparse
import contextlib
import multiprocessing
import os
import sys
from pathlib import Path

import lightning.pytorch  # noqa: F401
import torch._dynamo  # noqa: F401  Imported at the first optimizer: once here.
import wandb
from tiny import engine, stage

from nncore_compat import Hook

META = argparse.Namespace(lr=0.1, model={'dim': 3, 'act': print}, _hidden=1)


class Raise(Hook):
    """Ends the run in an iteration."""

    def __init__(self, error, at=7):
        super().__init__()
        self.error, self.at = error, at

    def after_train_iter(self, engine):
        if engine.iter == self.at:
            raise self.error


def make(error=None, meta=META, work_dir='run'):
    writers = {'type': 'EventWriterHook', 'interval': 2, 'writers': ['WandbWriter']}
    stages = stage(epochs=4, validation={'interval': 1})
    others = [] if error is None else [Raise(error)]
    return engine(work_dir, stages=stages, hooks=[writers, *others], meta=meta)


def done():
    make().launch()
    # As scripts do under nncore.
    wandb.log({'test': 1})


def signalled():
    make(SystemExit(143)).launch()


def caught():
    with contextlib.suppress(ZeroDivisionError):
        make(ZeroDivisionError('x')).launch()
    make(meta={'second': True}).launch()


def taken_up():
    with contextlib.suppress(ZeroDivisionError):
        make(ZeroDivisionError('x')).launch()
    make().launch(resume='auto')


def begun_by_the_script():
    with contextlib.suppress(ZeroDivisionError), wandb.init(name='mine', config={'a': 1}) as run:
        with contextlib.suppress(ZeroDivisionError):
            make(ZeroDivisionError('x')).launch()
        run.log({'later': 1})


def switched_off():
    os.environ['WANDB_MODE'] = 'disabled'
    make().launch()


def twice():
    for name in ('run', 'other'):
        make(work_dir=name, meta=[1, 2]).launch()


CASES = (
    done,
    signalled,
    caught,
    taken_up,
    begun_by_the_script,
    switched_off,
    twice,
)


def in_folder(case, root):
    folder = root / case.__name__
    folder.mkdir()
    os.chdir(folder)
    os.environ['WANDB_MODE'] = 'offline'
    case()


def forked(case, root):
    (root / 'out').mkdir(exist_ok=True)
    with open(root / 'out' / case.__name__, 'w') as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    in_folder(case, root)


if __name__ == '__main__':
    root = Path(sys.argv[1])
    processes = [
        multiprocessing.get_context('fork').Process(target=forked, args=(case, root))
        for case in CASES[:-1]
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    in_folder(CASES[-1], root)
