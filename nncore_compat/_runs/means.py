"""Means over the epochs of a training, of which each record has a mean over some iterations."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import chain
from operator import mul, sub

from .records import Records, epoch_of, place_of


def epoch_sums(records: Records, key: str) -> dict[int, tuple[float, int]]:
    """Return, by epoch, the sum of a key over the iterations of the training, and their number.

    Args:
        records: The records.
        key: A key of the training, such as time or loss.
    """
    found = {}
    places, values = records.series('train', key)
    row = 0
    while row < len(places):
        epoch = epoch_of(places[row])
        start = place_of(epoch, 0)
        end = bisect_left(places, place_of(epoch + 1, 0), row)
        # Each is a mean over the iterations since the one before.
        iterations = [(place - start) >> 1 for place in places[row:end]]
        counts = map(sub, iterations, chain((0,), iterations))
        found[epoch] = sum(map(mul, values[row:end], counts)), iterations[-1]
        row = end
    return found


def epoch_means(records: Records, key: str) -> dict[int, float]:
    """Return the means of a key over the training of each epoch."""
    sums = epoch_sums(records, key)
    return {epoch: total / count for epoch, (total, count) in sums.items() if count}


def epoch_times(records: Records) -> dict[int, tuple[float, float, int]]:
    """Return, by epoch, the seconds of its training, those of data_time, and the iterations."""
    waits = epoch_sums(records, 'data_time')
    found = {}
    for epoch, (seconds, count) in epoch_sums(records, 'time').items():
        wait = waits.get(epoch, (0.0, 0))[0]
        if math.isfinite(seconds + wait):
            found[epoch] = seconds + wait, wait, count
    return found
