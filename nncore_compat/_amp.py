"""The arguments `amp` and `grad_scale` as those of PyTorch, and steps through a scaler."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from . import _stepping

DTYPES = {
    'fp16': torch.float16,
    'float16': torch.float16,
    'bf16': torch.bfloat16,
    'bfloat16': torch.bfloat16,
}
LABELS = {torch.float16: 'fp16', torch.bfloat16: 'bf16'}
OPTIONS = ('enabled', 'dtype', 'cache_enabled')
SCALER_OPTIONS = ('enabled', 'init_scale', 'growth_factor', 'backoff_factor', 'growth_interval')


def parse(amp: Any) -> dict[str, Any]:
    """Turn ``amp`` into keyword arguments of ``torch.autocast``, without touching the caller's.

    Args:
        amp: None, a bool, ``'fp16'``, ``'bf16'`` (or their long names), ``'none'``, or a dict of
            autocast's options.

    Raises:
        TypeError: It is something else.
    """
    if amp is None or isinstance(amp, (bool, int)):
        return {'enabled': bool(amp)}
    if isinstance(amp, str):
        if amp.lower() == 'none':
            return {'enabled': False}
        return {'enabled': True, 'dtype': _dtype(amp)}
    if isinstance(amp, dict):
        unknown = [key for key in amp if key not in OPTIONS]
        if unknown:
            raise TypeError(f'amp has unknown options {unknown}, accepted are {list(OPTIONS)}')
        cfg = {'enabled': True, **amp}
        if isinstance(cfg.get('dtype'), str):
            cfg['dtype'] = _dtype(cfg['dtype'])
        return cfg
    raise TypeError(f"amp must be a bool, a dict, 'fp16', 'bf16' or 'none', but got {amp!r}")


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise TypeError(
            f"Amp training only supports 'fp16' and 'bf16' data types, but got '{name}' "
            f'(amp accepts {", ".join(map(repr, DTYPES))}, True, False, None and dicts)'
        )
    return DTYPES[name]


def label(cfg: dict[str, Any], device_type: str) -> str | None:
    """Name the type that autocast computes in on the device, None when it is off."""
    if not cfg['enabled']:
        return None
    dtype = cfg.get('dtype') or torch.get_autocast_dtype(device_type)
    return LABELS.get(dtype, str(dtype))


def autocast(cfg: dict[str, Any], device_type: str) -> AbstractContextManager[Any]:
    """Return the context in which the model runs in training.

    Args:
        cfg: Arguments of ``torch.autocast``.
        device_type: Where the model is. A device that knows no autocast needs none to have it off.
    """
    try:
        return torch.autocast(device_type, **cfg)
    except (RuntimeError, AssertionError):
        if cfg.get('enabled', True):
            raise
        return contextlib.nullcontext()


def scaler_settings(grad_scale: Any) -> dict[str, Any]:
    """Turn ``grad_scale`` into arguments of ``torch.amp.GradScaler``; ``enabled`` may be None.

    Args:
        grad_scale: None, a bool, or a dict of such arguments.

    Raises:
        TypeError: It is something else.
    """
    if grad_scale is None or isinstance(grad_scale, (bool, int)):
        return {'enabled': grad_scale}
    if not isinstance(grad_scale, dict):
        raise TypeError(f'grad_scale must be None, a bool or a dict, but got {grad_scale!r}')
    unknown = [key for key in grad_scale if key not in SCALER_OPTIONS]
    if unknown:
        raise TypeError(
            f'grad_scale has unknown options {unknown}, accepted are {list(SCALER_OPTIONS)}'
        )
    return {'enabled': True, **grad_scale}


def unscales_itself(optimizer: Any) -> bool:
    """Tell whether gradients stay scaled until the optimizer's step, which is fused with that."""
    return getattr(optimizer, '_step_supports_amp_scaling', False)


def current_scale(scaler: torch.amp.GradScaler) -> Any:
    """Return the scale, as a tensor where it is kept in one: to read that stalls the device."""
    own = type(scaler).get_scale is not torch.amp.GradScaler.get_scale
    scale = None if own else scaler._get_scale_async()
    return scaler.get_scale() if scale is None else scale


def step(
    optimizer: Any,
    scaler: torch.amp.GradScaler | None,
    look: Callable[[], Any],
    **kwargs: Any,
) -> Any:
    """Step an optimizer.

    Args:
        optimizer: The optimizer.
        scaler: The scaler that the loss was scaled with.
        look: Called when the gradients are unscaled, which ``scaler.step`` would do next anyway.
        **kwargs: Arguments of the optimizer's ``step``.
    """
    if scaler is None:
        look()
        return _stepping.step(optimizer, functools.partial(optimizer.step, **kwargs))
    if scaler.is_enabled() and not unscales_itself(optimizer):
        scaler.unscale_(optimizer)
    look()
    result = _stepping.step(optimizer, functools.partial(scaler.step, optimizer, **kwargs))
    scaler.update()
    return result
