"""A temporary folder for each work_dir: the run's files go there, and are found there."""

from __future__ import annotations

import os
from typing import Any


class Folders:
    """Leads engines away from the user's folders.

    Args:
        root: Where to.
    """

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root)
        self._instead: dict[str, str] = {}
        self._nameless = 0

    def instead_of(self, given: Any) -> str:
        """Return the folder to use.

        Args:
            given: The folder that was asked for; None for the default, one per engine.
        """
        if not given:
            self._nameless += 1
            return self._new(f'run{self._nameless}')
        folder = whole(given)
        if contains(self._root, folder):
            return str(given)
        if folder not in self._instead:
            # Some are named after their folder.
            self._instead[folder] = self._new(os.path.basename(folder) or 'run')
        return self._instead[folder]

    def find(self, path: Any) -> Any:
        """Return where a file of a work_dir is: where this run has put it, or else itself."""
        if not isinstance(path, (str, os.PathLike)) or '://' in os.fspath(path):
            return path
        asked = whole(path)
        for folder, instead in self._instead.items():
            if contains(folder, asked):
                moved = os.path.join(instead, os.path.relpath(asked, folder))
                if os.path.exists(moved):
                    return moved
        return path

    def _new(self, name: str) -> str:
        path = os.path.join(self._root, str(len(self._instead) + self._nameless), name)
        os.makedirs(path, exist_ok=True)
        return path


def whole(path: Any) -> str:
    """Return where a path leads, from the root: the script may change to another folder."""
    return os.path.realpath(os.path.expanduser(os.fspath(path)))


def contains(folder: str, path: str) -> bool:
    """Tell whether a whole path is that of a folder, or of something below it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
