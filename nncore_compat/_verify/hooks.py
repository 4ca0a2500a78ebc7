"""Having the hooks of an engine recorded, each call of a method that does something."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

from .recorder import Recorder

EVENTS = (
    'before_launch', 'after_launch', 'before_stage', 'after_stage',
    'before_epoch', 'after_epoch', 'before_iter', 'after_iter',
    'before_train_epoch', 'after_train_epoch', 'before_val_epoch', 'after_val_epoch',
    'before_train_iter', 'after_train_iter', 'before_val_iter', 'after_val_iter',
)  # fmt: skip
# What nncore gives hooks for events that they do not define.
_NONE = '_default_hook'


class HookWatch:
    """Wraps the methods that hooks define, in their classes: who calls them is left alone.

    Args:
        recorder: Where calls are written down.
        base: The class of hooks that do nothing.
        package: The package whose hooks are the engine's own.
        known: Of these, by name, the events that nncore's define; None in nncore itself. Ours do
            more at times, for what nncore does not have.
    """

    def __init__(
        self,
        recorder: Recorder,
        base: type,
        package: str,
        known: dict[str, list[str]] | None,
    ) -> None:
        self._recorder = recorder
        self._base = base
        self._package = package
        self._known = known
        self._done: set[type] = set()

    def wrap(self, hooks: Any) -> None:
        """Have calls of these hooks recorded from now on."""
        for hook in hooks:
            for kind in type(hook).__mro__:
                if kind not in self._done and kind not in (self._base, object):
                    self._done.add(kind)
                    self._wrap_class(kind)
            for event in EVENTS:
                function = vars(hook).get(event)
                if callable(function) and not (
                    hasattr(function, 'recorded') or getattr(function, '__name__', '') == _NONE
                ):
                    self._wrap_own(hook, event, function)

    def definitions(self, kinds: Any) -> dict[str, list[str]]:
        """Return the events that the engine's own hooks define, by the name of their class."""
        return {
            kind.__name__: [
                event
                for event in EVENTS
                if any(event in vars(one) for one in kind.__mro__ if one is not self._base)
            ]
            for kind in kinds
            if self._own(kind)
        }

    def _own(self, kind: type) -> bool:
        return kind.__module__.partition('.')[0] == self._package

    def _wrap_class(self, kind: type) -> None:
        for event in EVENTS:
            function = vars(kind).get(event)
            if isinstance(function, FunctionType):
                setattr(kind, event, self._recorded(kind, event, function))

    def _recorded(self, kind: type, event: str, function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def method(hook: Any, engine: Any, *args: Any, **kwargs: Any) -> Any:
            call = functools.partial(function, hook, engine, *args, **kwargs)
            if self._own(kind) and not self._counts(hook, event):
                return call()
            return self._during(hook, event, engine, call)

        method.recorded = True  # type: ignore[attr-defined]
        return method

    def _wrap_own(self, hook: Any, event: str, function: Callable[..., Any]) -> None:
        if self._own(type(hook)) and not self._counts(hook, event):
            return

        @functools.wraps(function)
        def closure(engine: Any, *args: Any, **kwargs: Any) -> Any:
            call = functools.partial(function, engine, *args, **kwargs)
            return self._during(hook, event, engine, call)

        closure.recorded = True  # type: ignore[attr-defined]
        setattr(hook, event, closure)

    def _counts(self, hook: Any, event: str) -> bool:
        if self._known is None:
            return True
        if event == 'after_launch' and sys.exc_info()[0] is not None:
            # When a launch has failed, ours close their files.
            return False
        names = [kind.__name__ for kind in type(hook).__mro__]
        # What functions a ClosureHook has is the script's doing.
        return 'ClosureHook' in names or any(event in self._known.get(n, ()) for n in names)

    def _during(self, hook: Any, event: str, engine: Any, call: Callable[[], Any]) -> Any:
        recorder, key = self._recorder, (id(hook), 'hook')
        if recorder.stopped or key in recorder.inside:
            # A method that calls that of its base class is one.
            return call()
        recorder.inside.add(key)
        try:
            recorder.hook(engine, hook, event, 'begin')
            result = call()
            recorder.hook(engine, hook, event, 'end')
            return result
        finally:
            recorder.inside.discard(key)
