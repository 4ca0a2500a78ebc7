"""The hook that has metrics written, and the writers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._registry import build_known
from ..builder import HOOKS
from ..comm import is_main_process, main_only
from . import _records
from ._checks import check_count
from ._writers.attempts import Attempts
from ._writers.base import WRITERS, Writer
from ._writers.command_line import CommandLineWriter
from ._writers.json_lines import JSONWriter
from ._writers.lightning_logger import LightningLoggerWriter
from ._writers.metrics import Averages, scalar_keys, share
from ._writers.tensorboard import TensorboardWriter
from ._writers.wandb import WandbWriter
from .base import Hook, length_of

if TYPE_CHECKING:
    from ..engine import Engine

_PACKAGE = __name__.partition('.')[0] + '.'

__all__ = [
    'WRITERS',
    'CommandLineWriter',
    'EventWriterHook',
    'JSONWriter',
    'LightningLoggerWriter',
    'TensorboardWriter',
    'WandbWriter',
    'Writer',
]


@HOOKS.register()
class EventWriterHook(Hook):
    """Has metrics written after every n-th iteration, each epoch and each validation.

    What was written is cleared from the buffer, except private keys.

    A writer whose disk or network fails does not stop training: the log says so, once, and at the
    end how often. See `Writer.survives` for which errors these are.

    Args:
        interval: Number of iterations between two writings.
        writers: Writers, their names, or their configs.

    Raises:
        ValueError: For an unknown writer, or an interval below 1.
        TypeError: For something that is no writer.

    Examples:
        >>> hook = EventWriterHook(interval=1, writers=['CommandLineWriter', 'JSONWriter'])
        >>> engine = Engine(model, loaders, stages=stages, hooks=[hook])
        >>> engine.launch()
        >>> with open(f'{engine.work_dir}/metrics.json') as file:
        ...     print(len(file.readlines()), 'lines')  # of six iterations and two validations
        8 lines
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
        self._attempts = Attempts(self._writers)
        # None before the first launch.
        self._open: list[Writer] | None = None
        self._left_out: list[Writer] = []

    @main_only
    def before_launch(self, engine: Engine) -> None:
        """Opens the writers; where an interrupted run is taken up, they go back to its end."""
        self._attempts.begin(engine)
        self._open, self._left_out = [], []
        records = getattr(engine, '_records', None)
        saved = None if records is None else records.saved(engine, self.name)
        known = [] if saved is None else saved['writers']
        for index, writer in enumerate(self._writers):
            kind, position = known[index] if index < len(known) else (None, None)
            if position is not None and kind == type(writer).__name__:
                self._attempts.call(writer, 'go_back', engine, position)
            opened, _ = self._attempts.call(writer, 'open', engine)
            (self._open if opened else self._left_out).append(writer)
        if records is None:
            _records.end(engine)
        elif saved is None:
            records.begin(engine, self.state_dict())

    @main_only
    def after_launch(self, engine: Engine) -> None:
        """Closes the writers, unless they are closed."""
        failed = engine.failure is not None
        writers = self._open
        if writers is None:
            writers = [] if failed else self._writers
        self._open = []
        for writer in writers:
            self._attempts.call(writer, 'close', engine)
        self._attempts.end()
        if not failed:
            _records.end(engine)

    def state_dict(self) -> dict[str, Any]:
        """Returns where the records of each writer end.

        It is what `before_launch` goes back to when an interrupted run is taken up. A resume that
        the script has asked for leaves all records as they are, so there is no `load_state_dict`.
        """
        if not is_main_process():
            return {}
        ends = []
        for writer in self._writers:
            left_out = self._is_left_out(writer)
            position = None if left_out else self._attempts.call(writer, 'position')[1]
            ends.append([type(writer).__name__, position])
        return {'writers': ends}

    def _is_left_out(self, writer: Writer) -> bool:
        return any(writer is one for one in self._left_out)

    def after_train_iter(self, engine: Engine) -> None:
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
    def after_val_epoch(self, engine: Engine) -> None:
        """Writes the results of the validation."""
        self._write(engine, length_of(engine, engine.data_loader))

    def _check_factor(self, engine: Engine) -> None:
        # Not after the first window, which may be hours away. A writer of the user's may do
        # without, and a hook of the user's may still bring it.
        ours = [_is_ours(type(one)) for one in self._writers]
        hooks = [_is_ours(type(one)) for one in engine.hooks.values() if isinstance(one, Hook)]
        if any(ours) and all(hooks) and engine.buffer.get('_avg_factor') is None:
            for key in scalar_keys(engine.buffer)[:1]:
                engine.buffer.avg(key)

    def _write(self, engine: Engine, window_size: int) -> None:
        averages = Averages(engine.buffer)
        for writer in self._writers:
            if self._is_left_out(writer):
                continue
            if _only_reads(writer):
                with share(averages):
                    self._attempts.call(writer, 'write', engine, window_size)
            else:
                self._attempts.call(writer, 'write', engine, window_size)
                averages = Averages(engine.buffer)
        for key in list(engine.buffer.keys()):
            if not key.startswith('_'):
                engine.buffer.pop(key)


def _only_reads(writer: Writer) -> bool:
    """Whether a writer leaves the buffer as it is, which one of the user's need not."""
    return _is_ours(writer.write) and _is_ours(writer._collect_metrics)


def _is_ours(thing: Any) -> bool:
    return str(getattr(thing, '__module__', None)).startswith(_PACKAGE)


def _build(writer: Any, where: str) -> Writer:
    if isinstance(writer, Writer):
        return writer
    if isinstance(writer, (dict, str)):
        return build_known(writer, [WRITERS], 'writer', where)
    raise TypeError(f'{where} must be a Writer, a dict or a str, but got {writer!r}')
