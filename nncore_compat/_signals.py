"""SIGTERM, SIGINT and SIGUSR1 while training: stop where it can be resumed."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

from . import _agreement, comm
from .hooks import CheckpointHook

if TYPE_CHECKING:
    from .engine import Engine

# SIGUSR1 is how Slurm and others announce the end of a job's time. Whatever has started the run,
# one that nobody handles would kill it.
SIGNALS = [
    getattr(signal, name) for name in ('SIGTERM', 'SIGINT', 'SIGUSR1') if hasattr(signal, name)
]
WARNING = getattr(signal, 'SIGUSR1', None)

# One Ctrl-C or scancel may come twice: from the terminal or Slurm, and handed on by a launcher.
SAME = 1.0
# How long the main thread has to end the process at a second signal, and a thread to end itself.
PATIENCE = 1.0
# How long processes wait for each other.
LIMIT = 20.0


class StopRequests:
    """Learns that the run is to stop, and after which iteration.

    The first signal is noted; a second one ends the process at once, with what its signal does by
    default. Handlers are taken over only where there are Python's own, and if there is a
    CheckpointHook; else signals do what they always do.

    Python's handlers run when the main thread comes back to the interpreter, but a socket hears of
    signals at once. A thread that waits at that socket ends the process where the main thread does
    not come back; in several processes it speaks with the others.
    """

    def __init__(self) -> None:
        # The one thing that is looked at in every iteration.
        self._asked = False
        self._signum: int | None = None
        self._engine: Any = None
        self._agreement: _agreement.Agreement | None = None
        self._settled = threading.Event()
        self._handlers: dict[int, Any] = {}
        self._old_fd: int | None = None
        self._count = _Count()
        self._thread: threading.Thread | None = None
        self._over = False

    def begin(self, engine: Engine) -> None:
        """Listen from now on; called in all processes of the run.

        Args:
            engine: Its ``iter`` is the number of iterations that are done.
        """
        if not any(isinstance(hook, CheckpointHook) for hook in engine.hooks.values()):
            return
        self._engine = engine
        if comm.get_world_size() > 1:
            self._agreement = _agreement.meet(self._note, lambda: engine.iter)
            if self._agreement is None:
                engine.logger.warning(
                    'The processes cannot reach each other beside their process group (MASTER_ADDR '
                    f'is {os.environ.get("MASTER_ADDR")!r}): signals end them without a checkpoint'
                )
                return
        self._handlers = _free_signals()
        if self._handlers or self._agreement is not None:
            self._receiver, self._sender = socket.socketpair()
            self._sender.setblocking(False)
            self._thread = threading.Thread(target=self._watch, name='signals', daemon=True)
            self._thread.start()
        if self._handlers:
            self._take_over()

    def due(self, iterations: int) -> int | None:
        """Tell whether the run is to stop here.

        Args:
            iterations: How many are done.

        Returns:
            The signal, or None.

        Raises:
            SystemExit: It is, but other processes do not answer, so that nothing can be saved.
        """
        return self._decide(iterations) if self._asked else None

    def end(self) -> None:
        """Give the handlers back, and stop listening."""
        self._give_back()
        if self._thread is not None:
            self._over = True
            self._sender.send(b'\0')
            self._thread.join(PATIENCE + _agreement.FAREWELL)
            self._receiver.close()
            self._sender.close()
        self._thread = self._agreement = self._engine = None

    def late(self) -> int | None:
        """Return the signal that came when no iteration was left to stop after."""
        return self._signum or self._count.first

    def _decide(self, iterations: int) -> int | None:
        if self._agreement is None:
            return self._signum
        if not self._settled.wait(LIMIT) or self._agreement.target is None:
            self._engine.logger.error(
                f'{_name(self._signum)}: other processes do not answer, ending without a checkpoint'
            )
            raise SystemExit(128 + (self._signum or 0))
        return self._signum if iterations >= self._agreement.target else None

    def _take_over(self) -> None:
        global _listening
        _listening = self
        old = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        if old == -1:
            self._old_fd = old
        else:
            # An event loop's.
            signal.set_wakeup_fd(old)
        for signum in self._handlers:
            signal.signal(signum, self._handle)

    def _give_back(self) -> None:
        global _listening
        if _listening is not self:
            return
        for signum, handler in self._handlers.items():
            if signal.getsignal(signum) == self._handle:
                signal.signal(signum, handler)
        if self._old_fd is not None:
            signal.set_wakeup_fd(self._old_fd)
        _listening = None

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._count.is_second(signum):
            self._give_back()
            # The thread is not to take leave of the others.
            self._over, self._agreement = True, None
            default = self._handlers[signum]
            if callable(default):
                default(signum, frame)
            os.kill(os.getpid(), signum)
        if self._old_fd is None:
            self._sender.send(bytes([signum]))
        if self._agreement is None:
            self._note(signum)

    def _note(self, signum: int) -> None:
        if self._signum is None:
            self._signum = signum
        self._asked = True

    def _watch(self) -> None:
        agreement, logger = self._agreement, self._engine.logger
        links = [] if agreement is None else agreement.links
        count, said = _Count(), False
        while not self._over:
            ready, _, _ = select.select([self._receiver, *links], [], [])
            if self._receiver in ready:
                # All signals that Python handles are written to the socket.
                for signum in self._receiver.recv(64):
                    if signum in self._handlers and count.is_second(signum):
                        self._end_unless_ended(signum)
            if agreement is not None:
                for link in ready:
                    if link in links:
                        agreement.read(link)
                if count.first is not None:
                    agreement.ask(count.first)
                if agreement.lost or agreement.target is not None:
                    self._settled.set()
            if count.first is not None and (agreement is None or agreement.lost):
                self._note(count.first)
            if self._asked and not said:
                said = True
                # Not in the handler, which may have interrupted a handler of the logger's.
                logger.warning(
                    f'{_name(self._signum)}: saving a checkpoint after this iteration; again to '
                    'end at once'
                )
        # Not at a second signal.
        if self._agreement is not None:
            self._agreement.leave()

    def _end_unless_ended(self, signum: int) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self._over:
                return
            time.sleep(0.05)
        os._exit(128 + signum)


class _Count:
    """Tells a second signal from the first one."""

    def __init__(self) -> None:
        self.first: int | None = None
        self._since = 0.0

    def is_second(self, signum: int) -> bool:
        now = time.monotonic()
        # Slurm ends with SIGTERM what it has warned with SIGUSR1: there is time left to save.
        if self.first is None or self.first == WARNING != signum:
            self.first, self._since = signum, now
            return False
        return now - self._since >= SAME


def _free_signals() -> dict[int, Any]:
    """Return the signals that nobody handles, and the handlers that Python has for them."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    # Whoever sits at the prompt wants to have it back.
    signals = [one for one in SIGNALS if one != signal.SIGINT or not hasattr(sys, 'ps1')]
    handlers = {signum: signal.getsignal(signum) for signum in signals}
    defaults = (signal.SIG_DFL, signal.default_int_handler)
    return {signum: handler for signum, handler in handlers.items() if handler in defaults}


def _name(signum: int | None) -> str:
    return signal.Signals(signum).name if signum else 'A signal'


# Whose handlers there are.
_listening: StopRequests | None = None


def _in_child() -> None:
    # A forked process is no part of the run, and shares the socket.
    if _listening is not None:
        _listening._give_back()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_in_child)
