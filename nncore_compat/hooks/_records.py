"""Going on with the records of an interrupted run: they are cut back to where it is taken up."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..engine import Engine

# Left in the work_dir until the run ends: where its records began.
MARK = '.nncore_compat.json'
# So much before the end of a file is looked at, to tell it from another one of its name.
_TAIL = 4096


@dataclass
class Records:
    """How a run that may be interrupted, and taken up again, treats its records.

    Args:
        goes_on: Whether it takes up an interrupted one.
        origin: Name of the checkpoint that it starts from; None at the beginning.
    """

    goes_on: bool
    origin: str | None = None

    def saved(self, engine: Engine, name: str) -> Any:
        """Return what a hook noted of its records at the moment where the run is taken up.

        Args:
            engine: The engine.
            name: The hook.

        Returns:
            Its state; None where nothing is known, and the records simply go on.
        """
        if not self.goes_on:
            return None
        section = (getattr(engine, '_resuming', None) or {}).get('nncore_compat')
        if self.origin is not None and section is not None:
            return section['ranks'][0]['hooks'].get(name)
        # It was interrupted before its first checkpoint.
        try:
            with open(_mark(engine)) as file:
                mark = json.load(file)
            return mark['state'] if mark['from'] == self.origin else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def begin(self, engine: Engine, state: Any) -> None:
        """Note where the records begin, for a start that finds no more than this one.

        Args:
            engine: The engine.
            state: The state of the hook.
        """
        # A disk that fails here fails in the writers too, which is told.
        with contextlib.suppress(OSError), open(_mark(engine), 'w') as file:
            json.dump({'from': self.origin, 'state': state}, file)


def end(engine: Engine) -> None:
    """Forget where the records began: the run is over, or nobody is to take it up."""
    with contextlib.suppress(OSError):
        os.remove(_mark(engine))


def _mark(engine: Engine) -> str:
    return os.path.join(os.path.expanduser(engine.work_dir), MARK)


def note(path: str) -> dict[str, Any]:
    """Return what :func:`cut` needs to bring a file back to its present end."""
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    return {'path': os.path.realpath(path), 'size': size, 'tail': _tail(path, size)}


def cut(path: str, noted: dict[str, Any], logger: logging.Logger) -> bool:
    """Cut a file back to where it once ended, if it is certainly that file.

    Args:
        path: The file, which may have moved since.
        noted: What :func:`note` returned.
        logger: Told when the file is another one, or has lost its end.

    Returns:
        Whether it ends there now.
    """
    if not os.path.isfile(path):
        return False
    size = noted['size']
    same = 0 <= size <= os.path.getsize(path)
    if same and size > 0:
        same = _tail(path, size) == noted['tail']
    elif same:
        # Every file begins like an empty one.
        same = os.path.realpath(path) == noted['path']
    if same:
        os.truncate(path, size)
    else:
        logger.warning(
            f'{path} is not the file that was written before the checkpoint, or has lost its end: '
            'it goes on as it is'
        )
    return same


def _tail(path: str, size: int) -> int:
    if size == 0:
        return 0
    with open(path, 'rb') as file:
        file.seek(max(0, size - _TAIL))
        return zlib.crc32(file.read(min(size, _TAIL)))


def cut_torn_line(path: str) -> None:
    """Remove the end of a file that was meant to become a line."""
    with contextlib.suppress(FileNotFoundError), open(path, 'rb+') as file:
        end = position = file.seek(0, os.SEEK_END)
        kept = 0
        while position and not kept:
            start = max(0, position - _TAIL)
            file.seek(start)
            found = file.read(position - start).rfind(b'\n')
            kept, position = (start + found + 1 if found >= 0 else 0), start
        if kept < end:
            file.truncate(kept)


def end_line(path: str) -> None:
    """Have a file of JSON lines end with a whole one: a piece of one is removed.

    Args:
        path: The file, which need not be there.
    """
    if not os.path.isfile(path) or os.path.getsize(path) == 0:
        return
    with open(path, 'rb') as file:
        file.seek(-1, os.SEEK_END)
        if file.read() == b'\n':
            return
        # Somebody else's, perhaps, which only lacks its end.
        file.seek(0)
        last = file.read().rpartition(b'\n')[2]
    try:
        json.loads(last)
    except ValueError:
        cut_torn_line(path)
    else:
        with open(path, 'ab') as file:
            file.write(b'\n')
