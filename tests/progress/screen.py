"""A terminal for tests: a pty, and an emulator of others' making at its other end."""

import fcntl
import io
import itertools
import os
import pty
import struct
import sys
import termios
import threading
import time

import pyte


class Screen:
    """A pty, and what can be seen on it.

    Args:
        columns: How wide it is.
        lines: How high it is; what has gone out at the top is kept.
    """

    def __init__(self, columns=150, lines=30):
        self._master, self.slave = pty.openpty()
        self.name = os.ttyname(self.slave)
        self._emulator = pyte.HistoryScreen(columns, lines, history=10000)
        self._stream = pyte.ByteStream(self._emulator)
        self._lock = threading.Lock()
        self._marks = itertools.count()
        self._set_size(columns, lines)
        self._plugged = True
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def resize(self, columns, lines):
        """Make it wider or narrower, which takes nothing away from what is there."""
        self.lines()
        self._set_size(columns, lines)

    def _set_size(self, columns, lines):
        size = struct.pack('HHHH', lines, columns, 0, 0)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, size)
        with self._lock:
            self._emulator.resize(lines, columns)

    def file(self):
        """A stream as Python makes it for standard output on a terminal."""
        raw = open(os.dup(self.slave), 'wb', buffering=0)  # noqa: SIM115
        return io.TextIOWrapper(io.BufferedWriter(raw), 'utf-8', line_buffering=True)

    def take_over(self, monkeypatch, errors=True):
        """Be the terminal of this process."""
        monkeypatch.setattr(sys, 'stdout', self.file())
        if errors:
            monkeypatch.setattr(sys, 'stderr', self.file())
        for name in ('CI', 'NO_COLOR', 'NNCORE_COMPAT_PROGRESS'):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv('TERM', 'xterm-256color')

    def lines(self):
        """All lines that can be seen, or scrolled back to, when all that was written has come."""
        # In order with everything else, and shown nowhere.
        mark = f'mark {next(self._marks)}'
        os.write(self.slave, f'\033]0;{mark}\007'.encode())
        self.wait(lambda: self._emulator.title == mark)
        with self._lock:
            rows = [*self._emulator.history.top]
            rows += [self._emulator.buffer[y] for y in range(self._emulator.lines)]
            width = range(self._emulator.columns)
            found = [''.join(row[x].data for x in width).rstrip() for row in rows]
        while found and not found[-1]:
            found.pop()
        return found

    def wait_for(self, text):
        """Wait until a text can be seen."""
        self.wait(lambda: any(text in line for line in self.lines()))

    def wait(self, condition, limit=30):
        """Wait until a condition holds."""
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, '\n'.join(self.lines())
            time.sleep(0.005)

    def type(self, text):
        """Press keys."""
        os.write(self._master, text.encode())

    def _read(self):
        while self._plugged:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            with self._lock:
                self._stream.feed(data)

    def unplug(self):
        """Have the terminal go away, as when a connection is lost."""
        self._plugged = False
        os.write(self.slave, b' ')
        self._thread.join()
        os.close(self._master)
