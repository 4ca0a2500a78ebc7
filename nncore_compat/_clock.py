"""Where the time of a launch goes, by phase."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

OTHER = 'other'
HOOKS = 'hooks'
# What is inside these is theirs.
WHOLE = ('validation', 'testing')
PHASES = ('data', 'forward', 'backward', 'step', HOOKS, *WHOLE, 'checkpoint', OTHER)


class Clock:
    """Adds up seconds by phase; a phase within another one takes its time away from that.

    It is the time that this process takes: a device may still be at work when the process goes on
    to the next phase, and the phase in which it is waited for has the time.
    """

    def __init__(self) -> None:
        self._seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._stack = [(OTHER, '')]
        self._since = time.perf_counter()

    @contextlib.contextmanager
    def during(self, phase: str, name: str = '') -> Iterator[None]:
        """Count what is done inside for a phase.

        Args:
            phase: One of `PHASES`.
            name: Who does it, within the phase.
        """
        if self._stack[-1][0] in WHOLE:
            yield
            return
        self._turn()
        self._stack.append((phase, name))
        try:
            yield
        finally:
            self._turn()
            self._stack.pop()

    def timed(self, phase: str, function: Callable[..., Any], name: str = '') -> Callable[..., Any]:
        """Return a function that counts for a phase.

        Args:
            phase: One of `PHASES`.
            function: What it does.
            name: Who does it, within the phase.
        """

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.during(phase, name):
                return function(*args, **kwargs)

        return call

    def by_phase(self) -> dict[str, float]:
        """Return the seconds of each phase; together they are all that have passed."""
        self._turn()
        found = dict.fromkeys(PHASES, 0.0)
        for (phase, _), seconds in self._seconds.items():
            found[phase] += seconds
        return {phase: round(seconds, 6) for phase, seconds in found.items()}

    def by_name(self, phase: str) -> dict[str, float]:
        """Return the seconds of everyone within a phase."""
        self._turn()
        known = self._seconds.items()
        return {name: round(seconds, 6) for (kind, name), seconds in known if kind == phase}

    def _turn(self) -> None:
        now = time.perf_counter()
        self._seconds[self._stack[-1]] += now - self._since
        self._since = now
