"""Files that are the old ones or the whole new ones: written beside, brought to disk, renamed."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import platform
import shutil
import time
from collections.abc import Iterator
from typing import Any

import torch

from ._archive import check as check_file
from ._logging import log
from ._pickles import Refused
from ._unfinished import aside, remove, sweep, temporary, unfinished

__all__ = [
    'SaveError',
    'point',
    'replacing',
    'sweep',
    'temporary',
    'words',
    'write',
    'write_folder',
]

# Folders that were there when something was written.
_known: set[str] = set()

_WORDS = {
    errno.EACCES: 'there is no permission to write to its folder',
    errno.EDQUOT: 'the disk quota is used up',
    errno.EEXIST: 'a part of its path is no folder',
    errno.EFBIG: 'it is larger than this process may write (ulimit -f), or the disk can hold',
    errno.EISDIR: 'there is a folder of this name',
    errno.ENAMETOOLONG: 'its name is too long',
    errno.ENOENT: 'its folder is missing and cannot be made',
    errno.ENOTDIR: 'a part of its path is no folder',
    errno.EPERM: 'there is no permission to write to its folder',
    errno.EROFS: 'the file system is read-only',
}


def words(error: OSError) -> str:
    """Return why a file cannot be written."""
    return _WORDS.get(error.errno or errno.EIO, error.strerror or str(error))


class SaveError(OSError):
    """A file that could not be written; what was there before is untouched."""

    def __str__(self) -> str:
        return str(self.strerror)


def write(data: Any, filename: str | os.PathLike[str], *, check: bool = False) -> None:
    """Write a checkpoint with torch.save, all or nothing.

    Args:
        data: The checkpoint.
        filename: The file; its folder is made. Of a link, the file it leads to is replaced.
        check: Whether the file is read back before it takes its place.

    Raises:
        SaveError: It could not be written.
    """
    try:
        with replacing(filename, check=check) as file:
            torch.save(data, file)
    except SaveError as error:
        if error.errno == errno.ENOSPC:
            error.strerror = f'{error.strerror} It needs {_size(data):,} bytes.'
        raise


@contextlib.contextmanager
def replacing(filename: str | os.PathLike[str], *, check: bool = False) -> Iterator[Any]:
    """Open a file that takes the place of another one when all of it is written.

    Args:
        filename: The file; its folder is made. Of a link, the file it leads to is replaced.
        check: Whether the file is read back, as a checkpoint, before it takes its place.

    Raises:
        SaveError: It could not be written.
    """
    target = _place(filename)
    new = temporary(target)
    with _explained(target), unfinished(new):
        _make_folder(os.path.dirname(target))
        with open(new, 'wb', buffering=0) as raw:
            file = _Whole(raw)
            try:
                yield file
            except Exception:
                # torch.save has errors of its own for a full disk.
                if file.error is None:
                    raise
            if file.error is not None:
                raise file.error
            os.fsync(raw.fileno())
        if check:
            _read_back(new)
        # In place of a checkpoint that is a folder too.
        old = aside(new) if os.path.isfile(os.path.join(target, '.metadata')) else None
        if old is not None:
            os.rename(target, old)
        _replace(new, target)
        _sync(os.path.dirname(target))
    if old is not None:
        remove(old)


@contextlib.contextmanager
def write_folder(filename: str | os.PathLike[str], new: str) -> Iterator[str]:
    """Make a folder that takes the place of another one when all of it is written.

    For one process; others write into the folder while it is open here. Folders cannot be
    exchanged in one step: between two renames the old one has another name, and `sweep` gives it
    back its own.

    Args:
        filename: The folder.
        new: Its name while it is written, from `temporary`.

    Raises:
        SaveError: It could not be written.
    """
    target, old = _place(filename), aside(new)
    with _explained(target), unfinished(new):
        _make_folder(os.path.dirname(target))
        os.mkdir(new)
        yield new
        for folder, _, names in os.walk(new):
            for name in names:
                with open(os.path.join(folder, name), 'r+b') as file:
                    os.fsync(file.fileno())
            _sync(folder)
        if os.path.lexists(target):
            os.rename(target, old)
        try:
            os.rename(new, target)
        except BaseException:
            if os.path.lexists(old):
                os.rename(old, target)
            raise
        _sync(os.path.dirname(target))
    remove(old)


def point(link: str | os.PathLike[str], target: str) -> None:
    """Make a symbolic link, in place of an older one without a moment between them.

    Where there are none (on Windows they need a privilege, on some disks there are none at all) it
    becomes a second name of the file, or else a copy; of a folder, nothing.

    Args:
        link: The link.
        target: What it holds: the name of a file, or folder, beside it.

    Raises:
        SaveError: It could not be made.
    """
    path = os.path.abspath(os.path.expanduser(os.fspath(link)))
    new, source = temporary(path), os.path.join(os.path.dirname(path), target)
    with _explained(path), unfinished(new):
        for make in (_symlink, os.link, shutil.copyfile):
            try:
                make(target if make is _symlink else source, new)
                break
            except (OSError, NotImplementedError, AttributeError):
                if os.path.isdir(source):
                    return
                if make is shutil.copyfile:
                    raise
        _replace(new, path)
        _sync(os.path.dirname(path))


def _symlink(target: str, new: str) -> None:
    # Of a folder, Windows has to know.
    folder = os.path.isdir(os.path.join(os.path.dirname(new), target))
    os.symlink(target, new, target_is_directory=folder)


def _replace(new: str, path: str) -> None:
    """Rename; on Windows, whoever looks at the old file has to be through with it first."""
    for _ in range(20 if platform.system() == 'Windows' else 0):
        try:
            os.replace(new, path)
            return
        except PermissionError:
            time.sleep(0.1)
    os.replace(new, path)


class _Whole:
    """Writes all that it is given, and keeps the error that torch.save may hide."""

    def __init__(self, raw: Any) -> None:
        self.error: OSError | None = None
        self._raw = raw

    def write(self, data: Any) -> int:
        rest = whole = memoryview(data).cast('B')
        try:
            while rest:
                rest = rest[self._raw.write(rest) :]
        except OSError as error:
            self.error = self.error or error
            raise
        return len(whole)

    def flush(self) -> None:
        """Nothing is held back."""


def _place(filename: str | os.PathLike[str]) -> str:
    # The file itself is replaced and not a link to it.
    return os.path.realpath(os.path.expanduser(os.fspath(filename)))


def _make_folder(folder: str) -> None:
    if folder in _known and not os.path.isdir(folder):
        message = f'The folder {folder} has vanished with all it held: it is made again.'
        log(message, log_level=logging.WARNING)
    os.makedirs(folder, exist_ok=True)
    _known.add(folder)


@contextlib.contextmanager
def _explained(target: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, SaveError):
            raise
        number = error.errno or errno.EIO
        text = words(error)
        if number == errno.ENOSPC:
            folder = os.path.dirname(target)
            free = shutil.disk_usage(folder).free if os.path.isdir(folder) else 0
            text = f'no space left on the disk, which has {free:,} bytes free'
        kept = 'The old file is untouched. ' if os.path.lexists(target) else ''
        raise SaveError(
            number,
            f'cannot save {target!r}: {text}. {kept}'
            "CheckpointHook(on_error='warn') goes on without.",
        ) from error


def _size(data: Any) -> int:
    count = _Count()
    torch.save(data, count)  # type: ignore[arg-type]
    return count.size


class _Count:
    size = 0

    def write(self, data: Any) -> int:
        length = memoryview(data).nbytes
        self.size += length
        return length

    def flush(self) -> None:
        """Nothing is held back."""


def _read_back(path: str) -> None:
    try:
        with open(path, 'rb') as file:
            check_file(file, trusted=True)
    except Refused as error:
        raise OSError(errno.EIO, f'read back, {error}') from error


def _sync(folder: str) -> None:
    # Brings the names to the disk, where the system can.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
