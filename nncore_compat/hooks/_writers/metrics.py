"""What writers take from the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from ...comm import get_world_size

if TYPE_CHECKING:
    from ...engine import Engine


class Averages:
    """Averages of the values in a buffer, each computed once.

    Args:
        buffer: The buffer, which must stay as it is.
    """

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer
        self._known: dict[tuple[str, str, int], Any] = {}

    def mean(self, key: str, window_size: int) -> Any:
        """Returns the mean of the latest values."""
        return self._get('mean', key, window_size)

    def avg(self, key: str, window_size: int) -> Any:
        """Returns the mean of the latest values, weighted with their numbers of samples."""
        return self._get('avg', key, window_size)

    def _get(self, name: str, key: str, window_size: int) -> Any:
        place = name, key, window_size
        if place not in self._known:
            self._known[place] = getattr(self.buffer, name)(key, window_size=window_size)
        return self._known[place]


_shared: ContextVar[Averages | None] = ContextVar('averages', default=None)


@contextmanager
def share(averages: Averages) -> Iterator[None]:
    """Has `averages_of` return these in the meantime."""
    token = _shared.set(averages)
    try:
        yield
    finally:
        _shared.reset(token)


def averages_of(engine: Engine) -> Averages:
    """Returns the averages of an engine's buffer as it is now."""
    shared = _shared.get()
    return shared if shared and shared.buffer is engine.buffer else Averages(engine.buffer)


def progress(engine: Engine, window_size: int) -> dict[str, Any]:
    """Returns where the run is, in training with learning rates and mean times."""
    training = engine.mode == 'train'
    metrics: dict[str, Any] = {
        'mode': engine.mode,
        'epoch': engine.epoch + 1 if training else engine.epoch,
        'iter': engine.iter_in_epoch + 1 if training else engine.iter_in_epoch,
    }
    if training:
        rates = []
        for group in engine.optimizer.param_groups:
            rate = round(group['lr'], 8 if group['lr'] < 1e-4 else 5)
            rates.append({group['name']: rate} if 'name' in group else rate)
        metrics['lr'] = rates[0] if len(rates) == 1 else rates

        averages = averages_of(engine)
        recorded = engine.buffer.keys()
        for name, key in (('time', '_iter_time'), ('data_time', '_data_time')):
            if key in recorded:
                metrics[name] = averages.mean(key, window_size)
    return metrics


def scalar_keys(buffer: Any) -> list[str]:
    """Returns the keys that are neither private nor typed records."""
    return [key for key in list(buffer.keys()) if key[:1] != '_' and key[-1:] != '_']


def scalars(engine: Engine, window_size: int) -> Iterator[tuple[str, float]]:
    """Yields names and averages; a dict of values gives a name for each."""
    averages = averages_of(engine)
    for key in scalar_keys(engine.buffer):
        value = averages.avg(key, window_size)
        if isinstance(value, dict):
            yield from ((f'{key}_{name}', item) for name, item in value.items())
        else:
            yield key, value


def peak_memory(model: torch.nn.Module) -> int | None:
    """Returns the most memory that any process has held on its GPU, in MiB, on rank 0."""
    param = next(model.parameters(), None)
    if param is None or param.device.type != 'cuda':
        return None
    peak = torch.cuda.max_memory_allocated() // (1024 * 1024)
    if get_world_size() == 1:
        return peak
    memory = torch.tensor([peak], dtype=torch.int32, device=param.device)
    dist.reduce(memory, 0, op=dist.ReduceOp.MAX)
    return int(memory.item())
