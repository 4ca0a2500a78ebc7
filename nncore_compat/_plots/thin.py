"""Fewer points for the same picture, and smoother ones."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence


def thinned(values: Sequence[float], most: int) -> list[int]:
    """Return the indices of points that show all that can be seen of a curve.

    Args:
        values: The values, in order.
        most: About how many to keep. Of each stretch, the first and last, the lowest and highest
            are kept, and the first one that is not finite: no spike is lost.
    """
    count = len(values)
    if count <= most:
        return list(range(count))
    stretches = max(most // 5, 1)
    kept: list[int] = []
    for number in range(stretches):
        start, end = count * number // stretches, count * (number + 1) // stretches
        part = values[start:end]
        chosen = {start, end - 1}
        if not all(map(math.isfinite, part)):
            odd = next(i for i, value in enumerate(part) if not math.isfinite(value))
            chosen.add(start + odd)
            finite = [value for value in part if math.isfinite(value)]
        else:
            finite = list(part)
        if finite:
            chosen |= {start + part.index(min(finite)), start + part.index(max(finite))}
        kept += sorted(chosen)
    return kept


def smoothed(values: Sequence[float], weight: float) -> array[float]:
    """Return the running averages of values, where the past has some weight.

    As in TensorBoard: the first values are not drawn towards zero. What is not finite stays so, and
    does not spoil what follows.

    Args:
        values: The values.
        weight: Of the past, from 0 to below 1.
    """
    result = array('d')
    average, share = 0.0, 0.0
    for value in values:
        if math.isfinite(value):
            average = weight * average + (1 - weight) * value
            share = weight * share + (1 - weight)
            value = average / share
        result.append(value)
    return result
