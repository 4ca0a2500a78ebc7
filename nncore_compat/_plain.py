"""Data that `torch.load(weights_only=True)` accepts."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

ATOMS = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    torch.dtype,
    torch.device,
    torch.Size,
)
# The only key of a dict that stands for an array.
ARRAY = 'numpy.ndarray'


def described(value: Any) -> Any:
    """Return a config as plain data, where anything else is told by its ``repr``."""
    if isinstance(value, torch.optim.Optimizer):
        return {'type': type(value).__name__, **described(value.defaults)}
    if hasattr(value, 'to_dict'):
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {described(key): described(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [described(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or type(value) in (bool, int, float, str, torch.Tensor, torch.dtype):
        return value
    return repr(value)


def state(value: Any, where: str = '') -> Any:
    """Return a state as plain data, with tensors on the CPU; :func:`restored` is the way back.

    Args:
        value: The state.
        where: Its place, for the message.

    Raises:
        TypeError: There is something in it that is no plain data; the message says where.
    """
    kind = type(value)
    if kind in ATOMS:
        return value
    if torch.is_tensor(value):
        return value.detach().cpu()
    if isinstance(value, np.generic) and not isinstance(value, np.void):
        return value.item()
    if kind is np.ndarray and value.dtype.kind in 'biufc':
        return {ARRAY: torch.from_numpy(value.copy())}
    if kind in (dict, OrderedDict, Counter):
        return kind(
            {state(key, where): state(item, f'{where}[{key!r}]') for key, item in value.items()}
        )
    if kind in (list, tuple):
        return kind([state(item, f'{where}[{index}]') for index, item in enumerate(value)])
    if kind is set:
        return {state(item, where) for item in value}
    raise TypeError(
        f'{where or "the state"} is of type {kind.__module__}.{kind.__qualname__}, but a '
        'checkpoint holds tensors, arrays, numbers, strings and collections of these only'
    )


def restored(value: Any) -> Any:
    """Return a state as it was before :func:`state`."""
    kind = type(value)
    if kind is dict and value.keys() == {ARRAY}:
        return value[ARRAY].numpy()
    if kind in (dict, OrderedDict, Counter):
        return kind({key: restored(item) for key, item in value.items()})
    if kind in (list, tuple):
        return kind([restored(item) for item in value])
    return value
