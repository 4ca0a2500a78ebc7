"""Where a run has its files: in a folder of its own, wherever the script goes meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from typing import Any

from ._files import words


class Place:
    """A path that means the same after the script has changed to another folder.

    Args:
        path: The path; a relative one begins at the current folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._given = path
        self._from: str | None = None
        text = os.fspath(path)
        if not (os.path.isabs(os.path.expanduser(text)) or '://' in text):
            # Not where the current folder has been removed.
            with contextlib.suppress(OSError):
                self._from = os.getcwd()

    @property
    def path(self) -> Any:
        """The path as it was given, while that leads to the place; else from the root."""
        if self._from is None:
            return self._given
        with contextlib.suppress(OSError):
            if os.getcwd() == self._from:
                return self._given
        return os.path.join(self._from, self._given)

    @property
    def absolute(self) -> str:
        """The path from the root."""
        text = os.path.expanduser(os.fspath(self.path))
        return text if '://' in text else os.path.abspath(text)


def claim(folder: str) -> str:
    """Make a folder for one run, beside those that others have made in the same second.

    Args:
        folder: Its name; where there is one already, another one with a number.

    Returns:
        The folder that was made.

    Raises:
        OSError: It cannot be made; the message says what to give instead.
    """
    with _explained(folder):
        os.makedirs(os.path.dirname(folder) or '.', exist_ok=True)
        for name in _numbered(folder, ''):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name)
                return name
    raise AssertionError('unreachable')


def new_log(folder: str, stem: str) -> str:
    """Make an empty log file that no other run writes to.

    Args:
        folder: Its folder, which is made.
        stem: Its name without '.log'; where there is one already, another one with a number.

    Returns:
        The file.

    Raises:
        OSError: It cannot be made; the message says what to give instead.
    """
    with _explained(folder):
        os.makedirs(folder, exist_ok=True)
        for name in _numbered(os.path.join(folder, stem), '.log'):
            with contextlib.suppress(FileExistsError), open(name, 'x'):
                return name
    raise AssertionError('unreachable')


def _numbered(stem: str, suffix: str) -> Iterator[str]:
    yield stem + suffix
    for number in itertools.count(2):
        yield f'{stem}_{number}{suffix}'


@contextlib.contextmanager
def _explained(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = '' if os.path.isabs(folder) else f' in {os.getcwd()}'
        raise type(error)(
            error.errno,
            f'cannot write to {folder!r}{where}, where the files of the run are to be: '
            f'{words(error)}. Give Engine(work_dir=...) a folder that can be written to',
        ) from error
