"""Errors out of every event and out of data, model and evaluation: what arrives, what is left."""

import os
import signal

import torch
from _lab import JOURNAL, Net, Points, attempt, finish, loaders, note, seed, tree, watch
from nncore.engine import Engine, Hook
from torch.utils.data import DataLoader

EVENTS = (
    'before_launch',
    'before_stage',
    'before_train_epoch',
    'before_train_iter',
    'after_train_iter',
    'after_train_epoch',
    'before_val_epoch',
    'before_val_iter',
    'after_val_iter',
    'after_val_epoch',
    'after_stage',
    'after_launch',
)
ERRORS = (RuntimeError, KeyboardInterrupt, StopIteration, SystemExit)


def interrupt(signum, frame):
    """A handler of the script's own, which is left to it."""
    raise KeyboardInterrupt


class Bomb(Hook):
    """Raises at the second time that an event happens, or the first if there is one only."""

    def __init__(self, event, error):
        super().__init__()
        self._left = 1 if event.endswith('_launch') else 2
        self._error = error
        setattr(self, event, self._count)

    def _count(self, engine):
        self._left -= 1
        if self._left == 0:
            if self._error is None:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000):
                    pass
            else:
                raise self._error('stop')


class Faulty(Net):
    """Raises in one of its calls."""

    calls = 0

    def forward(self, data, mode='train', **kwargs):
        self.calls += 1
        if (mode, self.calls) == self.fault[:2]:
            raise self.fault[2]('model')
        return super().forward(data, mode, **kwargs)


class Rotten(Points):
    """Raises at one of its items, or when it evaluates."""

    fault = (None, None)

    def __getitem__(self, index):
        if index == self.fault[0]:
            raise self.fault[1]('item')
        return super().__getitem__(index)

    def evaluate(self, blob, logger=None, **kwargs):
        if self.fault[0] == 'evaluate':
            raise self.fault[1]('evaluate')
        return super().evaluate(blob, logger, **kwargs)


def run(name, model=None, data=None, bomb=None):
    seed()
    stage = dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1))
    engine = Engine(
        model or Net(),
        data or loaders(train=10, val=7),
        stages=[stage, dict(stage, epochs=1)],
        hooks=[dict(type='EventWriterHook', writers=['CommandLineWriter', 'JSONWriter'])],
        work_dir=name,
        logger=name,
    )
    if bomb:
        engine.register_hook(bomb, before='OptimizerHook')
    watch(engine)
    error = attempt(engine.launch)
    note(
        'left',
        error=repr(error),
        cause=[repr(getattr(error, '__cause__', None)), repr(getattr(error, '__context__', None))],
        signals=[
            getattr(handler, '__name__', str(handler))
            for handler in map(signal.getsignal, (signal.SIGINT, signal.SIGTERM))
        ],
        files=tree(name),
        trains=[p.requires_grad for p in engine.model.parameters()],
        modes=[torch.is_grad_enabled(), torch.is_inference_mode_enabled()],
    )
    del JOURNAL[:-40]
    finish(name, engine)


for event in EVENTS:
    for error in ERRORS:
        run(f'{event}_{error.__name__}', bomb=Bomb(event, error))
signal.signal(signal.SIGINT, interrupt)
run('signal', bomb=Bomb('after_train_iter', None))
signal.signal(signal.SIGINT, signal.default_int_handler)
for error in (RuntimeError, StopIteration, KeyboardInterrupt):
    for mode, call in (('train', 2), ('val', 5)):
        model = Faulty()
        model.fault = (mode, call, error)
        run(f'model_{mode}_{error.__name__}', model=model)
    for split, place in (('train', 8), ('val', 5), ('val', 'evaluate')):
        data = {
            s: DataLoader(Rotten(n, name=s), batch_size=4) for s, n in (('train', 10), ('val', 7))
        }
        data[split].dataset.fault = (place, error)
        run(f'data_{split}_{place}_{error.__name__}', data=data)
