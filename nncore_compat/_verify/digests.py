"""Any value in a few words that are the same only if it is, to the last bit."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Set
from typing import Any

import numpy as np
import torch

from .trace import MARK

# What is longer is told by a digest.
_LONGEST = 60
_DEPTH = 12


def text(value: Any) -> str:
    """Return what a value is.

    Args:
        value: Anything. Objects of unknown types are told by their attributes.

    Returns:
        A number as it is, and else type and size with a digest of all bits.
    """
    if isinstance(value, (bool, int, float, type(None))):
        return repr(value)
    if isinstance(value, str) and len(value) <= _LONGEST:
        return repr(value)
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, np.generic):
        return f'{value.dtype} {value.item()!r}'
    if isinstance(value, np.ndarray):
        return f'{value.dtype}{list(value.shape)} {MARK}{digest(value)}'
    return f'{type(value).__name__}{_size(value)} {MARK}{digest(value)}'


def digest(value: Any) -> str:
    """Return a digest of all bits of a value, however nested."""
    sha = hashlib.sha256()
    _feed(sha, value, _DEPTH)
    return sha.hexdigest()[:16]


def _tensor(value: torch.Tensor) -> str:
    kind = str(value.dtype).removeprefix('torch.')
    if value.numel() == 1 and value.layout is torch.strided and value.device.type != 'meta':
        return f'{kind} {value.detach().reshape(()).item()!r}'
    return f'{kind}{list(value.shape)} {MARK}{digest(value)}'


def _size(value: Any) -> str:
    return f' of {len(value)}' if isinstance(value, (str, bytes, list, tuple, Mapping, Set)) else ''


def _feed(sha: Any, value: Any, depth: int) -> None:
    if isinstance(value, torch.Tensor):
        _feed_tensor(sha, value)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        sha.update(f'{value.dtype}{value.shape}'.encode())
        sha.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    elif isinstance(value, float):
        sha.update(struct.pack('d', value))
    elif isinstance(value, (bool, int, str, bytes, complex, type(None), np.generic)):
        sha.update(f'{type(value).__name__} {value!r};'.encode())
    elif depth == 0:
        sha.update(type(value).__name__.encode())
    elif isinstance(value, Mapping):
        sha.update(f'{{{len(value)}'.encode())
        for key in value:
            _feed(sha, key, depth - 1)
            _feed(sha, value[key], depth - 1)
    elif isinstance(value, (list, tuple)):
        sha.update(f'[{len(value)}'.encode())
        for item in value:
            _feed(sha, item, depth - 1)
    elif isinstance(value, Set):
        for name in sorted(digest(item) for item in value):
            sha.update(name.encode())
    else:
        # Addresses and modules differ between processes: only what an object holds is looked at.
        sha.update(type(value).__name__.encode())
        if not callable(value):
            _feed(sha, getattr(value, '__dict__', None), depth - 1)


def _feed_tensor(sha: Any, value: torch.Tensor) -> None:
    value = value.detach()
    sha.update(f'{value.dtype}{list(value.shape)}'.encode())
    if value.device.type == 'meta':
        return
    if value.layout is not torch.strided:
        value = value.to_dense()
    value = value.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    sha.update(value.view(torch.uint8).numpy().data)
