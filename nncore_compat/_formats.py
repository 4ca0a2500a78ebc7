"""Checkpoints of nncore, Lightning and this package, told apart and read as one form.

Pure functions over loaded dicts; reading and writing files is done elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch

from . import _content
from ._prefixes import strip

__all__ = ['META_KEYS', 'Position', 'by_index', 'kind', 'position', 'strip', 'trained', 'training']

META_KEYS = ('epoch', 'iter', 'stages')
# In our folders, weights have the names of the LightningModule, whose `model` the engine's is.
PREFIX = 'model.'
# There, what a window of accumulation has come to, by parameter.
GRADIENTS = 'gradients'


class Position(NamedTuple):
    """How far a run has come.

    Args:
        epoch: Finished epochs.
        batches_done: Finished batches of the epoch after those.
        iter: Finished batches of all epochs.
        global_step: Steps of the optimizer.
    """

    epoch: int
    batches_done: int
    iter: int
    global_step: int


def kind(checkpoint: Any) -> str:
    """Tell whose checkpoint it is.

    Returns:
        'ours'; 'nncore', also if it lacks parts; 'lightning'; 'weights', a flat dict of tensors;
        or 'unknown'.
    """
    if not isinstance(checkpoint, Mapping):
        return 'unknown'
    if isinstance(checkpoint.get('nncore_compat'), Mapping):
        return 'ours'
    if 'pytorch-lightning_version' in checkpoint:
        return 'lightning'
    if any(isinstance(checkpoint.get(key), Mapping) for key in ('state_dict', 'meta')):
        return 'nncore'
    return 'weights' if any(map(torch.is_tensor, checkpoint.values())) else 'unknown'


def training(
    checkpoint: Any, names: Iterable[str] | None = None, name: str = 'the given checkpoint'
) -> dict[str, Any]:
    """Return a training checkpoint of any kind in nncore's form.

    Args:
        checkpoint: The loaded checkpoint, which is not changed.
        names: The names in the model's state dict, for `strip`.
        name: What errors call the checkpoint.

    Returns:
        `meta`, with stages None where unknown; `state_dict`, the weights to train on; `optimizer`,
        its state by index; and `nncore_compat`, where the checkpoint has it.

    Raises:
        KeyError: It has no optimizer.
        RuntimeError: It is no checkpoint of a training run.
    """
    parts = dict(checkpoint) if isinstance(checkpoint, Mapping) else {}
    if kind(parts) == 'lightning' and 'meta' not in parts:
        place = _progress(parts)
        if place is not None:
            parts['meta'] = {'epoch': place.epoch, 'iter': place.iter, 'stages': None}
    _check(parts, name)
    optimizer = _optimizer(parts, name)
    _content.check({**parts, 'optimizer': optimizer}, name)
    state_dict = trained(parts)
    result = {
        'meta': parts['meta'],
        'state_dict': state_dict if names is None else strip(state_dict, names),
        'optimizer': by_index(optimizer),
    }
    if kind(parts) == 'ours':
        result['nncore_compat'] = parts['nncore_compat']
    return result


def position(checkpoint: Any, name: str = 'the given checkpoint') -> Position:
    """Tell how far the run of a training checkpoint has come.

    Args:
        checkpoint: The loaded checkpoint.
        name: What errors call the checkpoint.

    Raises:
        RuntimeError: It does not say so.
    """
    place = _progress(checkpoint) if kind(checkpoint) == 'lightning' else None
    if place is not None:
        return place
    parts: Mapping[str, Any] = checkpoint if isinstance(checkpoint, Mapping) else {}
    _check(parts, name)
    epoch, iteration = parts['meta']['epoch'], parts['meta']['iter']
    own = parts.get('nncore_compat') or {}
    # Nothing in nncore's files tells of steps: one per batch, unless gradients were accumulated.
    steps = parts.get('global_step', iteration)
    running, done = own.get('epoch', epoch), own.get('batches_done', 0)
    if running < epoch:
        return Position(epoch, 0, iteration, steps)
    if done and done == own.get('batches'):
        return Position(epoch + 1, 0, iteration, steps)
    return Position(epoch, done, iteration, steps)


def trained(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the weights that training works on, where `state_dict` may hold their averages."""
    return checkpoint.get('current_model_state', checkpoint['state_dict'])


def by_index(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an optimizer's state under the indices of its parameters, as torch numbers them.

    Args:
        optimizer: The state, maybe under the names of the parameters, as FSDP2 saves it.
    """
    groups = optimizer.get('param_groups', ())
    order = [parameter for group in groups for parameter in group['params']]
    if not any(isinstance(parameter, str) for parameter in order):
        return dict(optimizer)
    index = {parameter: number for number, parameter in enumerate(order)}
    return {
        **optimizer,
        'state': {index[parameter]: state for parameter, state in optimizer['state'].items()},
        'param_groups': [
            {**group, 'params': [index[parameter] for parameter in group['params']]}
            for group in groups
        ],
    }


def _optimizer(parts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    optimizer = parts.get('optimizer')
    states = parts.get('optimizer_states')
    # Ours have it under both names.
    own = kind(parts) == 'ours'
    if optimizer is None and not own and isinstance(states, (list, tuple)) and states:
        if len(states) > 1:
            raise RuntimeError(
                f'cannot resume from {name}: it has the states of {len(states)} optimizers, and '
                'an engine has one'
            )
        optimizer = states[0]
    if not isinstance(optimizer, Mapping):
        raise KeyError(
            f'optimizer not found in the checkpoint ({name}): it can be loaded by load_checkpoint, '
            'but not resumed from'
        )
    return optimizer


def _progress(checkpoint: Mapping[str, Any]) -> Position | None:
    """How far Lightning has come, or None if the checkpoint does not say so."""
    loops = checkpoint.get('loops')
    step = checkpoint.get('global_step', 0)
    if not isinstance(loops, Mapping):
        # Before 1.6 there were no loops in the file, and `epoch` was that after the running one.
        old = _older(checkpoint['pytorch-lightning_version'], 1, 6)
        return (
            Position(checkpoint['epoch'], 0, step, step) if old and 'epoch' in checkpoint else None
        )
    try:
        loop = loops['fit_loop']
        epochs = loop['epoch_progress']['current']
        batches = loop['epoch_loop.batch_progress']
        # A batch is `processed` once the optimizer has stepped, and `completed` after the event
        # in which checkpoints are saved; an epoch likewise.
        finished = epochs['processed']
        running = epochs['started'] > finished
        done = batches['current']['processed'] if running else 0
        if running and batches['is_last_batch'] and done == batches['current']['ready']:
            # Saved at the last batch or in the validation after it.
            finished, done = finished + 1, 0
        return Position(finished, done, batches['total']['processed'], step)
    except (KeyError, TypeError):
        return None


def _older(version: Any, *than: int) -> bool:
    numbers = re.findall(r'\d+', str(version))[: len(than)]
    return bool(numbers) and tuple(map(int, numbers)) < than


def _check(parts: Mapping[str, Any], name: str) -> None:
    meta: Mapping[str, Any] = parts['meta'] if isinstance(parts.get('meta'), Mapping) else {}
    if kind(parts) == 'lightning' and not meta:
        lacking = ['loops.fit_loop']
    else:
        lacking = [f'meta.{key}' for key in META_KEYS if key not in meta]
    lacking += [key for key in ('state_dict',) if not isinstance(parts.get(key), Mapping)]
    if lacking:
        raise RuntimeError(
            f'cannot resume from {name}: it is not the checkpoint of a training run, which has '
            f"'state_dict', 'optimizer' and 'meta'; it lacks {', '.join(lacking)}"
        )
    for key in ('epoch', 'iter'):
        if not isinstance(meta[key], int) or meta[key] < 0:
            raise RuntimeError(
                f'cannot resume from {name}: meta.{key} must be a whole number, got {meta[key]!r}'
            )
