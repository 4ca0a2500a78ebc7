"""Writers of metrics, and the hook that calls them."""

import json
import os
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from .._registry import Registry, build_known
from ..builder import HOOKS
from ..comm import is_main_process, main_only
from . import _records
from ._checks import check_count
from ._graph import add_graph
from ._metrics import peak_memory, progress, scalar_keys, scalars
from .base import Hook

WRITERS = Registry('writer')

_RECORDS = ('histogram', 'image', 'images', 'figure', 'video', 'audio', 'text')


class Writer(ABC):
    """Something that writes the values in the engine's buffer; used by `EventWriterHook`.

    Keys that begin with an underscore are private; keys that end with one hold records of a type,
    such as `samples_images_`.
    """

    def _collect_metrics(self, engine: Any, window_size: int) -> dict[str, Any]:
        return progress(engine, window_size)

    @abstractmethod
    def write(self, engine: Any, window_size: int) -> None:
        """Writes averages over the latest iterations."""

    def open(self, engine: Any) -> None:  # noqa: B027 (optional, hence not abstract)
        """Called at the launch."""

    def close(self, engine: Any) -> None:  # noqa: B027
        """Called at the end of the run."""

    def position(self) -> Any:
        """Returns, as plain data, where the records end now: it goes into each checkpoint.

        Returns:
            What `go_back` needs, or None.
        """
        return None

    def go_back(self, engine: Any, position: Any) -> None:  # noqa: B027
        """Called before `open` when an interrupted run is taken up: removes what came later.

        Args:
            engine: The engine.
            position: What `position` returned when the checkpoint was saved.
        """


@WRITERS.register()
class CommandLineWriter(Writer):
    """Writes a line to the engine's logger."""

    _log: str | None = None

    def open(self, engine: Any) -> None:
        """Finds the log file, where it is the engine's own."""
        log = getattr(engine, '_own_log', None)
        self._log = log() if log is not None else None

    def position(self) -> Any:
        """Returns where the engine's log file ends."""
        if self._log is None:
            return None
        return {'name': os.path.basename(self._log), **_records.note(self._log)}

    def go_back(self, engine: Any, position: Any) -> None:
        """Has the engine go on in the log file of the interrupted run."""
        if not re.fullmatch(r'\d{14}\.log', str(position['name'])):
            return
        earlier = os.path.join(os.path.expanduser(engine.work_dir), position['name'])
        if engine._own_log() is not None and _records.cut(earlier, position, engine.logger):
            engine._go_on_in_log(earlier)

    def write(self, engine: Any, window_size: int) -> None:
        """Writes the line; in training, every process takes part."""
        metrics = self._collect_metrics(engine, window_size)
        length = len(engine.data_loader)

        if engine.mode == 'train':
            line = f'Epoch [{metrics["epoch"]}][{metrics["iter"]}/{length}] lr: {metrics["lr"]}'
            recorded = engine.buffer.keys()
            if '_total_time' in recorded:
                total = engine.buffer.latest('_total_time')
                done = engine.iter + 1 - engine.start_iter
                left = engine.max_iters - engine.iter - 1
                line += f', eta: {timedelta(seconds=int(left * total / done))}'
            for key in ('time', 'data_time'):
                if key in metrics:
                    line += f', {key}: {metrics[key]:.3f}'
            memory = peak_memory(engine.model)
            if memory is not None:
                line += f', memory: {memory}'
        else:
            line = f'Epoch ({engine.mode}) [{metrics["epoch"]}][{length}]'

        if is_main_process():
            values = [f'{k}: {v:.4f}' for k, v in scalars(engine.buffer, window_size)]
            if values:
                line += (' ' if line.endswith(']') else ', ') + ', '.join(values)
            engine.logger.info(line)


@WRITERS.register()
class JSONWriter(Writer):
    """Writes a line of JSON to a file in the engine's `work_dir`.

    Args:
        filename: Name of the file.
    """

    def __init__(self, filename: str = 'metrics.json') -> None:
        self._filename = filename
        self._file: str | None = None

    def open(self, engine: Any) -> None:
        """Makes the folder."""
        self._file = self._path(engine)
        os.makedirs(os.path.dirname(self._file) or '.', exist_ok=True)

    def position(self) -> Any:
        """Returns where the file ends."""
        return None if self._file is None else _records.note(self._file)

    def go_back(self, engine: Any, position: Any) -> None:
        """Cuts the file back."""
        path = self._path(engine)
        if not _records.cut(path, position, engine.logger):
            _records.cut_torn_line(path)

    @main_only
    def write(self, engine: Any, window_size: int) -> None:
        """Appends the line."""
        metrics = self._collect_metrics(engine, window_size)
        metrics.update(scalars(engine.buffer, window_size))
        line = json.dumps(metrics) + '\n'
        # In one piece, so that there is none or all of it when the process dies.
        with open(self._path(engine), 'a') as file:
            file.write(line)

    def _path(self, engine: Any) -> str:
        return os.path.join(os.path.expanduser(engine.work_dir), self._filename)


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
    """

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

    def open(self, engine: Any) -> None:
        """Opens the event file and writes the graph."""
        from torch.utils.tensorboard import SummaryWriter

        self._log_dir = self._folder(engine)
        os.makedirs(self._log_dir, exist_ok=True)
        suffix = f'{self._kwargs.get("filename_suffix", "")}.{self._mark}'
        self._writer = SummaryWriter(self._log_dir, **{**self._kwargs, 'filename_suffix': suffix})

        if self._input_to_model is not None and not self._goes_on:
            add_graph(self._writer, engine, self._input_to_model)

    def close(self, engine: Any) -> None:
        """Closes the event file."""
        self._writer.close()

    def position(self) -> Any:
        """Returns where the event files end."""
        if self._writer is None:
            return None
        self._writer.flush()
        sizes = {name: path.stat().st_size for name, path in self._events(self._log_dir)}
        return {'mark': self._mark, 'sizes': sizes}

    def go_back(self, engine: Any, position: Any) -> None:
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

    def _folder(self, engine: Any) -> str:
        folder = self._log_dir or os.path.join(engine.work_dir, 'tf_logs')
        return os.path.expanduser(folder)

    def _events(self, folder: str | None) -> Iterator[tuple[str, Path]]:
        """Finds the event files of this writer, in the processes before too, by name."""
        root = Path(folder or '')
        for path in root.rglob(f'*tfevents*.{self._mark}'):
            yield path.relative_to(root).as_posix(), path

    @main_only
    def write(self, engine: Any, window_size: int) -> None:
        """Writes scalars and records.

        Raises:
            TypeError: For a record of unknown type.
        """
        step = engine.iter + 1
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
                add(f'{"".join(words)}/{engine.mode}', engine.buffer.latest(key), global_step=step)
            else:
                value = engine.buffer.avg(key, window_size=window_size)
                many = isinstance(value, dict)
                add = self._writer.add_scalars if many else self._writer.add_scalar
                add(f'{key}/{engine.mode}', value, global_step=step)


@WRITERS.register()
class WandbWriter(Writer):
    """Writes to Weights & Biases.

    Args:
        **kwargs: Passed to `wandb.init`, besides the name of the `work_dir` and the engine's
            `meta` as config.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = kwargs
        self._writer: Any = None
        self._resumed: dict[str, Any] = {}

    def open(self, engine: Any) -> None:
        """Begins the run.

        Raises:
            ImportError: When wandb is not installed.
        """
        try:
            import wandb
        except ImportError as error:
            raise ImportError('WandbWriter needs wandb: pip install wandb') from error

        self._writer = wandb
        name = os.path.basename(engine.work_dir)
        wandb.init(**{'name': name, 'config': engine.meta, **self._resumed, **self._kwargs})

    def position(self) -> Any:
        """Returns the id of the run."""
        run = getattr(self._writer, 'run', None)
        return None if run is None else {'id': run.id}

    def go_back(self, engine: Any, position: Any) -> None:
        """Has the same run opened again; what it was told, it keeps."""
        self._resumed = {'id': position['id'], 'resume': 'allow'}

    @main_only
    def write(self, engine: Any, window_size: int) -> None:
        """Logs each value."""
        for key in scalar_keys(engine.buffer):
            value = engine.buffer.avg(key, window_size=window_size)
            self._writer.log({f'{key}/{engine.mode}': value})


@HOOKS.register()
class EventWriterHook(Hook):
    """Has metrics written after every n-th iteration, each epoch and each validation.

    What was written is cleared from the buffer, except private keys.

    Args:
        interval: Number of iterations between two writings.
        writers: Writers, their names, or their configs.

    Raises:
        ValueError: For an unknown writer, or an interval below 1.
        TypeError: For something that is no writer.
    """

    def __init__(
        self,
        interval: int = 50,
        writers: Sequence[Writer | dict[str, Any] | str] = [
            'CommandLineWriter',
            'JSONWriter',
            'TensorboardWriter',
        ],
    ) -> None:
        super().__init__()
        self._interval = check_count(interval, 'EventWriterHook.interval')
        if isinstance(writers, str) or not isinstance(writers, Sequence):
            raise TypeError(f'EventWriterHook.writers must be a list, but got {writers!r}')
        self._writers = [_build(w, f'EventWriterHook.writers[{i}]') for i, w in enumerate(writers)]

    @main_only
    def before_launch(self, engine: Any) -> None:
        """Opens the writers; where an interrupted run is taken up, they go back to its end."""
        records = getattr(engine, '_records', None)
        saved = None if records is None else records.saved(engine, self.name)
        known = [] if saved is None else saved['writers']
        for index, writer in enumerate(self._writers):
            kind, position = known[index] if index < len(known) else (None, None)
            if position is not None and kind == type(writer).__name__:
                writer.go_back(engine, position)
            writer.open(engine)
        if records is None:
            _records.end(engine)
        elif saved is None:
            records.begin(engine, self.state_dict())

    @main_only
    def after_launch(self, engine: Any) -> None:
        """Closes the writers."""
        for writer in self._writers:
            writer.close(engine)
        _records.end(engine)

    def state_dict(self) -> dict[str, Any]:
        """Returns where the records of each writer end.

        It is what `before_launch` goes back to when an interrupted run is taken up. A resume that
        the script has asked for leaves all records as they are, so there is no `load_state_dict`.
        """
        if not is_main_process():
            return {}
        return {'writers': [[type(one).__name__, one.position()] for one in self._writers]}

    def after_train_iter(self, engine: Any) -> None:
        """Writes when it is time.

        Raises:
            KeyError: In the first iteration, when the model returns no `_avg_factor`.
        """
        if engine.iter == engine.start_iter:
            self._check_factor(engine)
        if self.last_iter_in_epoch(engine):
            window = len(engine.data_loader) % self._interval or self._interval
        elif self.every_n_iters_in_epoch(engine, self._interval):
            window = self._interval
        else:
            return
        self._write(engine, window)

    @main_only
    def after_val_epoch(self, engine: Any) -> None:
        """Writes the results of the validation."""
        self._write(engine, len(engine.data_loader))

    def _check_factor(self, engine: Any) -> None:
        # Not after the first window, which may be hours away. A writer of the user's may do
        # without, and a hook of the user's may still bring it.
        package = __name__.partition('.')[0]
        ours = [type(one).__module__.startswith(package) for one in self._writers]
        hooks = [
            type(one).__module__.startswith(package)
            for one in engine.hooks.values()
            if isinstance(one, Hook)
        ]
        if any(ours) and all(hooks) and engine.buffer.get('_avg_factor') is None:
            for key in scalar_keys(engine.buffer)[:1]:
                engine.buffer.avg(key)

    def _write(self, engine: Any, window_size: int) -> None:
        for writer in self._writers:
            writer.write(engine, window_size)
        for key in list(engine.buffer.keys()):
            if not key.startswith('_'):
                engine.buffer.pop(key)


def _build(writer: Any, where: str) -> Writer:
    if isinstance(writer, Writer):
        return writer
    if isinstance(writer, (dict, str)):
        return build_known(writer, [WRITERS], 'writer', where)
    raise TypeError(f'{where} must be a Writer, a dict or a str, but got {writer!r}')
