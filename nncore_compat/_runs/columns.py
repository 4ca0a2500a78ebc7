"""Rows of text in columns, as many as there is room for."""

from __future__ import annotations

from collections.abc import Sequence

from .find import shortened

# So many letters of a metric.
NAME = 40


def table(rows: Sequence[Sequence[str]], sides: str) -> str:
    """Return rows in columns.

    Args:
        rows: The cells; the first row has the names.
        sides: For each column, < or >: where its cells stand.
    """
    used = [n for n in range(len(rows[0])) if any(row[n] for row in rows[1:])]
    widths = {n: max(len(row[n]) for row in rows) for n in used}
    lines = ('  '.join(f'{row[n]:{sides[n]}{widths[n]}}' for n in used) for row in rows)
    return '\n'.join('  ' + line.rstrip() for line in lines)


def fitting(rows: list[list[str]], width: int, fixed: int) -> tuple[list[list[str]], list[str]]:
    """Return rows without the columns at their ends that have no room, and the names of those."""
    room = width - 2
    kept = 0
    for n in range(len(rows[0])):
        widest = max(len(row[n]) for row in rows) if any(row[n] for row in rows[1:]) else -2
        room -= widest + 2
        if room < -2 and n >= fixed:
            break
        kept = n + 1
    return [row[:kept] for row in rows], rows[0][kept:]


def name_of(key: str, mode: str) -> str:
    """Return what a metric of a mode is called."""
    # As Lightning calls losses of validations; what evaluate returns has a name of its own.
    name = f'{mode} {key}' if 'loss' in key.lower() or mode == 'test' else key
    return shortened(name, NAME)
