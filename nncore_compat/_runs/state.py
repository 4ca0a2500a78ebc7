"""How far a run has come, whether it has ended, and how long it took."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from .records import Records, epoch_of, iteration_of
from .run import NO_METRICS, Run

# A run that has written nothing for so many seconds, and for an epoch, is taken to have died.
_SILENT = 120.0


class Done(NamedTuple):
    """What is done.

    Args:
        epochs: Finished epochs.
        within: Iterations of the epoch after those.
        length: How many that one has.
        iters: Iterations of all epochs.
    """

    epochs: int
    within: int
    length: int
    iters: int


class Times(NamedTuple):
    """How long a run took, in seconds; None where nothing tells.

    Args:
        total: From the first to the last line of each launch, together.
        epoch: The mean of an epoch's training.
        iteration: The mean of an iteration.
        data: Of that, waiting for data.
    """

    total: float | None
    epoch: float | None
    iteration: float | None
    data: float | None


def done(run: Run) -> Done:
    """Return how far a run has come, by its records, or by its newest checkpoint."""
    records, course = run.records, run.course
    if not len(records):
        epoch, iters = run.meta.get('epoch'), run.meta.get('iter')
        known = isinstance(epoch, int) and isinstance(iters, int)
        return Done(epoch, 0, 0, iters) if known else Done(0, 0, 0, 0)  # type: ignore[arg-type]
    epoch, iteration = epoch_of(records.last), iteration_of(records.last)
    iters = course.at(records.last)[0]
    length = course.length(epoch)
    if iteration is None or iteration >= length:
        return Done(epoch, 0, length, iters)
    return Done(epoch - 1, iteration, length, iters)


def state(run: Run, now: float | None = None) -> tuple[str, str]:
    """Tell whether a run has ended.

    Args:
        run: The run.
        now: The time, in seconds since the epoch of the system.

    Returns:
        'finished', 'stopped', 'interrupted' or 'running', and what is to be said of it.
    """
    last = run.launches[-1] if run.launches else None
    if last is not None and last.stopped:
        return 'stopped', last.stopped
    if last is not None and last.done:
        return 'finished', ''
    made = done(run)
    if last is None and run.planned is not None and made.epochs >= run.planned:
        return 'finished', ''
    silent = (time.time() if now is None else now) - written(run)
    patience = max(_SILENT, min(times(run).epoch or 0.0, 3600.0))
    ago = f'the last word came {words(silent)} ago'
    return ('running' if silent < patience else 'interrupted'), ago


def written(run: Run) -> float:
    """Return when a run last wrote something."""
    paths = [*run.logs, *filter(None, [run.metrics]), *(one.path for one in run.saved)]
    found = [os.path.getmtime(path) for path in paths if os.path.exists(path)]
    return max(found, default=0.0)


def times(run: Run) -> Times:
    """Return how long a run took."""
    spans = []
    for launch in run.launches:
        if launch.begun is not None and launch.last is not None:
            span = (launch.last - launch.begun).total_seconds()
            spans.append(max(span, launch.seconds or 0.0))
    by_epoch = run.epoch_times
    iters = sum(count for _, _, count in by_epoch.values())
    seconds, data = (sum(one[index] for one in by_epoch.values()) for index in (0, 1))
    # The last one may not be over.
    whole = [one[0] for epoch, one in by_epoch.items() if one[2] >= run.course.length(epoch)]
    return Times(
        sum(spans) if spans else None,
        sum(whole) / len(whole) if whole else None,
        seconds / iters if iters else None,
        data / iters if iters else None,
    )


def evaluated(records: Records) -> list[str]:
    """Return the keys of validations, the losses first."""
    modes = [mode for mode in records.modes() if mode != 'train']
    keys = [key for key in (records.keys(*modes) if modes else []) if key not in NO_METRICS]
    return sorted(keys, key=lambda key: (key != 'loss', 'loss' not in key))


def words(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 0.1:
        return f'{seconds * 1000:.3g} ms'
    if seconds < 100:
        return f'{seconds:.3g} s'
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f'{hours}:{minutes:02d}:{rest:02d} h' if hours else f'{minutes}:{rest:02d} min'
    return f'{hours // 24} days {hours % 24} h'
