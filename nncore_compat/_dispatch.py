"""Telling hooks of events: at those of an iteration, who does nothing there is not asked."""

from __future__ import annotations

from collections.abc import Collection
from operator import is_
from typing import Any

from ._clock import HOOKS
from ._failure import blame
from .hooks.base import Hook, method_for

# The events that come often.
ITERATION = ('before_train_iter', 'after_train_iter', 'before_val_iter', 'after_val_iter')


class Dispatch:
    """Calls hooks at an event, in their order.

    Which of them define an event that comes often is found out when the hooks have changed, and
    after each other event: what a hook defines later, by an assignment, is heard from then on.
    """

    def __init__(self) -> None:
        self._hooks: tuple[Any, ...] = ()
        self._found: dict[str, tuple[tuple[Any, str], ...]] = {}

    def call(self, hooks: Collection[Any], event: str, engine: Any) -> None:
        """Call the hooks that do something at an event.

        Args:
            hooks: The hooks, and whatever else stands between them.
            event: The event.
            engine: What they are called with.
        """
        if engine._clock is not None or event not in ITERATION:
            self._hooks, self._found = (), {}
            _call_each(hooks, event, engine)
            return
        known = self._hooks
        if len(hooks) != len(known) or not all(map(is_, hooks, known)):
            self._hooks, self._found = tuple(hooks), {}
        listening = self._found.get(event)
        if listening is None:
            listening = self._found[event] = tuple(
                (hook, name) for hook in self._hooks if (name := _method(hook, event))
            )
        lengths, engine._lengths = engine._lengths, {}
        hook = None
        try:
            for hook, name in listening:
                getattr(hook, name)(engine)
        except Exception as error:
            blame(engine, error, hook, event)
            raise
        finally:
            engine._lengths = lengths


def _call_each(hooks: Collection[Any], event: str, engine: Any) -> None:
    lengths = engine._lengths
    if event in ITERATION:
        engine._lengths = {}
    hook = None
    try:
        for hook in tuple(hooks):
            # Callbacks of the list do not have these: they are Lightning's to call.
            method = getattr(hook, event, None)
            if method is None:
                continue
            if event == 'after_launch':
                engine._told = tuple(one for one in engine._told if one is not hook)
            if engine._clock is None:
                method(engine)
            else:
                with engine._clock.during(HOOKS, hook.name):
                    method(engine)
            if event == 'before_launch':
                engine._told = (*engine._told, hook)
    except Exception as error:
        blame(engine, error, hook, event)
        raise
    finally:
        engine._lengths = lengths


def _method(hook: Any, event: str) -> str | None:
    if isinstance(hook, Hook):
        return method_for(hook, event)
    return event if hasattr(hook, event) else None
