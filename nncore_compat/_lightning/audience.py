"""Which callbacks of a Trainer listen to an event."""

from __future__ import annotations

from collections.abc import Callable
from operator import is_
from typing import Any

from lightning.pytorch import Callback


class Audience:
    """Finds the methods to call at an event, once for each list of callbacks.

    A method that a callback gets while an epoch runs is heard from the next one on.

    Args:
        trainer: The Trainer. Its list may be changed or replaced at any time.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._callbacks: list[Callback] = []
        self._methods: dict[str, tuple[Callable[..., Any], ...]] = {}
        self._heard: dict[tuple[str, ...], bool] = {}

    def look(self) -> None:
        """Find all methods anew."""
        self._callbacks = list(self._trainer.callbacks)
        self._methods, self._heard = {}, {}

    def of(self, event: str) -> tuple[Callable[..., Any], ...]:
        """Return the methods that do something at an event, in the order of the list.

        Args:
            event: The name of a method of ``Callback``.
        """
        self._follow()
        methods = self._methods.get(event)
        if methods is None:
            methods = self._methods[event] = tuple(
                method
                for one in self._callbacks
                # Asked for as they will be called: some make their methods as they go.
                if not does_nothing(method := getattr(one, event), event)
            )
        return methods

    def any(self, events: tuple[str, ...]) -> bool:
        """Tell whether a callback does something at one of several events."""
        self._follow()
        if events not in self._heard:
            self._heard[events] = any(map(self.of, events))
        return self._heard[events]

    def _follow(self) -> None:
        callbacks, known = self._trainer.callbacks, self._callbacks
        if len(callbacks) != len(known) or not all(map(is_, callbacks, known)):
            self.look()


def does_nothing(method: Any, event: str) -> bool:
    """Tell whether a method of a callback is the one that Lightning's base class has.

    Args:
        method: The method.
        event: Its name.
    """
    return getattr(method, '__func__', None) is getattr(Callback, event)
