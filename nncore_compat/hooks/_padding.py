"""Samples that a DistributedSampler repeats, and how to leave them out."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DistributedSampler


class SampleCounter:
    """Tells how many samples of each batch count, in the order of a loader's batches.

    So that every process has as many samples as the others, the sampler repeats some at the end.
    The j-th sample of a rank is sample j * world_size + rank of the run, and whatever is not below
    the length of the data set is a repetition. With other samplers everything counts.

    Args:
        loader: The loader. An iteration over it must be about to begin.
    """

    def __init__(self, loader: Any) -> None:
        self._seen = self._total = self._own = 0
        batches: Any = getattr(loader, 'batch_sampler', None)
        # Another class of batch sampler may have an order of its own.
        plain = type(batches) is BatchSampler
        sampler = batches.sampler if plain else getattr(loader, 'sampler', None)
        if isinstance(sampler, DistributedSampler) and (plain or batches is None):
            self._batch_size = batches.batch_size if plain else 1
            self._total = len(sampler)
            # The sampler's data set: Lightning's samplers wrap that of the loader.
            left = len(sampler.dataset) - sampler.rank  # type: ignore[arg-type]
            self._own = max(0, math.ceil(left / sampler.num_replicas))

    def next(self) -> tuple[int, int] | None:
        """Returns the size of the next batch, and how many of its first samples count.

        Returns:
            None, if all of them count.
        """
        if self._seen >= self._total:
            return None
        size = min(self._batch_size, self._total - self._seen)
        valid = max(0, min(size, self._own - self._seen))
        self._seen += size
        return None if valid == size else (size, valid)


def cut(value: Any, size: int, valid: int, uncut: Callable[[Any], None]) -> Any:
    """Returns what a model put out for a batch, for its first samples alone.

    Args:
        value: Tensors, arrays and lists with an entry for each sample; tuples and dicts of these.
        size: Number of samples in the batch.
        valid: Number of samples to keep.
        uncut: Is called with each value that has no such entries.
    """
    if isinstance(value, dict):
        return {key: cut(item, size, valid, uncut) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(cut(item, size, valid, uncut) for item in value)
    if isinstance(value, (torch.Tensor, np.ndarray)):
        fits = value.ndim > 0 and len(value) == size
    elif isinstance(value, list):
        fits = len(value) == size
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        fits = False
    else:
        return value  # Text and switches, which say nothing about samples.
    if not fits:
        uncut(value)
        return value
    return value[:valid]
