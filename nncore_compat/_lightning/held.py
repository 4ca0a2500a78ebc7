"""The engine that an object of a run works for, without being kept alive by it."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..engine import Engine


class EngineReference:
    """An attribute that holds an engine weakly.

    The engine holds its run: held in return, an engine that a script lets go of would stay, with
    its model and data, until the garbage collector comes by. And loaders with persistent workers
    must not be left to that one: it ends the queues before the workers have been told to end, so
    that each of them is waited for in vain, for five seconds.
    """

    def __get__(self, obj: Any, owner: type) -> Engine:
        try:
            engine = obj.__dict__['engine_reference']()
        except (KeyError, TypeError):
            # A copy of the object, which was made for something else.
            return None  # type: ignore[return-value]
        if engine is None:
            raise ReferenceError('the engine of this run is gone: keep it for as long as it runs')
        return engine

    def __set__(self, obj: Any, engine: Engine) -> None:
        # Not by setattr, which modules make slow.
        vars(obj)['engine_reference'] = weakref.ref(engine)
