"""Learning rates as a table: where stages and warm-ups begin and end, and where rates change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .course import Rates

if TYPE_CHECKING:
    from .plan import Plan

# More changes than this in a stage are told by some of them.
MANY = 12
PARTS = (0.25, 0.5, 0.75)


def key_points(plan: Plan) -> list[tuple[int, str]]:
    """Return the positions in the rates that are worth telling, and why.

    Args:
        plan: The plan.
    """
    rates = plan.rates
    ends = {end: end for _, end in plan._warmups}
    found: dict[int, str] = {}
    for stage in dict.fromkeys(rates.stages):
        places = rates.of_stage(stage)
        first, last = places[0], places[-1]
        begun_before = any(one.begun for one in plan.stages if one.number == stage + 1)
        told = {first: f'stage {stage + 1} {"goes on" if begun_before else "begins"}'}
        warm = [i for i in places if rates.iterations[i] in ends]
        begun = first
        if warm:
            begun = warm[0]
            told[begun] = 'warm-up over'
        begun = _first_free(plan, places, begun)
        changes = [i for i in places if i > begun and rates.values[i] != rates.values[i - 1]]
        if len(changes) <= MANY:
            told.update({i: told.get(i, 'changes') for i in changes})
        else:
            for part in PARTS:
                place = begun + round((last - begun) * part)
                told.setdefault(place, '')
        if told.get(last) in (None, 'changes', ''):
            told[last] = f'stage {stage + 1} ends'
        found.update(sorted(told.items()))
    return list(found.items())


def _first_free(plan: Plan, places: list[int], begun: int) -> int:
    """Where the warm-up that a stage ends in leaves off; the end of the stage if it never does."""
    rates = plan.rates
    for begin, end in plan._warmups:
        if begin <= rates.iterations[places[-1]] < end and end > rates.iterations[places[0]]:
            return places[-1]
    return begun


def table(plan: Plan, width: int) -> list[str]:
    """Return a table of the learning rates.

    Args:
        plan: The plan.
        width: Columns to keep to.
    """
    rates = plan.rates
    length = plan.loaders['train'].batches or 0
    groups = max(len(values) for values in rates.values)
    shown = max(1, min(groups, (width - 44) // 12))
    heads = ['lr'] if groups == 1 else [f'lr of {name}' for name in _names(rates, shown)]
    rows = [['', 'epoch', 'iteration', 'of all', *heads]]
    for place, why in key_points(plan):
        iteration, epoch = rates.iterations[place], rates.epochs[place]
        values = [f'{value:.6g}' for value in rates.values[place][:shown]]
        within = f'{iteration - epoch * length + 1}/{length}'
        rows.append([why, str(epoch + 1), within, f'{iteration + 1:,}', *values])
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [f'{row[0]:{widths[0]}}']
        cells += [f'{cell:>{size}}' for cell, size in zip(row[1:], widths[1:], strict=False)]
        lines.append('  '.join(cells).rstrip())
    if groups > shown:
        lines.append(f'and {groups - shown} more parameter groups')
    return lines


def _names(rates: Rates, count: int) -> list[str]:
    names = max(rates.names.values(), key=len)[:count]
    return [f'group {name}' if name.isdigit() else name for name in names]
