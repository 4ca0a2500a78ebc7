"""How long things take."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from .._timer import Timer
from ..builder import HOOKS
from ..comm import main_only
from .base import Hook

if TYPE_CHECKING:
    from ..engine import Engine


@HOOKS.register()
class TimerHook(Hook):
    """Times data loading, iterations and the whole run on the main process, in seconds.

    Buffer keys: `_iter_time` (from this hook's turn before the iteration to its turn after it: the
    forward pass, where it is first in the list), `_data_time` (all between two of these: backward,
    step, the other hooks, and waiting for the batch), `_train_time` and `_val_time` (the sum of
    `_iter_time` so far), `_total_time` (since the launch).

    Examples:
        >>> engine.launch()
        >>> engine.buffer.latest('_total_time') > engine.buffer.latest('_train_time') > 0
        True
    """

    def __init__(self) -> None:
        super().__init__()
        self._total_timer = Timer()
        self._iter_timer = Timer()
        self._data_timer = Timer()
        self._train_timer = Timer()
        self._val_timer = Timer()

    @main_only
    def before_launch(self, engine: Engine) -> None:
        """Starts the clocks."""
        self._total_timer.reset()
        self._data_timer.reset()
        for timer in (self._train_timer, self._val_timer):
            timer.reset()
            timer.pause()

    @main_only
    def after_launch(self, engine: Engine) -> None:
        """Logs the speed of training and the time of the run."""
        total = self._total_timer.seconds()
        train = self._train_timer.seconds()
        hooks = total - train - self._val_timer.seconds()
        iters = engine.iter - engine.start_iter

        if iters > 0 and train > 0:
            engine.logger.info(
                f'Overall training speed: {iters} iterations in {_whole(train)} '
                f'({train / iters:.4f} s/it)'
            )
        engine.logger.info(f'Done running in {_whole(total)} ({_whole(hooks)} on hooks)')

    @main_only
    def before_train_iter(self, engine: Engine) -> None:
        """Notes how long the batch took to come."""
        self._before(engine, self._train_timer)

    @main_only
    def after_train_iter(self, engine: Engine) -> None:
        """Notes how long the iteration took."""
        self._after(engine, '_train_time', self._train_timer)

    @main_only
    def before_val_iter(self, engine: Engine) -> None:
        """Notes how long the batch took to come."""
        self._before(engine, self._val_timer)

    @main_only
    def after_val_iter(self, engine: Engine) -> None:
        """Notes how long the iteration took."""
        self._after(engine, '_val_time', self._val_timer)

    def _before(self, engine: Engine, timer: Timer) -> None:
        self._iter_timer.reset()
        timer.resume()
        engine.buffer.update('_data_time', self._data_timer.seconds())

    def _after(self, engine: Engine, key: str, timer: Timer) -> None:
        self._data_timer.reset()
        timer.pause()
        engine.buffer.update('_total_time', self._total_timer.seconds())
        engine.buffer.update('_iter_time', self._iter_timer.seconds())
        engine.buffer.update(key, timer.seconds())


def _whole(seconds: float) -> timedelta:
    return timedelta(seconds=int(seconds))
