"""Calls of writers: one whose disk or network fails does not stop training."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .base import Writer

if TYPE_CHECKING:
    from ...engine import Engine

# What follows from a failure.
_THEN = {
    'open': 'It is left out',
    'write': 'Training goes on, and so do its attempts; further failures are only counted',
    'close': 'What it has written may be incomplete',
    'go_back': 'Its records go on as they are',
    'position': 'A resumed run cannot bring its records back to this checkpoint',
}


class Attempts:
    """Calls writers, tells the first failure of each, and counts the others.

    Args:
        writers: The writers, as they are listed in the hook.
    """

    def __init__(self, writers: Sequence[Writer]) -> None:
        self._writers = writers
        # By the writer's name and the method's.
        self._calls: Counter[tuple[str, str]] = Counter()
        self._failures: Counter[tuple[str, str]] = Counter()
        self._logger: logging.Logger | None = None

    def begin(self, engine: Engine) -> None:
        """Begin to count, and find out whom to tell."""
        self._calls.clear()
        self._failures.clear()
        self._logger = engine.logger

    def call(self, writer: Writer, event: str, *args: Any) -> tuple[bool, Any]:
        """Call a method of a writer.

        Args:
            writer: The writer.
            event: Name of the method.
            *args: Its arguments, the engine first if it takes one.

        Returns:
            Whether it has not failed, and what it returned.

        Raises:
            Exception: What the writer's `survives` does not take for a failure of disk or network.
        """
        engine = args[0] if args else None
        key = self._name(writer), event
        self._calls[key] += 1
        try:
            return True, getattr(writer, event)(*args)
        except Exception as error:
            # Where another error ends the run, that is the one to see.
            ending = event == 'close' and args[0].failure is not None
            if self._logger is None or not (ending or writer.survives(error)):
                raise
            self._failures[key] += 1
            if self._failures[key] == 1:
                when = ''
                if event == 'write' and engine is not None:
                    when = f' after iteration {engine.iter + (engine.mode == "train")}'
                said = f': {error}' if str(error) else ''
                self._logger.warning(
                    f'{key[0]} failed in {event}{when}: {type(error).__name__}{said}. '
                    f'{_THEN[event]}'
                )
            return False, None

    def end(self) -> None:
        """Tell how often writers have failed, where that is not known yet."""
        for (name, event), failures in self._failures.items():
            if event == 'write' and failures > 1 and self._logger is not None:
                self._logger.warning(
                    f'{name} failed in {event} {failures} times out of '
                    f'{self._calls[name, event]}: what it has written is incomplete'
                )
        self._failures.clear()

    def _name(self, writer: Writer) -> str:
        place = next((f'[{i}]' for i, one in enumerate(self._writers) if one is writer), '')
        return f'{type(writer).__name__} (EventWriterHook.writers{place})'
