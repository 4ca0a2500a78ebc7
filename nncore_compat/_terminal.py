"""Lines at the bottom of a terminal, below everything that is written to it meanwhile.

A watch stands between a stream and all who write to it: print, handlers of loggers that were made
long ago, warnings, tracebacks. What a terminal gets past Python's streams is not seen: there is a
line free above the bottom, for what other processes and libraries in C may write.
"""

from __future__ import annotations

import builtins
import io
import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any, TextIO

Write = Callable[[str], int]

CLEAR = '\r\x1b[J'
# The same, without the character that has Python write what it has before the line is complete.
CLEAR_LATER = '\x1b[G\x1b[J'
# For so many seconds a line may stay unfinished before the bottom is shown below it.
PATIENCE = 1.0


def terminal() -> io.TextIOWrapper | None:
    """Return standard output if it is a terminal on which lines can be taken back."""
    stream = sys.stdout
    if not _is_terminal(stream):
        return None
    if os.name == 'nt':
        # Has the console understand control sequences.
        os.system('')
    elif os.environ.get('TERM', '') in ('', 'dumb', 'unknown'):
        return None
    return stream  # type: ignore[return-value]


def _is_terminal(stream: Any) -> bool:
    # Exactly what Python makes: one that a script has put in its place may keep all it is given.
    return isinstance(stream, io.TextIOWrapper) and not stream.closed and stream.isatty()


class Watch:
    """Sees what is written to the terminal through standard output and standard error."""

    def __init__(self) -> None:
        # When a line was begun that has not ended yet.
        self._unfinished: float | None = None
        self._watched: list[tuple[Any, Any, Write]] = []
        self._input: Any = None
        self._forked = False

    def open(self) -> None:
        """Watch from now on."""
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            if _is_terminal(stream) and all(stream is not one for one, _, _ in self._watched):
                before = vars(stream).get('write')
                write = partial(self.pass_on, stream, stream.write)  # type: ignore[union-attr]
                self._watched.append((stream, before, write))
                stream.write = write  # type: ignore[union-attr, method-assign]
        # It has C write its prompt.
        self._input, builtins.input = builtins.input, self._asked
        _watches.append(self)

    def close(self) -> None:
        """Leave the streams as they were."""
        _watches.remove(self)
        for stream, before, write in reversed(self._watched):
            # Someone else may have come in between, and goes on through what only passes on now.
            if vars(stream).get('write') is not write:
                continue
            if before is None:
                del stream.write
            else:
                stream.write = before
        self._watched = []
        if builtins.input == self._asked:
            builtins.input = self._input

    @property
    def is_open(self) -> bool:
        """Whether it watches."""
        return bool(self._watched)

    def pass_on(self, stream: Any, write: Write, text: str) -> int:
        """Write what someone else writes.

        Args:
            stream: Where to.
            write: What writes there.
            text: What is written.

        Returns:
            The number of characters.
        """
        count = write(text)
        if text:
            self._unfinished = None if text.endswith('\n') else monotonic()
        return count

    def make_way(self) -> None:
        """Clear the bottom for what is about to be written."""

    def enter_fork(self) -> None:
        """Become one of two processes that write to the terminal, and not the one that draws."""
        self._forked = True

    def _asked(self, prompt: Any = '') -> str:
        self.make_way()
        answer = self._input(prompt)
        # Ended by the key that ended the answer.
        self._unfinished = None
        return answer


class Footer(Watch):
    """Keeps lines at the bottom.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__()
        self._stream: TextIO = stream
        # Past all who have put themselves in between: a tracker of experiments may keep what is
        # written.
        self._draw_on: Write = partial(type(stream).write, stream)
        self._lines: list[str] = []
        self._made_for: os.terminal_size | None = None
        self._shown = self._broken = False
        self._lock = threading.RLock()

    def close(self) -> None:
        """Take the lines away, and leave the streams as they were."""
        with self._lock:
            self.make_way()
            self._lines = []
            super().close()

    def size(self) -> os.terminal_size:
        """Return the size of the terminal."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            size = os.terminal_size((0, 0))
        # Some terminals do not know theirs.
        return os.terminal_size((size.columns or 80, size.lines or 24))

    def show(self, lines: Sequence[str], size: os.terminal_size) -> None:
        """Show lines in place of those before.

        Args:
            lines: The lines; each is shorter than the terminal is wide.
            size: The size of the terminal that they were made for.
        """
        with self._lock:
            # One stays free above them.
            room = size.lines - 2
            self._lines, self._made_for = list(lines[-room:] if room > 0 else ()), size
            begun = self._unfinished
            if begun is not None and monotonic() - begun > PATIENCE:
                self._put('\n')
                self._unfinished = None
            if not self._lines:
                self.make_way()
            self._draw()

    def pass_on(self, stream: Any, write: Write, text: str) -> int:
        """Write what someone else writes above the lines."""
        with self._lock:
            # What draws the lines may write nothing, to all effects.
            if not self.is_open or not text:
                return write(text)
            if self._forked and self._lines and self._unfinished is None:
                # The other process does not see this, and draws again sooner or later.
                super().pass_on(stream, write, CLEAR_LATER + text)
                return len(text)
            self.make_way()
            count = super().pass_on(stream, write, text)
            if self._unfinished is None and not self._forked:
                self._draw()
            return count

    def make_way(self) -> None:
        """Clear the lines for what is about to be written."""
        with self._lock:
            if self._shown and not self._forked:
                self._shown = False
                self._put(CLEAR)

    def enter_fork(self) -> None:
        """Become one of two processes that write to the terminal, and not the one that draws."""
        super().enter_fork()
        # It may have been held by a thread that there is only in the other one.
        self._lock = threading.RLock()

    def _draw(self) -> None:
        # With another size they would be cut into more lines than can be cleared.
        fits = self._lines and _watches[-1] is self and self.size() == self._made_for
        if not fits or self._unfinished is not None or self._forked or not self._in_foreground():
            return
        self._shown = True
        # The cursor goes back to the free line, from where all below it can be cleared, even
        # if the terminal has been made narrower.
        below = ''.join(f'\r\n{line}\x1b[K' for line in self._lines)
        self._put(f'\r\x1b[K{below}\x1b[J\x1b[{len(self._lines)}A\r')

    def _put(self, text: str) -> None:
        if self._broken:
            return
        try:
            self._draw_on(text)
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal has gone; training goes on.
            self._broken = True

    def _in_foreground(self) -> bool:
        # In the background, the bottom of the terminal belongs to somebody else.
        try:
            return os.tcgetpgrp(self._stream.fileno()) == os.getpgrp()
        except (AttributeError, OSError, ValueError):
            return True


_watches: list[Watch] = []


def _in_child() -> None:
    for watch in _watches:
        watch.enter_fork()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_in_child)
