"""What must be in a checkpoint that a run is to go on with, checked before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from . import _random

# Beyond these, numbers of steps are not exact in all that computes with them.
_MOST = 2**53
_MOMENTS = ('iter', 'epoch_end', 'boundary', 'ended')
# Of optimizers of torch; others may keep what they like.
_LIKE_PARAMETERS = ('momentum_buffer', 'exp_avg', 'exp_avg_sq', 'square_avg')
_RANK = ('random', 'hooks', 'buffer', 'loaders', 'weights', 'optimizer', 'gradients')


def check(checkpoint: Mapping[str, Any], name: str) -> None:
    """Check what nncore's checkpoints have.

    Args:
        checkpoint: A checkpoint that has all of the parts.
        name: What to call it.

    Raises:
        RuntimeError: A part is not as it must be.
    """
    meta = checkpoint['meta']
    for key in ('epoch', 'iter'):
        _check_count(meta[key], f'meta.{key}', name)
    for key in ('state_dict', 'current_model_state'):
        if key in checkpoint:
            _check_kind(checkpoint[key], Mapping, key, name)
    optimizer = checkpoint['optimizer']
    _check_kind(optimizer.get('state'), Mapping, 'optimizer.state', name)
    for key, state in optimizer['state'].items():
        _check_kind(state, Mapping, f'optimizer.state[{key!r:.50}]', name)
    _check_kind(optimizer.get('param_groups'), list, 'optimizer.param_groups', name)
    for index, group in enumerate(optimizer['param_groups']):
        where = f'optimizer.param_groups[{index}]'
        _check_kind(group, Mapping, where, name)
        _check_kind(group.get('params'), list, f'{where}.params', name)


def check_optimizer(optimizer: torch.optim.Optimizer, name: str) -> None:
    """Check an optimizer that has loaded its state, which torch believes as it is.

    Args:
        optimizer: The optimizer, which is not used yet.
        name: What to call the checkpoint.

    Raises:
        RuntimeError: It could not make a step.
    """
    for index, group in enumerate(optimizer.param_groups):
        rate = group.get('lr', 0.0)
        if not isinstance(rate, (int, float, torch.Tensor)) or not float(rate) < 1e30:
            _refuse(rate, 'a number', f'optimizer.param_groups[{index}].lr', name)
    for param, state in optimizer.state.items():
        for key in set(_LIKE_PARAMETERS) & set(state):
            value = state[key]
            if value is not None and getattr(value, 'shape', None) != param.shape:
                accepted = f'a tensor of the shape {tuple(param.shape)}'
                _refuse(value, accepted, f'{key} of the optimizer', name)


def check_section(section: Any, epoch: int, name: str) -> None:
    """Check what an exact resume needs.

    Args:
        section: As ``_snapshot.collect`` made it.
        epoch: ``meta.epoch`` of the checkpoint.
        name: What to call the checkpoint.

    Raises:
        RuntimeError: It is not as it must be.
    """
    where = 'nncore_compat'
    _check_kind(section, Mapping, where, name)
    _check_count(section.get('format'), f'{where}.format', name)
    if section['format'] != 1:
        raise RuntimeError(
            f'cannot resume from {name}: {where}.format is {section["format"]}, and this version '
            'knows 1 only. resume(..., exact=False) goes on as nncore does'
        )
    for key in ('epoch', 'batches_done', 'batches'):
        _check_count(section.get(key), f'{where}.{key}', name)
    if section['epoch'] not in (epoch - 1, epoch) or section['batches_done'] > section['batches']:
        raise RuntimeError(
            f'cannot resume from {name}: {where} tells of {section["batches_done"]} of '
            f'{section["batches"]} batches in epoch {section["epoch"]}, but meta.epoch is {epoch}'
        )
    if section.get('moment') not in _MOMENTS:
        _refuse(section.get('moment'), f'one of {", ".join(_MOMENTS)}', f'{where}.moment', name)
    _check_kind(section.get('hook', ...), (str, type(None)), f'{where}.hook', name)
    _check_kind(section.get('parameters', ...), (list, type(None)), f'{where}.parameters', name)
    for names in section['parameters'] or ():
        _check_kind(names, list, f'{where}.parameters', name)
    _check_kind(section.get('frozen'), list, f'{where}.frozen', name)
    _check_kind(section.get('gradients'), Mapping, f'{where}.gradients', name)
    _check_kind(section.get('ranks') or None, list, f'{where}.ranks', name)
    for rank, own in enumerate(section['ranks']):
        _check_kind(own, Mapping, f'{where}.ranks[{rank}]', name)
        for key in _RANK:
            _check_kind(own.get(key), Mapping, f'{where}.ranks[{rank}].{key}', name)
        try:
            _random.check(own['random'])
        except Exception as error:
            raise RuntimeError(
                f'cannot resume from {name}: {where}.ranks[{rank}].random holds no states of '
                f'random generators: {error}'
            ) from error


def _check_count(value: Any, where: str, name: str) -> None:
    if type(value) is not int or not 0 <= value < _MOST:
        _refuse(value, 'a whole number from 0', where, name)


def _check_kind(value: Any, kind: Any, where: str, name: str) -> None:
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        words = {Mapping: 'a dict', list: 'a list', str: 'a text', type(None): 'None'}
        _refuse(value, ' or '.join(words[each] for each in kinds), where, name)


def _refuse(value: Any, accepted: str, where: str, name: str) -> None:
    raise RuntimeError(f'cannot resume from {name}: {where} must be {accepted}, got {value!r:.200}')
