"""Lines for programs, in a file."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from ...comm import main_only
from .. import _records
from .base import WRITERS, Writer
from .metrics import scalars

if TYPE_CHECKING:
    from ...engine import Engine


@WRITERS.register()
class JSONWriter(Writer):
    """Writes a line of JSON to a file in the engine's `work_dir`.

    Args:
        filename: Name of the file.

    Examples:
        >>> import json
        >>> engine.register_hook(EventWriterHook(writers=[JSONWriter('log.jsonl')]))
        >>> engine.launch()
        >>> with open(f'{engine.work_dir}/log.jsonl') as file:
        ...     records = [json.loads(line) for line in file]
        >>> [record['mode'] for record in records]
        ['train', 'val', 'train', 'val']
    """

    def __init__(self, filename: str = 'metrics.json') -> None:
        self._filename = filename
        self._file: str | None = None
        # Whether a line has been begun that could not be ended.
        self._torn = False

    def open(self, engine: Engine) -> None:
        """Makes the folder, and ends a line that an earlier run could not end."""
        self._file = self._path(engine)
        os.makedirs(os.path.dirname(self._file) or '.', exist_ok=True)
        _records.end_line(self._file)

    def position(self) -> Any:
        """Returns where the file ends."""
        return None if self._file is None else _records.note(self._file)

    def go_back(self, engine: Engine, position: Any) -> None:
        """Cuts the file back."""
        path = self._path(engine)
        if not _records.cut(path, position, engine.logger):
            _records.cut_torn_line(path)

    @main_only
    def write(self, engine: Engine, window_size: int) -> None:
        """Appends the line."""
        metrics = self._collect_metrics(engine, window_size)
        metrics.update(scalars(engine, window_size))
        line = json.dumps(metrics) + '\n'
        path = self._path(engine)
        if self._torn:
            self._mend(path)
        # In one piece, so that there is none or all of it when the process dies.
        try:
            with open(path, 'a') as file:
                file.write(line)
        except OSError:
            self._torn = True
            with contextlib.suppress(OSError):
                self._mend(path)
            raise

    def _mend(self, path: str) -> None:
        # Of a full disk: there is a piece of the line.
        _records.cut_torn_line(path)
        self._torn = False

    def _path(self, engine: Engine) -> str:
        return os.path.join(os.path.expanduser(engine.work_dir), self._filename)
