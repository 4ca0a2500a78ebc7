"""Where a run is, shown while it runs: live at the bottom of a terminal, else as nncore does."""

from __future__ import annotations

import os
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from . import _bar_styles, _options
from ._bar_styles import Line
from ._glance import Pace, Training, whole
from ._progress import ProgressBar
from ._terminal import Footer, terminal
from .comm import is_main_process

if TYPE_CHECKING:
    from typing_extensions import Self

    from .engine import Engine

# Seconds between two drawings, or more where these would take more than this share of the time.
OFTEN = 0.1
SHARE = 0.02


class Task(Protocol):
    """Counts what is done of a task."""

    def update(self, times: int = 1) -> None:
        """Count so many as done."""

    def close(self) -> None:
        """End the task."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


def begin_task(title: str, total: int | None) -> Task:
    """Show that something is being done, where and how the run shows it.

    Args:
        title: What is being done.
        total: How much there is to do, None if nobody knows.
    """
    if _shown:
        return _shown[-1].begin_task(title, total)
    # A script calls for it outside a launch.
    display = live() if is_main_process() else None
    if display is None:
        return Plain().begin_task(title, total)
    return display.begin_alone(title, total)


def check() -> None:
    """Refuse what cannot be shown.

    Raises:
        ValueError: What was asked for is unknown, or not installed.
    """
    name = _options.progress()
    if name == 'rich' and _bar_styles.best() != 'rich':
        raise ValueError("--progress rich: rich is not installed (pip install rich). 'tqdm' is")


def live() -> Live | None:
    """Return what shows a run at the bottom of the terminal; None without one, or if not wanted."""
    check()
    name, stream = _options.progress(), terminal()
    if name == 'auto':
        # Where nobody looks on, each drawing would be kept.
        name = 'plain' if os.environ.get('CI') else _bar_styles.best()
    if name == 'plain' or stream is None:
        return None
    return Live(Footer(stream), _bar_styles.STYLES[name](stream))


class Plain:
    """Leaves it to nncore's bars."""

    def open(self) -> None:
        """Begin to show."""
        _shown.append(self)

    def close(self) -> None:
        """Stop showing."""
        _shown.remove(self)

    def begin_task(self, title: str, total: int | None) -> Task:
        """Show that something is being done."""
        return ProgressBar(None if total is None else range(total))


class Silent(Plain):
    """Shows nothing: someone else does."""

    def begin_task(self, title: str, total: int | None) -> Task:
        """Show nothing."""
        return _Unseen()


class Live(Plain):
    """Shows a line for the training, and below it one for each task that goes on within it.

    It draws when it is told of progress, never by itself: there is no thread, so that nothing is
    drawn while a hook waits for an answer, and nothing is held when a process is forked.

    Args:
        footer: Where it is shown.
        style: What draws the lines.
    """

    def __init__(self, footer: Footer, style: _bar_styles.Style) -> None:
        self._footer = footer
        self._style = style
        self._due = 0.0
        self._tasks: list[_LiveTask] = []
        self._training: Training | None = None

    def open(self) -> None:
        """Begin to show."""
        super().open()
        self._footer.open()

    def close(self) -> None:
        """Stop showing, and leave nothing behind."""
        super().close()
        self._footer.close()

    def begin_training(self, engine: Engine) -> None:
        """Show the training of an engine.

        Args:
            engine: The engine.
        """
        self._training = Training(engine)

    def begin_task(self, title: str, total: int | None) -> Task:
        """Show that something is being done."""
        if self._training is not None:
            self._training.pause()
        self._tasks.append(_LiveTask(self, title, total))
        self.look()
        return self._tasks[-1]

    def begin_alone(self, title: str, total: int | None) -> Task:
        """Show one task, as long as it takes."""
        self.open()
        task = self.begin_task(title, total)
        task.alone = True  # type: ignore[attr-defined]
        return task

    def end_task(self, task: _LiveTask) -> None:
        """Show a task, and those that have begun within it, no longer."""
        if task in self._tasks:
            del self._tasks[self._tasks.index(task) :]
        if task.alone:
            self.close()

    def step(self) -> None:
        """Look at the training, if it is time to."""
        now = perf_counter()
        if now >= self._due and self._training is not None:
            self._training.go_on(now)
            self.look()

    def look(self) -> None:
        """Draw what there is to see, if it is time to."""
        now = perf_counter()
        if now < self._due:
            return
        size = self._footer.size()
        lines = [] if self._training is None else [self._training.line(now)]
        lines += [task.line(now) for task in self._tasks]
        # A terminal may begin a new line after the last column.
        self._footer.show(self._style(lines, size.columns - 1), size)
        end = perf_counter()
        self._due = end + max(OFTEN, (end - now) / SHARE)


class _LiveTask:
    # Whether nothing else is shown.
    alone = False

    def __init__(self, display: Live, title: str, total: int | None) -> None:
        self._display = display
        self._title, self._total, self._done = title, total, 0
        self._pace = Pace()
        self._begun = perf_counter()

    def update(self, times: int = 1) -> None:
        self._done += times
        self._display.look()

    def close(self) -> None:
        self._display.end_task(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def line(self, now: float) -> Line:
        self._pace.note(now, self._done)
        details = []
        if self._done and self._total is not None:
            left = (now - self._begun) * (self._total - self._done) / self._done
            details.append(f'{whole(max(0.0, left))} left')
        return Line(self._title, self._done, self._total, [*details, *self._pace.text()])


class _Unseen:
    def update(self, times: int = 1) -> None:
        pass

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


# What shows the launches that are running, the innermost last.
_shown: list[Plain] = []
