"""Operations of the Buffer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from nncore.engine import Buffer


def operations(spec: dict[str, Any]) -> dict[str, float]:
    """Seconds per operation on a buffer that has ``size`` values of two keys.

    Returns:
        ``update``: of a full buffer, which drops the oldest value. ``avg``, ``mean``: over the
        newest 50 values. ``latest``: the newest value.
    """
    size, times = spec['size'], spec['times']
    buffer = Buffer(max_size=size)
    value = torch.tensor(0.5)
    for _ in range(size):
        buffer.update('loss', value)
        buffer.update('_avg_factor', 8)
    return {
        'update': _time(lambda: buffer.update('loss', value, warning=False), times),
        'avg': _time(lambda: buffer.avg('loss', window_size=50), times),
        'mean': _time(lambda: buffer.mean('loss', window_size=50), times),
        'latest': _time(lambda: buffer.latest('loss'), times),
    }


def _time(operation: Callable[[], Any], times: int) -> float:
    operation()
    begin = time.perf_counter()
    for _ in range(times):
        operation()
    return (time.perf_counter() - begin) / times
