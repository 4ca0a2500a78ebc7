"""TensorBoard events."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...comm import main_only
from .._graph import add_graph
from .base import WRITERS, Writer
from .event_file import EventFiles
from .metrics import averages_of
from .video import add_video, has_moviepy

if TYPE_CHECKING:
    from ...engine import Engine

_RECORDS = ('histogram', 'image', 'images', 'figure', 'video', 'audio', 'text')


@WRITERS.register()
class TensorboardWriter(Writer):
    """Writes TensorBoard events.

    Records go under their key without its underscores: `samples_images_` in training becomes the
    images `samples/train`.

    Args:
        log_dir: The folder. Default: `tf_logs` in the engine's `work_dir`.
        input_to_model: A batch, a data loader, or the name of one of the engine's loaders: what to
            trace the model with for its graph. Default: no graph.
        **kwargs: Passed to `torch.utils.tensorboard.SummaryWriter`.

    Examples:
        >>> writer = TensorboardWriter(log_dir='events', input_to_model='val')
        >>> engine.register_hook(EventWriterHook(writers=[writer]))
    """

    _files: EventFiles | None = None
    # Whether there is no file to write to, because the last one could not be written.
    _lost = False

    def __init__(
        self, log_dir: str | None = None, input_to_model: Any = None, **kwargs: Any
    ) -> None:
        self._log_dir = log_dir
        self._input_to_model = input_to_model
        self._kwargs = kwargs
        self._writer: Any = None
        # Ends the names of event files: others may write to the folder.
        self._mark = uuid.uuid4().hex[:8]
        self._goes_on = False

    def open(self, engine: Engine) -> None:
        """Opens the event file and writes the graph."""
        # The script may change to another folder while it trains.
        self._log_dir = os.path.abspath(self._folder(engine))
        os.makedirs(self._log_dir, exist_ok=True)
        self._begin_file()
        if self._input_to_model is not None and not self._goes_on:
            add_graph(self._writer, engine, self._input_to_model)

    def close(self, engine: Engine) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()

    def _begin_file(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        suffix = f'{self._kwargs.get("filename_suffix", "")}.{self._mark}'
        earlier = [path for _, path in self._events(self._log_dir)]
        try:
            self._writer = SummaryWriter(
                self._log_dir, **{**self._kwargs, 'filename_suffix': suffix}
            )
        except OSError:
            # On a full disk it is made, and stays empty.
            for _, path in list(self._events(self._log_dir)):
                if path not in earlier:
                    path.unlink()
            raise
        self._files, self._lost = EventFiles(self._writer, self._mark, earlier), False

    def _give_up_file(self) -> None:
        """Have what follows written to a new file: after a piece of an event nobody reads on."""
        if self._files is None:
            return
        for part in (self._writer.all_writers or {}).values():
            with contextlib.suppress(OSError):
                part.close()
        self._writer, self._files, self._lost = None, None, True

    def position(self) -> Any:
        """Returns where the event files end."""
        if self._writer is None:
            return None
        self._writer.flush()
        sizes = {name: path.stat().st_size for name, path in self._events(self._log_dir)}
        return {'mark': self._mark, 'sizes': sizes}

    def go_back(self, engine: Engine, position: Any) -> None:
        """Cuts the event files back, and removes those that came later."""
        if not re.fullmatch('[0-9a-f]{8}', str(position['mark'])):
            return
        self._mark, self._goes_on = position['mark'], True
        for name, path in list(self._events(self._folder(engine))):
            size = position['sizes'].get(name)
            if size is None:
                path.unlink()
            elif path.stat().st_size > size:
                os.truncate(path, size)

    def _folder(self, engine: Engine) -> str:
        folder = self._log_dir or os.path.join(engine.work_dir, 'tf_logs')
        return os.path.expanduser(folder)

    def _events(self, folder: str | None) -> Iterator[tuple[str, Path]]:
        """Finds the event files of this writer, in the processes before too, by name."""
        root = Path(folder or '')
        for path in root.rglob(f'*tfevents*.{self._mark}'):
            yield path.relative_to(root).as_posix(), path

    @main_only
    def write(self, engine: Engine, window_size: int) -> None:
        """Writes scalars and records.

        Raises:
            TypeError: For a record of unknown type.
        """
        try:
            if self._lost:
                self._begin_file()
            self._write(engine, window_size)
        except OSError:
            self._give_up_file()
            raise

    def _write(self, engine: Engine, window_size: int) -> None:
        if self._files is not None:
            self._files.catch_up()
        step = engine.iter + 1
        averages = averages_of(engine)
        for key in list(engine.buffer.keys()):
            if key.startswith('_'):
                continue
            if key.endswith('_'):
                *words, kind, _ = key.split('_')
                if kind not in _RECORDS:
                    raise TypeError(
                        f'unsupported record type {kind!r} (buffer key {key!r}). '
                        f'Accepted: {", ".join(map(repr, _RECORDS))}'
                    )
                add = getattr(self._writer, f'add_{kind}')
                if kind == 'video' and not has_moviepy():
                    add = partial(add_video, self._writer)
                add(f'{"".join(words)}/{engine.mode}', engine.buffer.latest(key), global_step=step)
            else:
                value = averages.avg(key, window_size)
                many = isinstance(value, dict)
                add = self._writer.add_scalars if many else self._writer.add_scalar
                add(f'{key}/{engine.mode}', value, global_step=step)
                if many and self._files is not None:
                    # Each of its values has a file of its own, since the first time.
                    self._files.take_over()
