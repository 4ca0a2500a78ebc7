"""A loader as Lightning may see it: a length, and batches on demand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from .. import _loader_parts as parts
from .._batches import batches
from .._clock import Clock
from .._fetching import fetcher

# What a loader without a length has for one: it is read until it ends.
ENDLESS = 2**31


class _Nothing:
    def __repr__(self) -> str:
        return 'NOTHING'


# Stands for a batch that is None: Lightning would skip its steps, nncore hands it to the model.
NOTHING = _Nothing()


def unwrap(batch: Any) -> Any:
    """Return a batch as the loader made it."""
    return None if batch is NOTHING else batch


class LoaderView:
    """Iterates one of the engine's loaders exactly when nncore would.

    Lightning makes iterators early, and more of them than it uses; the loader's own iterator
    (which draws random numbers and starts workers) is made at the first batch that is asked for.
    There is no ``sampler`` to see: ``set_epoch`` is SamplerSeedHook's.

    Args:
        loader: Returns the loader. It is asked anew for each epoch.
        clock: What times the batches.
    """

    def __init__(self, loader: Callable[[], Any], clock: Clock | None = None) -> None:
        self._loader = loader
        self._clock = clock
        self._grad_enabled = torch.is_grad_enabled()
        self._batches: Iterator[Any] = iter(())
        # Called once, before the first batch is asked for.
        self.before_first: Callable[[], None] | None = None
        # Whether the next epoch is to end at once.
        self.empty = False

    def __len__(self) -> int:
        # An empty epoch is run too, hooks and all, which Lightning would skip. Without a length
        # Lightning would fetch ahead.
        length = parts.length(self._loader())
        return ENDLESS if length is None else max(1, length)

    @property
    def limit(self) -> float:
        """The number of batches, infinite if it is not known."""
        return len(self) if len(self) < ENDLESS else math.inf

    def __iter__(self) -> Iterator[Any]:
        self._batches = self._iterate()
        return self._batches

    @property
    def running(self) -> Iterator[Any]:
        """The batches of the epoch that runs."""
        return self._batches

    def rest(self) -> Iterable[Any]:
        """Return the batches beyond ``len``; reading to the end lets workers stop."""
        return self._batches

    def close(self) -> None:
        """Let go of the batches that an interrupted epoch has left, and of its workers."""
        self._batches = iter(())

    def _begin(self) -> Callable[[], Any]:
        return fetcher(batches(self._loader()))

    def _iterate(self) -> Iterator[Any]:
        if self.empty:
            self.empty = False
            return
        if self.before_first is not None:
            self.before_first()
            self.before_first = None
        # Lightning validates under no_grad; a dataset is not to notice.
        with torch.set_grad_enabled(self._grad_enabled):
            begin = self._begin if self._clock is None else self._clock.timed('data', self._begin)
            fetch = begin()
        if self._clock is not None:
            fetch = self._clock.timed('data', fetch)
        while True:
            try:
                if torch.is_grad_enabled() == self._grad_enabled:
                    batch = fetch()
                else:
                    with torch.set_grad_enabled(self._grad_enabled):
                        batch = fetch()
            except StopIteration:
                return
            yield NOTHING if batch is None else batch
