"""What writers take from the engine."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist

from ..comm import get_world_size


def progress(engine: Any, window_size: int) -> dict[str, Any]:
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

        recorded = engine.buffer.keys()
        for name, key in (('time', '_iter_time'), ('data_time', '_data_time')):
            if key in recorded:
                metrics[name] = engine.buffer.mean(key, window_size=window_size)
    return metrics


def scalar_keys(buffer: Any) -> list[str]:
    """Returns the keys that are neither private nor typed records."""
    return [key for key in list(buffer.keys()) if key[:1] != '_' and key[-1:] != '_']


def scalars(buffer: Any, window_size: int) -> Iterator[tuple[str, float]]:
    """Yields names and averages; a dict of values gives a name for each."""
    for key in scalar_keys(buffer):
        value = buffer.avg(key, window_size=window_size)
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
    memory = torch.tensor([peak], dtype=torch.int32, device=param.device)
    if get_world_size() > 1:
        dist.reduce(memory, 0, op=dist.ReduceOp.MAX)
    return int(memory.item())
