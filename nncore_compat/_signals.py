"""SIGTERM, SIGINT and SIGUSR1 while training: stop where it can be resumed."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

from . import _agreement, _handlers, _shield, comm
from .hooks import CheckpointHook

if TYPE_CHECKING:
    from .engine import Engine

# How long the main thread has to end the process at a second signal, and a thread to end itself.
PATIENCE = 1.0
# How long it has to come to the end of an iteration when nothing can be saved.
GONE = 5.0
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
        self._count = _handlers.Count()
        self._thread: threading.Thread | None = None
        self._over = False

    def begin(self, engine: Engine) -> None:
        """Listen from now on; called in all processes of the run.

        Args:
            engine: Its ``iter`` is the number of iterations that are done.
        """
        if checkpoint_hook(engine) is None:
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
        self._handlers = _handlers.free()
        if self._handlers or self._agreement is not None:
            self._receiver, self._sender = socket.socketpair()
            self._sender.setblocking(False)
            self._thread = threading.Thread(target=self._watch, name='signals', daemon=True)
            self._thread.start()
        if self._handlers:
            self._take_over()
            _shield.put_on(engine.data_loaders, self._handlers)

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

    def due_alone(self) -> int | None:
        """Tell whether the run may stop anywhere, as there is no other process.

        Returns:
            The signal, or None.
        """
        return self._signum if self._asked and self._agreement is None else None

    def end(self) -> None:
        """Give the handlers back, and stop listening."""
        self._give_back()
        if self._engine is not None:
            _shield.take_off(self._engine.data_loaders)
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
        count, said = _handlers.Count(), False
        while not self._over:
            ready, _, _ = select.select([self._receiver, *links], [], [])
            if self._receiver in ready:
                # All signals that Python handles are written to the socket.
                for signum in self._receiver.recv(64):
                    if signum in self._handlers and count.is_second(signum):
                        self._end_unless_ended(signum, PATIENCE)
            if agreement is not None:
                for link in ready:
                    if link in links:
                        agreement.read(link)
                if count.first is not None:
                    agreement.ask(count.first)
                if agreement.lost or agreement.target is not None:
                    self._settled.set()
            lost = agreement is not None and agreement.lost
            if count.first is not None and (agreement is None or lost):
                self._note(count.first)
            if lost and self._signum is not None:
                # The main thread may wait for one that is gone, as long as NCCL lets it.
                self._end_unless_ended(self._signum, GONE)
            elif self._asked and not said:
                said = True
                # Not in the handler, which may have interrupted a handler of the logger's.
                logger.warning(
                    f'{_name(self._signum)}: saving a checkpoint after this iteration; again to '
                    'end at once'
                )
        # Not at a second signal.
        if self._agreement is not None:
            self._agreement.leave()

    def _end_unless_ended(self, signum: int, patience: float) -> None:
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if self._over:
                return
            time.sleep(0.05)
        os._exit(128 + signum)


def checkpoint_hook(engine: Engine) -> Any:
    """Return the hook that saves when the run is to stop, None if there is no such."""
    hooks = [hook for hook in engine.hooks.values() if isinstance(hook, CheckpointHook)]
    return hooks[0] if hooks else None


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
