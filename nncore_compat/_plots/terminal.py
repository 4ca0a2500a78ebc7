"""Curves as text, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from .._runs.find import shortened
from .panels import Curve, Drawing, Panel, digits, extent

HEIGHT = 11
# Of the modes of one run; of several, each has a letter, large for validations.
_SIGNS = {'train': '.', 'lr': '.', 'val': 'o', 'test': 'x'}
_COLOURS = (34, 31, 32, 35, 33, 36)


def chart(
    drawing: Drawing, width: int = 80, x: str = 'iter', log: bool = False, colour: bool = False
) -> str:
    """Return the panels as text, one below the other.

    Args:
        drawing: What to draw.
        width: Columns of the terminal.
        x: What is along the x axis, 'iter' or 'epoch'.
        log: Whether losses have a logarithmic axis.
        colour: Whether to colour curves for a terminal.
    """
    last = max(
        ((c.iters if x == 'iter' else c.epochs)[-1] for p in drawing.panels for c in p.curves),
        default=0,
    )
    lines: list[str] = []
    for panel in drawing.panels:
        lines += [*_panel(panel, drawing, max(width, 40), x, last or 1, log, colour), '']
    return '\n'.join(lines)


def _panel(
    panel: Panel, drawing: Drawing, width: int, x: str, last: float, log: bool, colour: bool
) -> list[str]:
    curves = [curve for curve in panel.curves if not curve.old]
    low, high = extent(curves)
    log = log and panel.kind == 'loss' and low > 0
    bottom, top = (math.log10(low), math.log10(high)) if log else (low, high)
    ends = {0: high, HEIGHT - 1: low}
    if top == bottom:
        # Around it, in the same place at any size.
        half = 0.001 * abs(top) or 0.5
        bottom, top = bottom - half, top + half
        ends = {HEIGHT // 2: high}
    places = digits([*ends.values()], 4)
    labels = [f'{value:.{places}g}' for value in ends.values()]
    margin = max(map(len, labels)) + 1
    columns = width - margin - 2
    cells = [[' '] * columns for _ in range(HEIGHT)]
    for place in _boundaries(drawing, x):
        for row in cells:
            row[min(int(place / last * (columns - 1)), columns - 1)] = ':'
    names = []
    for number, curve in enumerate(curves):
        sign, paint = _sign(curve, number, len(drawing.runs), panel.kind)
        if colour:
            sign = f'\033[{_COLOURS[paint % len(_COLOURS)]}m{sign}\033[0m'
        _draw(cells, curve, sign, x, last, (bottom, top), log)
        names.append(f'  {sign} {_name(curve, drawing)}{_best(curve)}')
    title = shortened({'lr': 'learning rate'}.get(panel.key, panel.key), width)
    told = dict(zip(ends, labels, strict=True))
    rows = [f'{told.get(i, ""):>{margin}}|{"".join(row)}' for i, row in enumerate(cells)]
    axis = ' ' * margin + '+' + '-' * columns
    unit = 'iterations' if x == 'iter' else 'epochs'
    scale = f'{" " * margin} 0{f"{last:.6g} {unit}":>{columns - 1}}'
    return [title + (' (log)' if log else ''), *rows, axis, scale, *names]


def _name(curve: Curve, drawing: Drawing) -> str:
    if len(drawing.runs) == 1:
        return curve.mode
    return f'{shortened(drawing.runs[curve.run].label, 40)} {curve.mode}'


def _best(curve: Curve) -> str:
    if curve.best is None:
        return ''
    return f' (best {curve.values[curve.best]:.4g}, epoch {curve.epochs[curve.best]:.6g})'


def _sign(curve: Curve, number: int, runs: int, kind: str) -> tuple[str, int]:
    """Return what a curve is drawn with, and the number of its colour."""
    if kind == 'lr' and runs == 1 and curve.mode != 'lr':
        return chr(ord('a') + number), number
    if runs == 1:
        modes = list(_SIGNS)
        known = curve.mode in modes
        return (_SIGNS[curve.mode], modes.index(curve.mode)) if known else ('+', len(modes))
    letter = chr(ord('a') + curve.run % 26)
    return (letter.upper() if curve.mode in ('val', 'test') else letter), curve.run


def _boundaries(drawing: Drawing, x: str) -> list[float]:
    which = 0 if x == 'iter' else 1
    return [stage[which] for stage in drawing.runs[0].stages[1:]] if len(drawing.runs) == 1 else []


def _draw(
    cells: list[list[str]],
    curve: Curve,
    sign: str,
    x: str,
    last: float,
    ends: tuple[float, float],
    log: bool,
) -> None:
    columns = len(cells[0])
    bottom, top = ends
    along: Sequence[float] = curve.iters if x == 'iter' else curve.epochs
    drawn = curve.values if curve.smooth is None else curve.smooth
    # Of each column the lowest and the highest, and the last one.
    spans: dict[int, list[float]] = {}
    for place, value in zip(along, drawn, strict=True):
        if math.isfinite(value) and (value > 0 or not log):
            column = min(int(place / last * (columns - 1)), columns - 1)
            height = math.log10(value) if log else value
            low, high, _ = spans.get(column, (height, height, height))
            spans[column] = [min(low, height), max(high, height), height]
    if curve.mode not in ('val', 'test'):
        _connect(spans)
    for column, (low, high, _) in spans.items():
        rows = [round((top - height) / (top - bottom) * (HEIGHT - 1)) for height in (high, low)]
        for row in range(max(rows[0], 0), min(rows[1], HEIGHT - 1) + 1):
            cells[row][column] = sign


def _connect(spans: dict[int, list[float]]) -> None:
    """Fill the columns between points, and let steep parts have no gaps."""
    for before, after in list(pairwise(sorted(spans))):
        start, end = spans[before][2], (spans[after][0] + spans[after][1]) / 2
        for column in range(before + 1, after):
            height = start + (end - start) * (column - before) / (after - before)
            spans[column] = [height, height, height]
    for before, after in pairwise(sorted(spans)):
        height = spans[before][2]
        low, high, last = spans[after]
        middle = (height + (low if height < low else high)) / 2
        if height < low:
            spans[after] = [middle, high, last]
        elif height > high:
            spans[after] = [low, middle, last]
