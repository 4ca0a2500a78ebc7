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

    def look(self) -> None:
        """Find all methods anew."""
        self._callbacks = list(self._trainer.callbacks)
        self._methods = {}

    def of(self, event: str) -> tuple[Callable[..., Any], ...]:
        """Return the methods that do something at an event, in the order of the list.

        Args:
            event: The name of a method of ``Callback``.
        """
        callbacks, known = self._trainer.callbacks, self._callbacks
        if len(callbacks) != len(known) or not all(map(is_, callbacks, known)):
            self.look()
        methods = self._methods.get(event)
        if methods is None:
            methods = self._methods[event] = tuple(
                getattr(one, event) for one in self._callbacks if _overrides(one, event)
            )
        return methods


def _overrides(callback: Callback, event: str) -> bool:
    own = getattr(type(callback), event, None) is not getattr(Callback, event)
    return own or event in vars(callback)
