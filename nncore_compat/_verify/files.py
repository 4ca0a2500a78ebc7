"""Which files a process writes, and putting a folder back as it was before.

Engines write to temporary folders; what is seen here is the script's own doing. A log file or a
config that it puts into its work_dir is taken away again, and what it has changed there restored.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from typing import Any

# Of a file that is about to be changed, a copy is kept up to this size.
_LARGEST = 2**24
_WRITING = os.O_WRONLY | os.O_RDWR
# Where the events of Python's audit have the paths that they are about to change.
_PATHS = {
    'os.mkdir': (0,),
    'os.rename': (0, 1),
    'os.remove': (0,),
    'os.rmdir': (0,),
    'os.symlink': (1,),
    'os.link': (1,),
    'os.truncate': (0,),
}


def watch(journal: str, ignored: list[str]) -> None:
    """Note in a file, from now on, what this process and its forks are about to write.

    Args:
        journal: The file.
        ignored: Folders that do not count.
    """
    seen: set[str] = set()
    busy = False
    copies = f'{journal}.copies'
    os.makedirs(copies)
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    passed = tuple(os.path.realpath(folder) + os.sep for folder in (*ignored, *_SYSTEM))

    def note(path: Any) -> None:
        path = os.path.abspath(os.fsdecode(path))
        whole = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if whole in seen or f'{whole}{os.sep}'.startswith(passed) or '__pycache__' in whole:
            return
        seen.add(whole)
        entry: dict[str, Any] = {'path': whole, 'existed': os.path.lexists(whole)}
        entry['folder'] = entry['existed'] and os.path.isdir(whole)
        if os.path.isfile(whole) and os.path.getsize(whole) <= _LARGEST:
            entry['copy'] = os.path.join(copies, f'{os.getpid()}-{len(seen)}')
            shutil.copy2(whole, entry['copy'], follow_symlinks=False)
        os.write(descriptor, (json.dumps(entry) + '\n').encode())

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal busy
        if event == 'open':
            if not (isinstance(args[2], int) and args[2] & _WRITING) or isinstance(args[0], int):
                return
            places: tuple[int, ...] = (0,)
        else:
            places = _PATHS.get(event, ())
        if not places or busy:
            return
        busy = True
        try:
            for place in places:
                # Nothing that goes wrong here is to reach the script.
                with contextlib.suppress(Exception):
                    note(args[place])
        finally:
            busy = False

    sys.addaudithook(hook)


_SYSTEM = ('/dev', '/proc', '/sys')


def read(journal: str) -> list[dict[str, Any]]:
    """Return what was noted, the first thing first."""
    try:
        with open(journal, encoding='utf-8') as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError:
        return []


def restore(entries: list[dict[str, Any]], folders: list[str]) -> tuple[list[str], list[str]]:
    """Put some folders back as they were.

    Args:
        entries: What `read` returned.
        folders: The folders, and all that is in them.

    Returns:
        The paths that were put back, and those in the folders that could not be.
    """
    done, failed = [], []
    regions = [os.path.realpath(os.path.expanduser(folder)) for folder in folders]
    for entry in reversed(entries):
        path = entry['path']
        below = any(path == one or path.startswith(one + os.sep) for one in regions)
        # A folder that was made to hold the folder.
        above = not entry['existed'] and any(one.startswith(path + os.sep) for one in regions)
        if not below and not above:
            continue
        try:
            changed = _restore(entry)
        except OSError:
            failed.append(path)
        else:
            done += [path] if changed else []
    return done, failed


def _restore(entry: dict[str, Any]) -> bool:
    path = entry['path']
    if not entry['existed']:
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        elif os.path.lexists(path):
            os.remove(path)
        else:
            return False
    elif entry['folder']:
        os.makedirs(path, exist_ok=True)
        return False
    elif 'copy' in entry:
        shutil.copy2(entry['copy'], path, follow_symlinks=False)
    else:
        raise OSError
    return True
