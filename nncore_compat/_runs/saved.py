"""What checkpoints tell of their run, read without torch, and without their tensors.

The structure of a file is read as :mod:`_pickles` does it, which builds no object: nothing in the
file is run, and of many gigabytes of weights only the list is looked at.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from .._archive import check
from .._pickles import Refused, read

_SUFFIXES = ('.pth', '.ckpt', '.pt')
_OWN = re.compile(r'(epoch|iter)_(\d+)\.pth')
# Of checkpoints that are folders: Lightning's name for what is no tensor, and torch's index.
_REST, _INDEX = 'meta.pt', '.metadata'
_ZIP, _PICKLE = b'PK\x03\x04', b'\x80'
# Pickles that torch wrote before the one with the contents, until 1.6.
_BEFORE = 3
# Reading the structure of this many bytes takes about a second.
_LARGE = 5 << 20


@dataclass
class Saved:
    """A checkpoint.

    Args:
        epoch: Finished epochs; None where neither its name nor its content tells.
        iter: Finished iterations, likewise.
        made: When its run says that it was made, which a copy of the file keeps.
        link: The name of the file that it is a link to.
        problem: Why it cannot be read; empty if nothing is known against it.
    """

    path: str
    size: int
    time: datetime
    epoch: int | None = None
    iter: int | None = None
    made: str = ''
    link: str | None = None
    problem: str = ''

    @property
    def name(self) -> str:
        """The name of the file."""
        return os.path.basename(self.path)


def checkpoints(
    folders: Iterable[str], files: Iterable[str] = (), whole: bool = False
) -> list[Saved]:
    """Return checkpoints, the earliest first.

    Args:
        folders: Folders of which all are returned.
        files: More of them, in other folders, where they are there.
        whole: Whether to read all of each, for the checksums.
    """
    there = [folder for folder in folders if os.path.isdir(folder)]
    paths = [os.path.join(folder, name) for folder in there for name in os.listdir(folder)]
    found: dict[str, str] = {}
    for path in (*paths, *files):
        folder, name = os.path.split(path)
        if os.path.isdir(path):
            known = os.path.isfile(os.path.join(path, _INDEX))
        else:
            known = name.endswith(_SUFFIXES) and name[0] != '.'
        if known:
            found.setdefault(os.path.join(os.path.realpath(folder), name), path)
    saved = [one for path in found.values() if (one := _saved(path, whole)) is not None]
    return sorted(saved, key=lambda one: (one.link is not None, _order(one), one.name))


def _order(one: Saved) -> tuple[float, ...]:
    return tuple(float('inf') if n is None else n for n in (one.iter, one.epoch))


def _saved(path: str, whole: bool) -> Saved | None:
    link = os.readlink(path) if os.path.islink(path) else None
    try:
        when = datetime.fromtimestamp(os.path.getmtime(path))
        one = Saved(path, _size(path), when, link=link)
    except FileNotFoundError:
        # Removed meanwhile, or a link that leads nowhere.
        if link is None:
            return None
        return Saved(path, 0, datetime.fromtimestamp(0), link=link, problem='it leads nowhere')
    named = _OWN.fullmatch(one.name)
    if named and named[1] == 'epoch':
        one.epoch = int(named[2])
    elif named:
        one.iter = int(named[2])
    try:
        if whole and not os.path.isdir(path):
            with open(path, 'rb') as file:
                check(file, trusted=True)
        content = contents(path, first_only=True)
    except (Refused, OSError) as error:
        one.problem = str(error)
        return one
    meta = content.get('meta')
    source: Mapping[str, Any] = meta if isinstance(meta, dict) else {}
    one.made = str(source.get('create_time') or one.time.strftime('%Y-%m-%d %H:%M:%S'))
    for key in ('epoch', 'iter'):
        value = source.get(key)
        if type(value) is int and getattr(one, key) is None:
            setattr(one, key, value)
    return one


def _size(path: str) -> int:
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(path)
        for name in names
    )


def contents(path: str, first_only: bool = False) -> dict[str, Any]:
    """Return what a checkpoint holds, with None for all that is no plain data.

    Args:
        path: The file, or the folder of a sharded one.
        first_only: Whether `meta` is enough, if it is at the beginning; it is also all that is
            read of a file with very many tensors.

    Raises:
        Refused: It is damaged or no checkpoint.
        OSError: It cannot be read.
    """
    if os.path.isdir(path):
        path = os.path.join(path, _REST)
        if not os.path.isfile(path):
            return {}
    until = 'meta' if first_only else None
    with open(path, 'rb') as file:
        head = file.read(4)
        file.seek(0)
        if head == _ZIP:
            value = _of_zip(file, until)
        elif head[:1] == _PICKLE:
            for _ in range(_BEFORE):
                read(file)
            value = read(file, until)
        else:
            check(file, trusted=True)
            raise Refused('it is no checkpoint')
    if not isinstance(value, dict):
        raise Refused('it is no checkpoint of a run')
    return value


def _of_zip(file: IO[bytes], until: str | None) -> Any:
    try:
        with zipfile.ZipFile(file) as archive:
            # The directory is at the end: a file that was cut off has none.
            entries = [one for one in archive.infolist() if one.filename.endswith('/data.pkl')]
            if not entries:
                raise Refused('it is a zip file, but no checkpoint: data.pkl is missing')
            with archive.open(entries[0]) as part:
                return read(part, 'meta' if entries[0].file_size > _LARGE else until)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        raise Refused(f'it is cut off or damaged: {error}') from error
