"""Notes when batches are asked for: the one clock that all contestants share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import default_collate


class Clock:
    """A ``collate_fn`` that notes the time of every batch.

    It is called in the process that trains, once per iteration, whoever runs the loop, and
    changes neither the model nor the hooks. An iteration lasts from one batch to the next: loading,
    forward, backward, step, hooks, and what is logged.

    Args:
        skip: Number of the first iterations that do not count.
        iters: Number of the iterations that count.
        device: Where the model is: work that is under way there is waited for at both ends.
        at_edge: Called at both ends too.
    """

    def __init__(
        self,
        skip: int,
        iters: int,
        device: str = 'cpu',
        at_edge: Callable[[], Any] = lambda: None,
    ) -> None:
        self.times: list[float] = []
        self._edges = (skip, skip + iters)
        self._cuda = device == 'cuda'
        self._at_edge = at_edge
        self._cpu: list[float] = []

    def __call__(self, samples: list[Any]) -> Any:
        if len(self.times) in self._edges:
            if self._cuda:
                torch.cuda.synchronize()
            self._at_edge()
            self._cpu.append(time.process_time())
        self.times.append(time.perf_counter())
        return default_collate(samples)

    def per_iteration(self) -> dict[str, float]:
        """Seconds per iteration.

        Returns:
            ``wall``: by the clock on the wall, all iterations that count over their number.
            ``cpu``: the same in CPU time of the process, all its threads.
            ``typical``: the median iteration, which has no log written.
        """
        first, last = self._edges
        times = self.times[first : last + 1]
        if len(times) != last - first + 1:
            raise RuntimeError(f'{len(self.times)} batches were loaded, expected {last + 1}')
        return {
            'wall': (times[-1] - times[0]) / (last - first),
            'cpu': (self._cpu[1] - self._cpu[0]) / (last - first),
            'typical': statistics.median(self.gaps()[first:last]),
        }

    def per_epoch(self, batches: int) -> dict[str, float]:
        """What epochs cost beyond their iterations; the last one is not in it.

        Args:
            batches: Number of batches of an epoch.

        Returns:
            ``stall``: seconds between the last iteration of an epoch and the next epoch, the median
            epoch. ``whole``: seconds per epoch beyond the time that its batches take at the median
            pace: with what slows iterations down while something is done in the background.
        """
        gaps = self.gaps()
        pace = statistics.median(gaps)
        ends = gaps[batches - 1 :: batches]
        between = sum(gaps) - pace * len(gaps)
        return {'stall': statistics.median(ends) - pace, 'whole': between / len(ends)}

    def gaps(self) -> list[float]:
        """Seconds between one batch and the next, from the first batch on."""
        return [b - a for a, b in zip(self.times, self.times[1:], strict=False)]
