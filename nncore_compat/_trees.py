"""A limit to how large and deep plain data may be, for all that goes through it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ._pickles import Refused

_DEEP = 200
_LARGE = 10**8
_EXPANDED = 2**30


def check_tree(data: Any) -> None:
    """Check that data can be walked through, which recursion does later.

    Args:
        data: The data, which may share parts, but not hold itself.

    Raises:
        Refused: It is deeper than 200, has more than 10^8 parts when shared ones are counted each
            time, holds itself, or a tensor in it stands for far more numbers than it has.
    """
    # Of each container: how many parts, and how deep. None while it is gone through.
    known: dict[int, tuple[int, int] | None] = {}
    stack = [(data, False)]
    while stack:
        value, done = stack.pop()
        if not isinstance(value, (dict, list, tuple, set)):
            _check_tensor(value)
            continue
        parts = [*value.keys(), *value.values()] if isinstance(value, Mapping) else list(value)
        if done:
            inside = [known.get(id(part)) or (1, 0) for part in parts]
            size = 1 + sum(size for size, _ in inside)
            depth = 1 + max((depth for _, depth in inside), default=0)
            if size > _LARGE or depth > _DEEP:
                raise Refused(f'it is nested {depth} deep and has {size:,} parts, which is absurd')
            known[id(value)] = size, depth
        elif id(value) not in known:
            known[id(value)] = None
            stack.append((value, True))
            stack.extend((part, False) for part in parts)
        elif known[id(value)] is None:
            raise Refused('a part of it holds itself')


def _check_tensor(value: Any) -> None:
    if isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_meta:
        size, held = value.numel() * value.element_size(), value.untyped_storage().nbytes()
        if size > max(_EXPANDED, held):
            raise Refused(f'a tensor of the shape {tuple(value.shape)} has only {held:,} bytes')
