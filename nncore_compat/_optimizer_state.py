"""The state of an optimizer, loaded for the parameters that it had when it was saved."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ._state_dict import inner, placed_like


def names(model: nn.Module, optimizer: Any) -> list[list[str]] | None:
    """Return the names of an optimizer's parameters, by group.

    Returns:
        None if some are not the model's, or if it is none of torch's optimizers.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        return None
    known = {id(p): name for name, p in inner(model).named_parameters()}
    groups = [[known.get(id(p), '') for p in group['params']] for group in optimizer.param_groups]
    return groups if all(name for group in groups for name in group) else None


def load(
    optimizer: Any, state: dict[str, Any], model: nn.Module, names: list[list[str]] | None
) -> None:
    """Load a state.

    Args:
        optimizer: The optimizer. Hooks may freeze parameters, or have added groups, of which a new
            one does not know: it gets those that were saved.
        state: Its state, whole where the parameters are sharded.
        model: The model.
        names: Names of the parameters by group, if they are known.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        optimizer.load_state_dict(state)
        return
    known = dict(inner(model).named_parameters())
    if names is not None and all(name in known for group in names for name in group):
        _regroup(optimizer, state['param_groups'], [[known[n] for n in group] for group in names])
    params = [p for group in optimizer.param_groups for p in group['params']]
    keys = [key for group in state['param_groups'] for key in group['params']]
    placed = {
        key: {name: placed_like(param, value) for name, value in state['state'][key].items()}
        for key, param in zip(keys, params, strict=False)
        if key in state['state']
    }
    optimizer.load_state_dict({**state, 'state': {**state['state'], **placed}})


def tensors(optimizer: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of an optimizer's state, by the parameter's index and their name."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        return {}
    params = [p for group in optimizer.param_groups for p in group['params']]
    return {
        f'{index}.{key}': value
        for index, param in enumerate(params)
        for key, value in optimizer.state.get(param, {}).items()
        if torch.is_tensor(value)
    }


def _regroup(
    optimizer: torch.optim.Optimizer,
    saved: list[dict[str, Any]],
    params: list[list[nn.Parameter]],
) -> None:
    groups = optimizer.param_groups
    if [[id(p) for p in g['params']] for g in groups] == [[id(p) for p in ps] for ps in params]:
        return
    del groups[len(params) :]
    for group, own in zip(groups, params, strict=False):
        group['params'] = own
    for options, own in zip(saved[len(groups) :], params[len(groups) :], strict=False):
        groups.append({**options, 'params': own})
