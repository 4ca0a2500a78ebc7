"""Which signals end a training, and whose they are."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

# SIGUSR1 is how Slurm and others announce the end of a job's time. Whatever has started the run,
# one that nobody handles would kill it.
SIGNALS = [
    getattr(signal, name) for name in ('SIGTERM', 'SIGINT', 'SIGUSR1') if hasattr(signal, name)
]
WARNING = getattr(signal, 'SIGUSR1', None)

# One Ctrl-C or scancel may come twice: from the terminal or Slurm, and handed on by a launcher.
SAME = 1.0


class Count:
    """Tells a second signal from the first one."""

    def __init__(self) -> None:
        self.first: int | None = None
        self._since = 0.0

    def is_second(self, signum: int) -> bool:
        """Count a signal."""
        now = time.monotonic()
        # Slurm ends with SIGTERM what it has warned with SIGUSR1: there is time left to save.
        if self.first is None or self.first == WARNING != signum:
            self.first, self._since = signum, now
            return False
        return now - self._since >= SAME


def free() -> dict[int, Any]:
    """Return the signals that nobody handles, and the handlers that Python has for them."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    # Whoever sits at the prompt wants to have it back.
    signals = [one for one in SIGNALS if one != signal.SIGINT or not hasattr(sys, 'ps1')]
    return {signum: signal.getsignal(signum) for signum in signals if is_free(signum)}


def is_free(signum: int) -> bool:
    """Tell whether a signal does what it does by default."""
    return signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler)


@contextlib.contextmanager
def handed_on(find: Callable[[], Iterable[int]]) -> Iterator[None]:
    """Hand signals on to processes that do the work, while this one waits for them.

    Ctrl-C reaches them anyway, and ends the waiting.

    Args:
        find: Returns the ids of the processes; signals do what they always do while there is none.
    """
    handlers = free()
    handlers.pop(signal.SIGINT, None)

    def handle(signum: int, frame: FrameType | None) -> None:
        found = list(find())
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
        if not found:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    for signum in handlers:
        signal.signal(signum, handle)
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
