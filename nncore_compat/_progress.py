"""The progress bar that validation, testing and Precise-BN show on standard output."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sized
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from ._console import show
from ._timer import Timer
from .comm import is_main_process

if TYPE_CHECKING:
    from typing_extensions import Self


def _duration(seconds: int) -> str:
    """Write seconds as days, hours, minutes and seconds, such as '1h5s'."""
    if seconds < 60:  # As nearly always, and twice in every iteration of a validation.
        return f'{seconds}s'
    minutes, s = divmod(seconds, 60)
    hours, m = divmod(minutes, 60)
    d, h = divmod(hours, 24)
    parts = ((d, 'd'), (h, 'h'), (m, 'm'), (s, 's'))
    return ''.join(f'{number}{unit}' for number, unit in parts if number)


class ProgressBar:
    """Counts finished tasks on one line; silent outside the main process.

    Args:
        iterable: What to iterate over, when used as a decorated iterable.
        num_tasks: The number of tasks; by default the length of ``iterable``, if it has one.
    """

    def __init__(self, iterable: Iterable[Any] | None = None, num_tasks: int | None = None) -> None:
        self._iterable: Any = iterable
        self._num_tasks = num_tasks or (len(iterable) if isinstance(iterable, Sized) else None)
        self._completed = 0
        self._last_length = 0
        self._active = is_main_process()
        if self._active:
            self._timer = Timer()
            self._show(self._line('0', '0', '0.0'))

    def __iter__(self) -> Iterator[Any]:
        for item in self._iterable:
            yield item
            self.update()

    def update(self, times: int = 1) -> None:
        """Count tasks as done.

        Args:
            times: How many.
        """
        if not self._active:
            return
        for _ in range(times):
            self._completed += 1
            elapsed = self._timer.seconds()
            remaining = 0
            if self._num_tasks is not None:
                done = self._completed / self._num_tasks
                remaining = max(0, int(elapsed * (1 - done) / done + 0.5))
            speed = f'{self._completed / elapsed:.1f}'
            self._show(self._line(_duration(math.ceil(elapsed)), _duration(remaining), speed))

    def close(self) -> None:
        """End the task; nothing is left to be done."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _line(self, elapsed: str, remaining: str, speed: str) -> str:
        if self._num_tasks is None:
            return f'\rCompleted: {self._completed}, elapsed: {elapsed}, {speed} tasks/s'
        text = (
            f'] {self._completed}/{self._num_tasks}, {speed} task/s, '
            f'elapsed: {elapsed}, eta: {remaining}'
        )
        if 0 < self._completed == self._num_tasks:
            text += '\n'
        columns = get_terminal_size().columns
        width = max(2, min(columns - len('\r[') - len(text), 40))
        done = self._completed / self._num_tasks if self._completed else 0
        marks = '>' * int(width * done)
        return f'\r[{marks:<{width}}{text}'

    def _show(self, line: str) -> None:
        # A shorter line is padded, so that nothing of a longer one stays on the screen.
        show(line.ljust(self._last_length))
        self._last_length = len(line)
