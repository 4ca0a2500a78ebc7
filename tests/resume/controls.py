"""Checkpoints that lack something: a resumed run must end differently, or nothing is compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from nncore_compat import set_random_seed
from nncore_compat._random import get_states
from resume.cases import Case


class Control(NamedTuple):
    """What is taken out of a checkpoint, and a case in which that matters."""

    # Gets the checkpoint, and the part of each process.
    spoil: Callable[[dict[str, Any], dict[str, Any]], None]
    # What the list of differences has to speak of.
    seen: str
    position: str
    moment: str
    precision: str = 'fp32'
    workers: str = 'none'
    processes: int = 1


def _random(checkpoint, own):
    set_random_seed(7)
    own['random'] = get_states()


def _hooks(checkpoint, own):
    own['hooks'].clear()


def _scaler(checkpoint, own):
    own['hooks']['OptimizerHook']['scaler'] = {}


def _gradients(checkpoint, own):
    own['gradients'].clear()


def _loaders(checkpoint, own):
    own['loaders'].clear()


def _workers(checkpoint, own):
    own['loaders']['train']['crew']['states'] = None


def _buffer(checkpoint, own):
    own['buffer'].clear()


def _averages(checkpoint, own):
    own['averages'] = None


def _callbacks(checkpoint, own):
    checkpoint['callbacks'].clear()


def _statistics(checkpoint, own):
    own['weights'].clear()


def _averaged(checkpoint, own):
    own['averaged'].clear()


CONTROLS = {
    'random': Control(_random, 'trace', 'inside', 'middle'),
    'hooks': Control(_hooks, 'best_error', 'boundary', 'end'),
    'scaler': Control(_scaler, 'scale', 'inside', 'end', precision='fp16'),
    'gradients': Control(_gradients, 'grad_norm', 'inside', 'window'),
    'loaders': Control(_loaders, '_seen', 'after', 'middle'),
    'workers': Control(_workers, '_seen', 'after', 'middle', workers='two'),
    'persistent': Control(_workers, '_seen', 'after', 'end', workers='persistent'),
    'buffer': Control(_buffer, 'metrics.json', 'inside', 'middle'),
    'averages': Control(_averages, 'train_loss', 'inside', 'middle'),
    'callbacks': Control(_callbacks, 'wait_count', 'after', 'end'),
    'statistics': Control(_statistics, 'running_mean', 'after', 'end', processes=2),
    'averaged': Control(_averaged, 'averages', 'after', 'end', processes=2),
}


def controls(processes: int) -> list[Case]:
    """The cases that must end differently.

    Args:
        processes: How many processes they have.
    """
    return [
        Case(c.position, c.moment, 'sgd', c.precision, c.workers, c.processes, lacks=name)
        for name, c in CONTROLS.items()
        if c.processes == processes
    ]


def lacking(path: str, what: str) -> dict[str, Any]:
    """Read a checkpoint, without something that it had."""
    checkpoint = torch.load(path, weights_only=True)
    for own in checkpoint['nncore_compat']['ranks']:
        CONTROLS[what].spoil(checkpoint, own)
    return checkpoint
