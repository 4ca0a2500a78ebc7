"""Which folders are runs, and where in them the metrics are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from . import log

# Both nncore and this package begin a line with it, whatever the file is called.
START = b'{"mode": '
USUAL = 'metrics.json'
_SAVED = re.compile(r'(epoch|iter)_\d+\.pth')
# Never a run, and possibly large.
_SKIPPED = ('tf_logs', 'wandb', '__pycache__', '.git', 'node_modules')


class Place(NamedTuple):
    """A run's folder, and the file of metrics if one was named."""

    folder: str
    metrics: str | None = None


def places(paths: Iterable[str]) -> list[Place]:
    """Return the runs that are meant by paths, each once.

    Args:
        paths: Work dirs, folders that hold work dirs at any depth, or files of metrics.

    Raises:
        FileNotFoundError: There is no such path.
        ValueError: There is no run there.
    """
    found: dict[tuple[str, str | None], Place] = {}
    for path in paths:
        for place in _places(os.path.expanduser(path)):
            key = os.path.realpath(place.folder), place.metrics
            found.setdefault(key, place)
    return list(found.values())


def metrics_file(folder: str) -> str | None:
    """Return the file of metrics of a run, the longest if there are several.

    It may have any name, and be one folder down: JSONWriter(filename='logs/all.jsonl').
    """
    usual = os.path.join(folder, USUAL)
    if os.path.isfile(usual):
        return usual
    here = _metrics_in(folder)
    if not here and is_run(folder):
        below = [os.path.join(folder, name) for name in _listed(folder) if name not in _SKIPPED]
        here = [path for one in below if os.path.isdir(one) for path in _metrics_in(one)]
    return max(here, key=os.path.getsize, default=None)


def is_run(folder: str) -> bool:
    """Tell whether a folder is that of a run."""
    names = _listed(folder)
    return (
        any(_SAVED.fullmatch(name) for name in names)
        or bool(_metrics_in(folder))
        or any(log.is_log(path) for path in log.files(folder))
    )


def names(folders: Sequence[str]) -> list[str]:
    """Return the shortest ends of paths that tell them apart."""
    parts = [os.path.abspath(folder).rstrip(os.sep).split(os.sep) for folder in folders]
    found = []
    for own in parts:
        count = 1
        others = [other for other in parts if other is not own]
        while count < len(own) and any(other[-count:] == own[-count:] for other in others):
            count += 1
        found.append('/'.join(own[-count:]) or '/')
    return found


def shortened(text: str, most: int) -> str:
    """Return a text with its middle left out if it is too long."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f'{text[:head]}…{text[head + 1 - most :]}'


def _places(path: str) -> list[Place]:
    if not os.path.exists(path):
        raise FileNotFoundError(f'there is no {path!r}')
    if not os.path.isdir(path):
        if not _is_metrics(path):
            raise ValueError(
                f'{path!r} is no file of metrics, which would begin with {START.decode()}...: give '
                'the folder of the run'
            )
        return [Place(os.path.dirname(path) or '.', path)]
    if is_run(path):
        return [Place(path)]
    found = _below(path)
    if not found:
        names = [name for name in _listed(path) if not name.startswith('.')]
        shown = ', '.join(names[:5]) + (', ...' if len(names) > 5 else '')
        raise ValueError(
            f'no run in {path!r}, nor below it: no metrics.json, no log of an engine, no '
            f'epoch_<n>.pth. ' + (f'It holds {shown}' if names else 'It is empty')
        )
    return [Place(folder) for folder in found]


def _below(path: str) -> list[str]:
    found = []
    for folder, names, _ in os.walk(path):
        names[:] = sorted(name for name in names if name not in _SKIPPED and name[0] != '.')
        if folder != path and is_run(folder):
            found.append(folder)
            names.clear()
    return found


def _metrics_in(folder: str) -> list[str]:
    paths = [os.path.join(folder, name) for name in _listed(folder)]
    return [path for path in paths if os.path.isfile(path) and _is_metrics(path)]


def _is_metrics(path: str) -> bool:
    if os.path.basename(path) == USUAL:
        return True
    try:
        with open(path, 'rb') as file:
            return file.read(len(START)) == START
    except OSError:
        return False


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
