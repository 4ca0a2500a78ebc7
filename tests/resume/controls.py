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

    case: Case
    # Gets the checkpoint, and the part of each process.
    spoil: Callable[[dict[str, Any], dict[str, Any]], None]
    # What the list of differences has to speak of.
    seen: str


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
    'random': Control(Case('inside', 'middle', 'sgd', 'fp32', 'none', 1), _random, 'trace'),
    'hooks': Control(Case('boundary', 'end', 'sgd', 'fp32', 'none', 1), _hooks, 'best_error'),
    'scaler': Control(Case('inside', 'end', 'sgd', 'fp16', 'none', 1), _scaler, 'scale'),
    'gradients': Control(
        Case('inside', 'window', 'sgd', 'fp32', 'none', 1), _gradients, 'grad_norm'
    ),
    'loaders': Control(Case('after', 'middle', 'sgd', 'fp32', 'none', 1), _loaders, '_seen'),
    'workers': Control(Case('after', 'middle', 'sgd', 'fp32', 'two', 1), _workers, '_seen'),
    'persistent': Control(Case('after', 'end', 'sgd', 'fp32', 'persistent', 1), _workers, '_seen'),
    'buffer': Control(Case('inside', 'middle', 'sgd', 'fp32', 'none', 1), _buffer, 'metrics.json'),
    'averages': Control(
        Case('inside', 'middle', 'sgd', 'fp32', 'none', 1), _averages, 'train_loss'
    ),
    'callbacks': Control(Case('after', 'end', 'sgd', 'fp32', 'none', 1), _callbacks, 'wait_count'),
    'statistics': Control(
        Case('after', 'end', 'sgd', 'fp32', 'none', 2), _statistics, 'running_mean'
    ),
    'averaged': Control(Case('after', 'end', 'sgd', 'fp32', 'none', 2), _averaged, 'averages'),
}


def lacking(path: str, control: str) -> dict[str, Any]:
    """Read a checkpoint, without what a control takes out."""
    checkpoint = torch.load(path, weights_only=True)
    for own in checkpoint['nncore_compat']['ranks']:
        CONTROLS[control].spoil(checkpoint, own)
    return checkpoint
