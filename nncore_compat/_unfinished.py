"""Names of files while they are written, and what is left of them when a process dies."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import re
import shutil
import socket
import time
from collections.abc import Iterator

# A process of another host cannot be asked whether it lives, but it writes all the time.
_STALE = 3600.0
_HOST = re.sub(r'[^\w.-]', '_', socket.gethostname()) or 'host'
_NAME = re.compile(r'\.(?P<name>.+)\.(?P<pid>\d+)-\d+@(?P<host>[^@]+)\.(?P<kind>tmp|old)')
_numbers = itertools.count()
# What this process is writing: another one of its threads may save too.
_writing: set[str] = set()


def temporary(path: str) -> str:
    """Return another name in the same folder, never used before, that `sweep` knows."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f'.{name}.{os.getpid()}-{next(_numbers)}@{_HOST}.tmp')


def aside(new: str) -> str:
    """Return the name of what is put aside for something that was written as `new`."""
    return new.removesuffix('.tmp') + '.old'


@contextlib.contextmanager
def unfinished(*paths: str) -> Iterator[None]:
    """Keep `sweep` off some paths; after an error, remove them."""
    _writing.update(map(os.path.realpath, paths))
    try:
        yield
    except BaseException:
        for path in paths:
            remove(path)
        raise
    finally:
        _writing.difference_update(map(os.path.realpath, paths))


def remove(path: str) -> bool:
    """Remove a file, a link or a folder; return whether it is gone."""
    with contextlib.suppress(OSError):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.remove(path)
    return not os.path.lexists(path)


def sweep(folder: str | os.PathLike[str]) -> list[str]:
    """Remove what processes that are gone left unfinished.

    Processes of this host are asked for; what one of another host has not touched for an hour is
    taken for left over, and so is that of a process whose number another one may have now. A
    folder that was put aside for a new one that never came is put back.

    Args:
        folder: The folder, which may be missing.

    Returns:
        The paths that were removed.
    """
    folder = os.path.expanduser(os.fspath(folder))
    removed = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        found = _NAME.fullmatch(name)
        path = os.path.join(folder, name)
        if found is None or _in_use(path, int(found['pid']), found['host']):
            continue
        target = os.path.join(folder, found['name'])
        if found['kind'] == 'old' and not os.path.lexists(target):
            with contextlib.suppress(OSError):
                os.rename(path, target)
        elif remove(path):
            removed.append(path)
    return removed


def _in_use(path: str, pid: int, host: str) -> bool:
    place = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    if place in _writing:
        return True
    if host == _HOST and (pid == os.getpid() or not _alive(pid)):
        return False
    return time.time() - _touched(path) < _STALE


def _touched(path: str) -> float:
    inside = [os.path.join(top, name) for top, _, names in os.walk(path) for name in names]
    times = [0.0]
    for each in (path, *inside):
        # Others may be at it, too.
        with contextlib.suppress(OSError):
            times.append(os.lstat(each).st_mtime)
    return max(times)


def _alive(pid: int) -> bool:
    if platform.system() == 'Windows':
        # There, os.kill ends the process whatever the signal.
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True
