"""Which bar a run shows: the live one, a callback of Lightning's, or none but nncore's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar

from .. import _display, _options
from .._terminal import Watch, terminal
from ..comm import is_main_process
from . import private

if TYPE_CHECKING:
    from .run import Run


def follow(run: Run) -> None:
    """Show a run as its callbacks ask for, from now on.

    Args:
        run: The run; what its Trainer has for callbacks may change while it runs.
    """
    callbacks: list[Any] = run.trainer.callbacks  # type: ignore[attr-defined]
    bars = [one for one in callbacks if isinstance(one, ProgressBar)]
    chosen = bars[0] if bars else None
    if run.shown is not None and run.shown_by is chosen:
        return
    leave(run)
    run.shown, run.shown_by = _choose(run, chosen), chosen
    run.shown.open()
    if isinstance(run.shown, _display.Live):
        run.display = run.shown
        if run.fitting:
            run.display.begin_training(run.engine)


def leave(run: Run) -> None:
    """Show a run no longer.

    Args:
        run: The run.
    """
    shown, run.shown, run.display = run.shown, None, None
    if shown is not None:
        shown.close()


def _choose(run: Run, bar: ProgressBar | None) -> _display.Plain:
    plain = _display.Plain()
    if not is_main_process() or _options.progress() == 'plain':
        return plain
    if bar is not None:
        return plain if terminal() is None else _Beside(bar)
    # The one of somebody who has said no to bars, or whose Trainer it is.
    if run.settings.get('enable_progress_bar') is False or run.is_guest:
        return plain
    return _display.live() or plain


class _Beside(_display.Silent):
    """Leaves it to a bar of Lightning's, and keeps log lines from going through it."""

    def __init__(self, bar: ProgressBar) -> None:
        self._watch = _BesideTqdm(bar) if isinstance(bar, TQDMProgressBar) else _BesideRich(bar)

    def open(self) -> None:
        super().open()
        self._watch.open()

    def close(self) -> None:
        super().close()
        self._watch.close()


class _BesideTqdm(Watch):
    """Has tqdm clear its bars for what others write."""

    def __init__(self, callback: TQDMProgressBar) -> None:
        super().__init__()
        self._callback = callback

    def pass_on(self, stream: Any, write: Callable[[str], int], text: str) -> int:
        if _from('tqdm'):
            return write(text)
        begins = self._unfinished is None
        if begins:
            self.make_way()
        count = super().pass_on(stream, write, text)
        if self._unfinished is None:
            for bar in self._bars():
                bar.refresh()
        return count

    def make_way(self) -> None:
        for bar in self._bars():
            bar.clear()

    def _bars(self) -> Iterator[Any]:
        for kind in ('train', 'val', 'test'):
            try:
                yield getattr(self._callback, f'{kind}_progress_bar')
            except TypeError:
                # There is none yet.
                continue


class _BesideRich(Watch):
    """Has rich print what goes past what it has put in the place of the streams."""

    def __init__(self, callback: Any) -> None:
        super().__init__()
        self._callback = callback
        self._begun = ''

    def pass_on(self, stream: Any, write: Callable[[str], int], text: str) -> int:
        if _from('rich'):
            return write(text)
        progress = self._callback.progress
        if progress is None or not progress.live.is_started:
            begun, self._begun = self._begun, ''
            super().pass_on(stream, write, begun + text)
            return len(text)
        *lines, self._begun = (self._begun + text).split('\n')
        # Or the thread of rich that draws the bars may add or take away one between the moment
        # when rich counts the lines to go up and the moment when it does: one would stay behind,
        # or a line of text be drawn over.
        with private.drawing(progress):
            for line in lines:
                # The terminal may cut it, but rich is not to.
                progress.console.print(_text(line), soft_wrap=True)
        return len(text)

    def close(self) -> None:
        super().close()
        print(self._begun, end='')


def _text(line: str) -> Any:
    from rich.text import Text

    return Text.from_ansi(line)


def _from(package: str) -> bool:
    """Whether it is a package that writes, and not somebody else."""
    caller = sys._getframe(2).f_globals.get('__name__') or ''
    return caller.partition('.')[0] == package
