"""All that is known of a run, as plain data."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from .best import BEST, best
from .means import epoch_means
from .records import Records, epoch_of
from .run import Run, Stage
from .saved import Saved
from .state import done, evaluated, state, times, written


def facts(run: Run) -> dict[str, Any]:
    """Return what is known of a run; numbers that are not finite are texts.

    Args:
        run: The run.
    """
    made, (word, detail), spent = done(run), state(run), times(run)
    last = run.launches[-1] if run.launches else None
    return {
        'work_dir': run.folder,
        'metrics': run.metrics,
        'logs': run.logs,
        'state': word,
        'detail': detail,
        'epochs': {'done': made.epochs, 'planned': run.planned},
        'iterations': {'done': made.iters, 'in_epoch': made.within, 'per_epoch': made.length},
        'stages': [_stage(stage) for stage in run.stages],
        'begun': _when(run.launches[0].begun) if run.launches else None,
        'written': _when(datetime.fromtimestamp(written(run))),
        'seconds': {key: value for key, value in spent._asdict().items()},
        'launches': max(len(run.launches), len(run.records.cuts) + 1),
        'resumes': [{'iteration': at, 'epoch': epoch} for at, epoch in run.resumes],
        'processes': last.processes if last else None,
        'amp': last.amp if last else None,
        'versions': _versions(run),
        'records': {
            'read': len(run.records),
            'put_aside': sum(len(one) for one in run.records.aside),
            'unreadable': run.records.unreadable,
            'torn': run.records.torn,
        },
        'best': best_values(run),
        'by_epoch': by_epoch(run),
        'checkpoints': [_saved(run, one) for one in run.saved],
    }


def best_values(run: Run) -> list[dict[str, Any]]:
    """Return the best value of each metric of validations, where it was, and in which file."""
    found = []
    for key in evaluated(run.records):
        judged = run.direction(key)
        if judged is None or (key.startswith(BEST) and key[len(BEST) :] in evaluated(run.records)):
            continue
        for mode in run.records.modes():
            places, values = run.records.series(mode, key)
            index = best(values, judged.high) if mode != 'train' else None
            if index is None:
                continue
            iters, epoch = run.course.at(places[index])
            found.append(
                {
                    'key': key,
                    'mode': mode,
                    'value': values[index],
                    'high': judged.high,
                    'guessed': not judged.known,
                    'epoch': epoch,
                    'iteration': iters,
                    'checkpoint': _file(run, key, iters, epoch),
                }
            )
    return found


def by_epoch(run: Run) -> list[dict[str, Any]]:
    """Return, for each epoch, the means of its training and the values of its validation."""
    records = run.records
    trained = {
        key: epoch_means(records, key) for key in records.keys('train') if 'loss' in key.lower()
    }
    seconds = run.epoch_times
    rates = [key for key in records.keys('train') if key == 'lr' or key.startswith('lr[')]
    lr = _last(records, 'train', rates[0]) if rates else {}
    rows: dict[int, dict[str, Any]] = {}
    for epoch in sorted({*records.ends(), *(e for values in trained.values() for e in values)}):
        row: dict[str, Any] = {'epoch': epoch, 'lr': lr.get(epoch)}
        row['train'] = {k: _number(v[epoch]) for k, v in trained.items() if epoch in v}
        if epoch in seconds:
            row['seconds'] = seconds[epoch][0]
        rows[epoch] = row
    for mode in records.modes():
        if mode != 'train':
            for key in evaluated(records):
                for epoch, value in _last(records, mode, key).items():
                    row = rows.setdefault(epoch, {'epoch': epoch, 'lr': None, 'train': {}})
                    row.setdefault(mode, {})[key] = _number(value)
    return [rows[epoch] for epoch in sorted(rows)]


def _last(records: Records, mode: str, key: str) -> dict[int, float]:
    """Return the last value in each epoch; a validation within one belongs to that one."""
    places, values = records.series(mode, key)
    return {epoch_of(place): value for place, value in zip(places, values, strict=True)}


def _file(run: Run, key: str, iters: int, epoch: float) -> str | None:
    """Return the checkpoint that has the weights of a moment."""
    there = [one for one in run.saved if not one.problem and one.link is None]
    at = [
        one
        for one in there
        # An epoch has its number in the name; of others, epochs are those that were over.
        if (one.epoch == epoch if one.name.startswith('epoch_') else one.iter == iters)
    ]
    at.sort(key=lambda one: (one.name != f'best_{key}.pth', not one.name.startswith('epoch_')))
    return run.shown(at[0]) if at else None


def _stage(stage: Stage) -> dict[str, Any]:
    config = {key: value for key, value in stage.config.items() if key != 'optimizer'}
    return {'first': stage.first, 'optimizer': stage.optimizer, 'epochs': stage.epochs, **config}


def _saved(run: Run, one: Saved) -> dict[str, Any]:
    return {
        'name': run.shown(one),
        'path': one.path,
        'epoch': one.epoch,
        'iteration': one.iter,
        'bytes': one.size,
        'time': _when(one.time),
        'link': one.link,
        'readable': not one.problem,
        'problem': one.problem or None,
    }


def _versions(run: Run) -> dict[str, str]:
    section = run.content.get('nncore_compat')
    found = {
        'nncore_compat': section.get('version') if isinstance(section, dict) else None,
        'nncore': run.meta.get('nncore_version'),
        'lightning': run.content.get('pytorch-lightning_version'),
    }
    return {name: version for name, version in found.items() if isinstance(version, str)}


def _when(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(' ', 'seconds')


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
