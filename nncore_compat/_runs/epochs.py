"""The table of epochs of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .best import BEST
from .columns import fitting, name_of, table
from .state import words

# Of more epochs, those at the beginning and at the end are listed, and the best ones.
FEW, FIRST, LAST = 20, 3, 8
# What is no mode in the facts of an epoch.
_OTHERS = ('epoch', 'lr', 'train', 'seconds')


def epochs_table(facts: dict[str, Any], width: int, everything: bool) -> str:
    """Return a row for each epoch: its learning rate, time, losses and metrics.

    Args:
        facts: What is known of a run.
        width: Columns of the terminal.
        everything: Whether none is left out, however many there are.
    """
    entries = facts['by_epoch']
    modes = ['val', 'test', *dict.fromkeys(k for one in entries for k in one if k not in _OTHERS)]
    modes = [mode for mode in dict.fromkeys(modes) if any(mode in one for one in entries)]
    columns = [('train', 'loss')]
    for mode in modes:
        keys = dict.fromkeys(key for one in entries for key in one.get(mode, ()))
        # The best so far is marked.
        columns += [(mode, key) for key in keys if not _is_best(key, keys)]
    starts = {stage['first']: n for n, stage in enumerate(facts['stages'], start=1)}
    shown = {(entry['mode'], entry['key'], entry['epoch']) for entry in facts['best']}
    rows = [['epoch', 'stage', 'lr', 'time', *(name_of(key, mode) for mode, key in columns)]]
    several = len(starts) > 1
    kept = _kept(entries, facts['best'], everything)
    stage, before = '', 0
    for number, entry in enumerate(entries):
        stage = str(starts.get(entry['epoch'], stage))
        if number not in kept:
            continue
        if number > before:
            rows.append(['...', *[''] * (len(rows[0]) - 1)])
        before = number + 1
        cells = []
        for mode, key in columns:
            value = entry.get(mode, {}).get(key)
            text = '' if value is None else value if isinstance(value, str) else f'{value:.4g}'
            cells.append(text + ('*' if (mode, key, float(entry['epoch'])) in shown else ' '))
        spent = entry.get('seconds')
        rate = '' if entry['lr'] is None else f'{entry["lr"]:.4g}'
        time = '' if spent is None else words(spent)
        rows.append([str(entry['epoch']), stage if several else '', rate, time, *cells])
    rows, left_out = fitting(rows, width, fixed=4)
    text = table(rows, '>>>>' + '>' * len(columns))
    notes = ['* the best'] if any(cell.endswith('*') for row in rows for cell in row) else []
    notes += [f'no room for {", ".join(left_out)}: --json has all'] if left_out else []
    return text + (f'\n  ({"; ".join(notes)})' if notes else '')


def _is_best(key: str, keys: Iterable[str]) -> bool:
    return key.startswith(BEST) and key[len(BEST) :] in keys


def _kept(entries: Sequence[dict[str, Any]], best: Any, everything: bool) -> set[int]:
    count = len(entries)
    if everything or count <= FEW:
        return set(range(count))
    kept = {*range(FIRST), *range(count - LAST, count)}
    marked = {entry['epoch'] for entry in best}
    return kept | {n for n, entry in enumerate(entries) if float(entry['epoch']) in marked}
