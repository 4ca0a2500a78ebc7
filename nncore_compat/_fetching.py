"""Fetching batches from torch's loaders, without a row in a profile while nobody makes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import dataloader

_KINDS = (dataloader._SingleProcessDataLoaderIter, dataloader._MultiProcessingDataLoaderIter)
_next = dataloader._BaseDataLoaderIter.__next__


def fetcher(iterator: Iterator[Any]) -> Callable[[], Any]:
    """Return what gives the next batch of an iterator.

    Args:
        iterator: A loader's. For torch's own, the row that they would put into a profile takes
            a good part of the time that a small batch does.

    Returns:
        A function; it raises StopIteration at the end.
    """
    kind: Any = type(iterator)
    if (
        kind not in _KINDS
        or kind.__next__ is not _next
        # These warn of a wrong length.
        or iterator._dataset_kind == dataloader._DatasetKind.Iterable  # type: ignore[attr-defined]
    ):
        return iterator.__next__

    def fetch(iterator: Any = iterator) -> Any:
        if iterator._sampler_iter is None or torch.autograd._profiler_enabled():
            return next(iterator)
        batch = iterator._next_data()
        iterator._num_yielded += 1
        return batch

    return fetch
