"""The file to which a process writes what it has seen, line by line."""

from __future__ import annotations

import json
import os
from typing import Any


class Stop(BaseException):
    """Ends a script of which enough has been seen; no script catches it."""


class Lines:
    """Writes JSON lines: records, which are compared, and notes, which are not.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self._file = open(path, 'a', encoding='utf-8')  # noqa: SIM115

    def note(self, **known: Any) -> None:
        """Write down something that is not compared."""
        self.write({'note': known})

    def write(self, line: dict[str, Any]) -> None:
        """Write a line."""
        self._file.write(json.dumps(line) + '\n')
        self._file.flush()

    def leave(self) -> None:
        """End the process at once."""
        self._file.flush()
        os._exit(0)
