"""Learning rates as a chart of characters."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from .course import Rates

HEIGHT = 8
BLOCKS = ' ▁▂▃▄▅▆▇█'
# For a terminal that has no blocks.
PLAIN = str.maketrans('▁▂▃▄▅▆▇█│└─┴', "_..:::##|'-+")
# With more of the run than this below LOW of the highest rate, only a log scale shows anything.
LOW, MUCH = 0.03, 0.25


def is_logarithmic(values: Sequence[float]) -> bool:
    """Tell whether rates are better drawn on a log scale.

    Args:
        values: Rates at even distances.
    """
    top = max(values, default=0)
    low = sum(value < LOW * top for value in values)
    return top > 0 and low > MUCH * len(values)


def sampled(rates: Rates, group: int, width: int) -> list[float]:
    """Return a group's rates at even distances; 0 where there is no such group.

    Args:
        rates: The rates.
        group: The number of the group.
        width: How many to return.
    """
    first, last = rates.iterations[0], rates.iterations[-1]
    found = []
    for column in range(width):
        iteration = first + (last - first) * column / max(1, width - 1)
        values = rates.values[max(0, bisect_right(rates.iterations, iteration) - 1)]
        found.append(float(values[group]) if group < len(values) else 0.0)
    return found


def chart(rates: Rates, group: int, width: int) -> list[str]:
    """Return a chart of a group's rates, with the epochs at which stages begin.

    Args:
        rates: The rates.
        group: The number of the group.
        width: Columns to keep to.
    """
    import math

    columns = max(10, width - 12)
    values = sampled(rates, group, columns)
    top = max(values)
    logarithmic = is_logarithmic(values)
    low = 0.0
    if logarithmic:
        low = min(value for value in values if value > 0)
        low = max(low, top / 1e6)
        span = math.log(top / low) or 1.0
        heights = [math.log(max(v, low) / low) / span if v > 0 else 0.0 for v in values]
        middle = math.sqrt(top * low)
    else:
        heights = [max(0.0, value) / top if top > 0 else 0.0 for value in values]
        middle = top / 2
    # Nothing that is not zero is to look like it.
    eighths = [
        max(round(height * HEIGHT * 8), 1 if value > 0 else 0)
        for height, value in zip(heights, values, strict=True)
    ]
    labels = {0: top, HEIGHT // 2: middle, HEIGHT - 1: low}
    lines = []
    for row in range(HEIGHT):
        base = (HEIGHT - 1 - row) * 8
        label = f'{labels[row]:.3g}' if row in labels else ''
        cells = ''.join(BLOCKS[min(8, max(0, one - base))] for one in eighths)
        lines.append(f'{label:>9} │{cells}'.rstrip())
    axis, names = _axis(rates, columns)
    lines += [f'{"":>9} └{axis}', f'{"epoch":>9}  {names}'.rstrip()]
    if logarithmic:
        lines[0] += '' if len(lines[0]) + 12 > width else '  (log scale)'
    return lines


def _axis(rates: Rates, columns: int) -> tuple[str, str]:
    """The line below a chart, and the epochs at which stages begin."""
    first, last = rates.iterations[0], rates.iterations[-1]
    axis, names = ['─'] * columns, [' '] * (columns + 8)
    before, free = None, 0
    for iteration, epoch, stage in zip(rates.iterations, rates.epochs, rates.stages, strict=True):
        if stage == before:
            continue
        before = stage
        place = round((iteration - first) / max(1, last - first) * (columns - 1))
        axis[place] = '┴' if place else '─'
        name = str(epoch + 1)
        if place >= free:
            names[place : place + len(name)] = name
            free = place + len(name) + 1
    end = str(rates.epochs[-1] + 1)
    if columns - len(end) >= free:
        names[columns - len(end) : columns] = end
    return ''.join(axis), ''.join(names)
