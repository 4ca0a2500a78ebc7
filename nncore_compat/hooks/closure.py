"""A hook made of plain functions."""

from collections.abc import Callable, Sequence
from typing import Any

from ..builder import HOOKS
from ._checks import check_events
from .base import Hook

Closure = Callable[[Any], Any]


@HOOKS.register()
class ClosureHook(Hook):
    """Calls functions on events.

    All of them have the same name, so the engine keeps the one that was registered last.

    Args:
        name: The event, or a list of events.
        func: The function, or a list of as many functions; each is called with the engine.

    Raises:
        ValueError: For an unknown event, or lists of different lengths.
        TypeError: For something that cannot be called.

    Examples:
        >>> hook = ClosureHook('after_train_epoch', lambda engine: print('epoch', engine.epoch + 1))
        >>> Engine(model, loaders, stages=stages, hooks=[hook]).launch()
        epoch 1
        epoch 2
    """

    def __init__(self, name: Sequence[str] | str, func: Sequence[Closure] | Closure) -> None:
        super().__init__()
        names: list[Any] = list(name) if isinstance(name, (list, tuple)) else [name]
        if isinstance(name, (list, tuple)) and isinstance(func, (list, tuple)):
            funcs: list[Any] = list(func)
        else:
            funcs = [func] * len(names)

        check_events(names, 'ClosureHook.name')
        if len(names) != len(funcs):
            raise ValueError(
                'ClosureHook takes one function for each event, '
                f'but got {len(names)} events and {len(funcs)} functions'
            )
        for event, closure in zip(names, funcs, strict=True):
            if not callable(closure):
                raise TypeError(
                    f'ClosureHook.func for {event!r} must be a function that takes the engine, '
                    f'but got {closure!r}'
                )
            setattr(self, event, closure)
