"""Timing what Lightning calls itself: the methods of callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback

from .._clock import HOOKS, Clock
from .audience import does_nothing

EVENTS = ('setup', 'teardown', *(name for name in vars(Callback) if name.startswith('on_')))
_ABSENT = object()


class TimedCallbacks:
    """Puts functions that time them in place of methods of callbacks, each in its own object.

    Args:
        clock: The clock, which counts them as hooks.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timed: list[tuple[Callback, str, Any, Any]] = []

    def follow(self, callbacks: Mapping[str, Callback]) -> None:
        """Time these callbacks from now on, and no others.

        Args:
            callbacks: The callbacks by name.
        """
        self.end()
        for name, one in callbacks.items():
            own = vars(one)
            for event in EVENTS:
                method = getattr(one, event)
                if not does_nothing(method, event):
                    timed = self._clock.timed(HOOKS, method, name)
                    self._timed.append((one, event, own.get(event, _ABSENT), timed))
                    own[event] = timed

    def end(self) -> None:
        """Give the callbacks back their methods."""
        for one, event, had, timed in self._timed:
            own = vars(one)
            if own.get(event) is not timed:
                # Someone has given it another one since.
                continue
            if had is _ABSENT:
                del own[event]
            else:
                own[event] = had
        self._timed.clear()
