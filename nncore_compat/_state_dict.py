"""Weights put into a model as far as they fit."""

from typing import Any

import torch
from torch import nn

from ._logging import log
from ._prefixes import COMPILED, recompile
from .comm import is_main_process


def inner(model: Any) -> Any:
    """Return the model inside of a wrapper, which has it as ``module``; else the model."""
    return getattr(model, 'module', model)


def uncompiled(model: Any) -> Any:
    """Return the model that torch.compile stands in front of; else the model."""
    # Asked in every iteration; getattr takes ten times as long to find that there is none.
    return model._modules.get('_orig_mod', model)


def select(state_dict: dict[str, Any], keys: list[str] | str | None = None) -> dict[str, Any]:
    """Return the weights under the names they have in an unwrapped model.

    Args:
        state_dict: The weights, maybe of a wrapped model.
        keys: Names of the modules or parameters to keep; None for all.
    """
    if next(iter(state_dict), '').startswith('module.'):
        state_dict = {name.removeprefix('module.'): v for name, v in state_dict.items()}
    if keys is None:
        return state_dict
    heads = tuple(f'{key}.' for key in ([keys] if isinstance(keys, str) else keys))
    return {name: v for name, v in state_dict.items() if f'{name}.'.startswith(heads)}


def load_state_dict(
    model: nn.Module, state_dict: dict[str, Any], strict: bool, warning: bool, logger: Any
) -> None:
    """Load weights; unlike torch's own method, load the rest where one shape differs.

    Args:
        model: The model.
        state_dict: The weights.
        strict: Whether to raise if something does not fit.
        warning: Whether to log what does not fit.
        logger: The logger, or its name.

    Raises:
        RuntimeError: If something does not fit and ``strict`` is set.
    """
    missing: list[str] = []
    unexpected: list[str] = []
    problems: list[str] = []
    state_dict = _as_compiled(state_dict, model)
    metadata = getattr(state_dict, '_metadata', None) or {}
    _shard_like(model, state_dict)

    for name, module in model.named_modules(remove_duplicate=False):
        prefix = f'{name}.' if name else ''
        module._load_from_state_dict(
            state_dict, prefix, metadata.get(name, {}), True, missing, unexpected, problems
        )

    if unexpected:
        problems.append(f'Unexpected keys in source state dict: {", ".join(unexpected)}\n')
    if missing:
        problems.append(f'Missing keys in source state dict: {", ".join(missing)}\n')
    if not problems:
        return
    text = '\n'.join(['The model and loaded state dict do not match exactly\n', *problems])
    if strict:
        lines = '\n\t'.join(line for line in text.splitlines() if line)
        raise RuntimeError(f'error in loading state dict for {type(model).__name__}:\n\t{lines}')
    if warning and is_main_process():
        log(text, logger=logger, log_level='WARNING')


def _as_compiled(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """Return a copy under the model's names, where it or the other one is compiled."""
    names = [name for name, _ in model.named_modules()]
    if any(COMPILED in f'{name}.' for name in names) or any(COMPILED in key for key in state_dict):
        return recompile(state_dict, model.state_dict())
    # Modules may change the dict while they load.
    return state_dict.copy()


def _shard_like(model: nn.Module, state_dict: dict[str, Any]) -> None:
    """Give each process its part of the weights, where it has only a part of the parameters."""
    for name, param in model.named_parameters(remove_duplicate=False):
        if name in state_dict:
            state_dict[name] = placed_like(param, state_dict[name])


def placed_like(param: Any, whole: Any) -> Any:
    """Return this process's part of a tensor, if it has only a part of the parameter.

    Args:
        param: The parameter.
        whole: What belongs to it; anything but a whole tensor of its shape is left as it is.
    """
    if (
        not hasattr(param, 'placements')
        or not torch.is_tensor(whole)
        or hasattr(whole, 'placements')
        or whole.shape != param.shape
    ):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(param.device), param.device_mesh, param.placements)


def blank_like(param: Any, size: torch.Size, dtype: torch.dtype) -> Any:
    """Return a tensor to be filled, of which this process has a part if it has one of a parameter.

    Args:
        param: The parameter; if it is not sharded or has another shape, the tensor is whole.
        size: The shape of the whole tensor.
        dtype: Its type.
    """
    if not hasattr(param, 'placements') or param.shape != size:
        return torch.empty(size, dtype=dtype)
    from torch.distributed.tensor import DTensor

    local = torch.empty_like(param.to_local(), dtype=dtype, requires_grad=False)
    return DTensor.from_local(
        local,
        param.device_mesh,
        param.placements,
        run_check=False,
        shape=param.shape,
        stride=param.stride(),
    )
