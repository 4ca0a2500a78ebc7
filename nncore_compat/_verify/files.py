"""What a process does to files, and putting a folder back as it was before.

Engines write to temporary folders; what is seen here is the script's own doing. A log file or a
config that it puts into its work_dir is taken away again, and what it has changed, renamed or
removed there is restored: each act is noted before it happens, with what it takes to undo it, and
they are undone from the last to the first.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from .folders import contains, whole

# What cannot be linked is copied, up to this size.
_LARGEST = 2**30
_WRITING = os.O_WRONLY | os.O_RDWR
_SYSTEM = ('/dev', '/proc', '/sys')
# What Python's audit tells of: the arguments that are paths, and those with the folders (as file
# descriptors) that these are relative to.
_CREATED, _REMOVED, _RENAMED, _WRITTEN = 'created', 'removed', 'renamed', 'written'
_EVENTS = {
    'open': (_WRITTEN, (0,), ()),
    'os.truncate': (_WRITTEN, (0,), ()),
    'os.mkdir': (_CREATED, (0,), (2,)),
    'os.symlink': (_CREATED, (1,), (2,)),
    'os.link': (_CREATED, (1,), (3,)),
    'os.remove': (_REMOVED, (0,), (1,)),
    'os.rmdir': (_REMOVED, (0,), (1,)),
    'os.rename': (_RENAMED, (0, 1), (2, 3)),
}


class TooLarge(OSError):
    """A file that cannot be kept is about to be lost."""


def watch(journal: str, ignored: list[str]) -> None:
    """Note in a file, from now on, what this process and its forks are about to do to files.

    Args:
        journal: The file.
        ignored: Folders that do not count.
    """
    notes = _Journal(journal, ignored)
    busy = False

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal busy
        if event not in _EVENTS or busy:
            return
        if event == 'open' and not (isinstance(args[2], int) and args[2] & _WRITING):
            return
        busy = True
        try:
            notes.note(event, args)
        except TooLarge:
            # It is better that the script fails.
            raise
        except Exception:
            # Nothing else that goes wrong here is to reach it.
            pass
        finally:
            busy = False

    sys.addaudithook(hook)


class _Journal:
    """Writes down acts, each with what it takes to undo it."""

    def __init__(self, path: str, ignored: list[str]) -> None:
        self._kept = f'{path}.kept'
        os.makedirs(self._kept)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._passed = tuple(os.path.realpath(one) + os.sep for one in (*ignored, *_SYSTEM))
        self._count = 0
        # What may be written to once more: it is new, or has been kept as it was.
        self._safe: set[str] = set()
        # What is new, and may go too.
        self._new: set[str] = set()

    def note(self, event: str, args: tuple[Any, ...]) -> None:
        kind, places, folders = _EVENTS[event]
        if any(isinstance(args[place], int) for place in places):
            return
        fds = [args[one] if one < len(args) else -1 for one in folders] or [-1]
        paths = [_place(args[place], fd) for place, fd in zip(places, fds, strict=True)]
        if all(f'{path}{os.sep}'.startswith(self._passed) or _passing(path) for path in paths):
            return
        if kind == _WRITTEN:
            truncated = event == 'os.truncate' or bool(args[2] & os.O_TRUNC)
            self._written(paths[0], truncated)
        elif kind == _CREATED:
            if os.path.lexists(paths[0]):
                return
            if event == 'os.link':
                # What is in it is not new.
                self._write(_CREATED, paths[0])
            else:
                self._created(paths[0])
        elif kind == _REMOVED:
            self._removed(paths[0])
        else:
            self._renamed(*paths)

    def _created(self, path: str) -> None:
        self._write(_CREATED, path)
        self._safe.add(path)
        self._new.add(path)

    def _written(self, path: str, truncated: bool) -> None:
        if os.path.islink(path):
            path = os.path.realpath(path)
        if path in self._safe:
            return
        if not os.path.lexists(path):
            self._created(path)
        elif os.path.isfile(path):
            size = os.path.getsize(path)
            if size <= _LARGEST:
                self._write(_WRITTEN, path, kept=self._copy(path))
            elif truncated:
                raise _too_large(path, size)
            else:
                self._write(_WRITTEN, path)
            self._safe.add(path)

    def _removed(self, path: str) -> None:
        if _is_folder(path):
            if os.listdir(path):
                return
            self._write(_REMOVED, path, folder=True)
        elif os.path.lexists(path) and path not in self._new:
            self._write(_REMOVED, path, kept=self._link(path))
        self._forget(path)

    def _renamed(self, path: str, to: str) -> None:
        # Onto a folder with something in it nothing is renamed.
        if not os.path.lexists(path) or path == to or (_is_folder(to) and os.listdir(to)):
            return
        self._removed(to)
        self._write(_RENAMED, path, to=to)
        new = path in self._new
        self._forget(path)
        if new:
            self._safe.add(to)
            self._new.add(to)

    def _forget(self, path: str) -> None:
        for known in (self._safe, self._new):
            known -= {one for one in known if contains(path, one)}

    def _copy(self, path: str) -> str:
        kept = self._new_name()
        shutil.copy2(path, kept, follow_symlinks=False)
        return kept

    def _link(self, path: str) -> str:
        kept, about = self._new_name(), os.lstat(path)
        large = about.st_size > _LARGEST
        # If it has another name, what is written to that later would change what is kept.
        if not os.path.islink(path) and (about.st_nlink == 1 or large):
            with contextlib.suppress(OSError):
                os.link(path, kept)
                return kept
        if large:
            raise _too_large(path, about.st_size)
        return self._copy(path)

    def _new_name(self) -> str:
        self._count += 1
        return os.path.join(self._kept, f'{os.getpid()}-{self._count}')

    def _write(self, kind: str, path: str, **more: Any) -> None:
        entry = {'kind': kind, 'path': path, **more}
        os.write(self._descriptor, (json.dumps(entry) + '\n').encode())


def _place(path: Any, folder: int) -> str:
    path = os.fsdecode(path)
    if folder >= 0 and not os.path.isabs(path):
        path = os.path.join(_name_of(folder), path)
    path = os.path.abspath(path)
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _name_of(descriptor: int) -> str:
    """Return the path of an open folder."""
    if sys.platform == 'darwin':
        import fcntl

        found = fcntl.fcntl(descriptor, fcntl.F_GETPATH, b'\0' * 1024)
        return os.fsdecode(found.rstrip(b'\0'))
    return os.readlink(f'/proc/self/fd/{descriptor}')


def _passing(path: str) -> bool:
    return '__pycache__' in path


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _too_large(path: str, size: int) -> TooLarge:
    return TooLarge(
        f'{path} is about to be lost, and with {size / 2**30:.1f} GiB it is too large to be kept '
        'beside: compare without it, or in another folder'
    )


def read(journal: str) -> list[dict[str, Any]]:
    """Return what was noted, the first thing first."""
    try:
        with open(journal, encoding='utf-8') as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError:
        return []


def restore(
    entries: Sequence[dict[str, Any]], folders: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Put some folders back as they were.

    Args:
        entries: What `read` returned.
        folders: The folders, and all that is in them.

    Returns:
        The paths that were put back, and those in the folders that could not be.
    """
    regions = [whole(folder) for folder in folders]
    chosen = []
    for entry in entries:
        path, to = entry['path'], entry.get('to', entry['path'])
        # A folder that was made to hold the folder, or has taken it along, belongs to it.
        holds = entry['kind'] in (_CREATED, _RENAMED) and any(contains(path, r) for r in regions)
        if holds or any(contains(region, one) for one in (path, to) for region in regions):
            chosen.append(entry)
            if entry['kind'] == _RENAMED:
                # What happens to it there is part of it.
                regions.append(to)
    done: list[str] = []
    failed: list[str] = []
    for entry in reversed(chosen):
        try:
            changed = _undo(entry)
        except OSError:
            failed.append(entry['path'])
        else:
            done += [entry['path'], entry.get('to', entry['path'])] if changed else []
    return done, failed


def _undo(entry: dict[str, Any]) -> bool:
    kind, path = entry['kind'], entry['path']
    if kind == _CREATED:
        if _is_folder(path):
            os.rmdir(path)
        elif os.path.lexists(path):
            os.remove(path)
        else:
            return False
    elif kind == _RENAMED:
        if not os.path.lexists(entry['to']):
            return False
        if os.path.lexists(path):
            raise OSError
        os.rename(entry['to'], path)
    elif entry.get('folder'):
        os.makedirs(path, exist_ok=True)
    elif 'kept' in entry:
        if kind == _REMOVED and os.path.lexists(path):
            return False
        shutil.copy2(entry['kept'], path, follow_symlinks=False)
    else:
        raise OSError
    return True
