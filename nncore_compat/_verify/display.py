"""What is going on, while it is: one line that changes on a terminal, else a line per run."""

from __future__ import annotations

import shutil
import sys
import time

from .trace import Trace


class Display:
    """Shows what a process is doing.

    Args:
        count: How many training batches it is given.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._live = sys.stdout.isatty()
        self._label = ''
        self._begin = 0.0

    def begin(self, label: str) -> None:
        """Begin a run.

        Args:
            label: What it is called.
        """
        self._label, self._begin = label, time.monotonic()
        if not self._live:
            print(f'{label}: running', flush=True)

    def update(self, trace: Trace) -> None:
        """Show how far it is."""
        if self._live:
            self._write(f'{self._label}: {self._doing(trace)}')

    def end(self, trace: Trace) -> None:
        """End the run."""
        text = f'{self._label}: {plural(trace.trained, "iteration")}, {self._seconds()}'
        if self._live:
            self._write('')
        print(text, flush=True)

    def clear(self) -> None:
        """Take the line away that changes."""
        if self._live:
            self._write('')

    def _doing(self, trace: Trace) -> str:
        if 'end' in trace.notes:
            return f'iteration {trace.trained}, ending, {self._seconds()}'
        if not trace.records:
            return f'starting, {self._seconds()}'
        if trace.mode in ('val', 'test'):
            name = 'validation' if trace.mode == 'val' else 'test'
            return f'iteration {trace.trained}, {name}, batch {trace.batches}, {self._seconds()}'
        return f'iteration {trace.trained} of {self._count}, {self._seconds()}'

    def _seconds(self) -> str:
        return f'{time.monotonic() - self._begin:.0f} s'

    def _write(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        sys.stdout.write(f'\r{text[:width]}\033[K')
        sys.stdout.flush()


def plural(number: int, word: str) -> str:
    """Return '1 iteration', '2 iterations'."""
    return f'{number} {word}' if number == 1 else f'{number} {word}s'
