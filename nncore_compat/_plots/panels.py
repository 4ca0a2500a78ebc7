"""What is drawn: a panel for each loss, metric and learning rate, with a curve for each run."""

from __future__ import annotations

import fnmatch
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from .._runs.best import BEST, best
from .._runs.find import names
from .._runs.records import Records
from .._runs.run import NO_METRICS, Run
from .thin import smoothed

# Learning rates of more parameter groups than this are not told apart by eye.
RATES = 8


@dataclass
class Curve:
    """The values of one key in one run.

    Args:
        run: The number of the run.
        mode: train, val or test; for learning rates the name of the parameter group.
        iters: Iterations that were done at each point.
        epochs: Epochs, with a fraction.
        values: The values.
        smooth: What to draw instead, if they are to be smoothed.
        best: The index of the best point, if that can be told.
        old: Whether it was put aside when the run was resumed from before it.
    """

    run: int
    mode: str
    iters: array[int]
    epochs: array[float]
    values: array[float]
    smooth: array[float] | None = None
    best: int | None = None
    old: bool = False


@dataclass
class Panel:
    """Curves that share their axes.

    Args:
        key: What they show.
        kind: loss, metric or lr.
        high: Whether the highest value is the best; None if that is not known.
    """

    key: str
    kind: str
    curves: list[Curve]
    high: bool | None = None


@dataclass
class Marks:
    """What is marked of a run: where its stages begin and where it was resumed.

    Args:
        label: Its name.
        stages: Iterations and epochs before each stage.
        resumes: Iterations and epochs at each resume.
    """

    label: str
    stages: list[tuple[int, float]]
    resumes: list[tuple[int, float]]


@dataclass
class Drawing:
    """All that is drawn.

    Args:
        notes: What the reader should know besides.
    """

    runs: list[Marks]
    panels: list[Panel]
    notes: list[str] = field(default_factory=list)


def drawing(
    runs: Sequence[Run],
    keys: Sequence[str] = (),
    smooth: float = 0,
    labels: Sequence[str] = (),
) -> Drawing:
    """Return what there is to draw.

    Args:
        runs: The runs.
        keys: Names or patterns of what to draw; by default all losses and metrics, but for the
            best so far, and the learning rate.
        smooth: The weight of the past in the curves of the training.
        labels: What to call the runs. Default: what tells their paths apart.

    Raises:
        ValueError: There is nothing to draw, or nothing of some key.
    """
    labels = labels or names([run.folder for run in runs])
    empty = [label for run, label in zip(runs, labels, strict=True) if not len(run.records)]
    if len(empty) == len(runs):
        raise ValueError(f'there are no losses or metrics yet in {", ".join(empty)}')
    kept = [(run, label) for run, label in zip(runs, labels, strict=True) if len(run.records)]
    runs, labels = [run for run, _ in kept], [label for _, label in kept]
    result = Drawing([_marks(run, name) for run, name in zip(runs, labels, strict=True)], [])
    result.notes += [f'there are no losses or metrics yet in {label}' for label in empty]
    guessed: dict[bool | None, list[str]] = {True: [], False: []}
    for key, kind in _chosen(runs, keys):
        panel = Panel(key, kind, [])
        for number, run in enumerate(runs):
            panel.curves += _curves(run, number, key, kind)
        if _mark_best(panel, runs):
            guessed[panel.high].append(key)
        for curve in panel.curves:
            if smooth and curve.mode == 'train' and kind != 'lr' and not curve.old:
                curve.smooth = smoothed(curve.values, smooth)
        result.panels.append(panel)
    for high, found in guessed.items():
        if found:
            word, option = ('highest', '--low') if high else ('lowest', '--high')
            result.notes.append(
                f'by their names, the {word} value counts as the best of {", ".join(found)} '
                f'({option} says otherwise)'
            )
    return result


def _marks(run: Run, label: str) -> Marks:
    last = run.course.at(run.records.last)
    stages = [run.course.begins(stage.first) for stage in run.stages]
    return Marks(label, [one for one in stages if one[0] < max(last[0], 1)], run.resumes)


def _chosen(runs: Sequence[Run], wanted: Sequence[str]) -> list[tuple[str, str]]:
    """Return the keys to draw, with their kinds: losses first, learning rates last."""
    there: dict[str, str] = {}
    for run in runs:
        validated = [mode for mode in run.records.modes() if mode != 'train']
        evaluated = run.records.keys(*validated) if validated else []
        for key in [*evaluated, *run.records.keys('train')]:
            kind = 'loss' if 'loss' in key.lower() else 'metric'
            there.setdefault('lr' if _is_rate(key) else key, 'lr' if _is_rate(key) else kind)
    order = ['loss', 'metric', 'lr']
    ordered = sorted(there.items(), key=lambda one: (order.index(one[1]), one[0] != 'loss'))
    if not wanted:
        hidden = {key for key in there if key in NO_METRICS}
        hidden |= {key for key in there if key.startswith(BEST) and key[len(BEST) :] in there}
        return [one for one in ordered if one[0] not in hidden]
    chosen = []
    for pattern in wanted:
        found = [one for one in ordered if one[0] == pattern]
        found = found or [one for one in ordered if fnmatch.fnmatchcase(one[0], pattern)]
        if not found:
            raise ValueError(f'there is no {pattern!r} to draw. There are: {", ".join(there)}')
        chosen += [one for one in found if one not in chosen]
    return chosen


def _is_rate(key: str) -> bool:
    return key == 'lr' or (key.startswith('lr[') and key.endswith(']'))


def _curves(run: Run, number: int, key: str, kind: str) -> list[Curve]:
    if kind == 'lr':
        return _rates(run, number)
    found = []
    for records in [*run.records.aside, run.records]:
        for mode in records.modes():
            curve = _curve(run, number, records, mode, key)
            if curve.values:
                found.append(curve)
    return found


def _curve(run: Run, number: int, records: Records, mode: str, key: str) -> Curve:
    places, values = records.series(mode, key)
    iters, epochs = run.course.along(places)
    return Curve(number, mode, iters, epochs, values, old=records is not run.records)


def _rates(run: Run, number: int) -> list[Curve]:
    """Return the learning rates of the groups of parameters, each curve once."""
    found: dict[bytes, Curve] = {}
    for key in filter(_is_rate, run.records.keys('train')):
        curve = _curve(run, number, run.records, 'train', key)
        curve.mode = 'lr' if key == 'lr' else key[3:-1]
        found.setdefault(curve.iters.tobytes() + curve.values.tobytes(), curve)
    curves = list(found.values())
    if len(curves) <= RATES:
        return curves
    # Layers often have rates of their own that decay from one to the next.
    ranked = sorted(curves, key=lambda curve: -max(curve.values))
    return [ranked[index * (len(ranked) - 1) // (RATES - 1)] for index in range(RATES)]


def _mark_best(panel: Panel, runs: Sequence[Run]) -> bool:
    """Mark the best points; return whether what is best had to be guessed, beyond losses."""
    if panel.kind == 'lr' or panel.key in NO_METRICS or panel.key.startswith(BEST):
        return False
    found = [one for run in runs if (one := run.direction(panel.key)) is not None]
    # Runs that know it know better.
    told = [one for one in found if one.known] or found
    if len({one.high for one in told}) != 1:
        return False
    panel.high = told[0].high
    for curve in panel.curves:
        if curve.mode != 'train' and not curve.old:
            curve.best = best(curve.values, panel.high)
    marked = any(curve.best is not None for curve in panel.curves)
    return marked and not told[0].known and panel.kind != 'loss'


def extent(curves: Sequence[Curve]) -> tuple[float, float]:
    """Return the lowest and the highest finite value of curves; 0 and 1 if there is none."""
    finite = [value for curve in curves for value in curve.values if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else (0.0, 1.0)


def digits(values: Sequence[float], least: int) -> int:
    """Return how many digits tell values apart, and at least so many."""
    for count in range(least, 17):
        if len({f'{value:.{count}g}' for value in values}) == len(set(values)):
            return count
    return 17
