"""The engine's one list of hooks and callbacks as the callbacks of a Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelSummary, ProgressBar, Timer

from ..hooks import Hook
from . import progress
from .averages import Averages
from .callback import FirstSegment
from .held import EngineReference
from .loggers import prepare
from .module import StagesModule
from .requirements import (
    give_logger,
    refuse_switched_off,
    refuse_unseen_monitor,
    validates,
)
from .segment import Segment
from .timing import TimedCallbacks

if TYPE_CHECKING:
    from ..engine import Engine

# A Trainer makes one of these only where the user has none.
DEFAULTS = (Checkpoint, ModelSummary, ProgressBar, Timer)


class Arrangement:
    """Keeps ``trainer.callbacks`` in the order of ``engine.hooks``, for one fit.

    The list is cut where callbacks stand: hooks, callback, hooks, ..., and last what the Trainer
    had already. Without callbacks that is one segment with all hooks.

    Args:
        engine: The engine.
        trainer: Its Trainer.
        module: What the Trainer runs.
        settings: The user's arguments of the Trainer.
        guest: What makes another Trainer fit for the engine, and has the first turn in it.
    """

    engine = EngineReference()

    def __init__(
        self,
        engine: Engine,
        trainer: Trainer,
        module: StagesModule,
        settings: Mapping[str, Any],
        guest: Callback | None = None,
    ) -> None:
        self.engine = engine
        self.trainer: Any = trainer
        self.module = module
        self.settings = settings
        self._made: list[Callback] = []
        self._guest = guest
        self.first = FirstSegment(module)
        self._joined: list[Callback] = []
        self._running = False
        self._timed: TimedCallbacks | None = None

    def check(self, callback: Any) -> None:
        """Refuse a callback that needs what the user has switched off, or a writer's logger.

        Raises:
            KeyError, TypeError, ValueError: It does, or there is no such logger.
        """
        prepare(callback)
        if isinstance(callback, Callback):
            refuse_switched_off(callback, self.settings)

    def begin(self) -> None:
        """Arrange the list for a fit.

        Raises:
            ValueError: A callback cannot work in it.
        """
        self._made = [one for one in self.trainer.callbacks if one is not self._guest]
        clock = self.engine._clock
        self._timed = None if clock is None else TimedCallbacks(clock)
        self._arrange()
        for callback in self._joined:
            self.check(callback)
            refuse_unseen_monitor(callback, self.engine)
        self._prepare()
        self.module.launching, self.module.ending = True, False
        # Callbacks that monitor wait for validations; without any, for the ends of epochs.
        never = bool(self._joined) and not validates(self.engine)
        self.module.put_off_validation(self.trainer, never)
        self._running = True

    def end(self) -> None:
        """Let changes of the list wait for the next fit."""
        self._running = False
        if self._timed is not None:
            self._timed.end()

    def follow(self) -> None:
        """Bring a running fit up to date with the list.

        The event that is running goes on over the list as it was. A callback that has come is told
        what it has missed (``setup``, ``on_fit_start``, ``on_train_start``) and takes part from
        the next event; one that has gone is torn down.
        """
        if not self._running:
            return
        before = self._joined
        self._arrange()
        self._prepare()
        for callback in self._joined:
            if not _among(callback, before):
                self._welcome(callback)
        for callback in before:
            if not _among(callback, self._joined):
                callback.teardown(self.trainer, self.module, stage='fit')
        progress.follow(self.engine._run)

    def _welcome(self, callback: Callback) -> None:
        callback.log = self.module.log  # type: ignore[attr-defined]
        callback.log_dict = self.module.log_dict  # type: ignore[attr-defined]
        for event in self.first.reached:
            arguments = {'stage': 'fit'} if event == 'setup' else {}
            getattr(callback, event)(self.trainer, self.module, **arguments)

    def _prepare(self) -> None:
        give_logger(self.trainer, self._joined)
        monitored = any(getattr(one, 'monitors', None) for one in self.engine.hooks.values())
        wanted = bool(self._joined or self._made or self.trainer.loggers or monitored)
        if not wanted:
            self.module.averages = None
        elif self.module.averages is None:
            self.module.averages = Averages()

    def _arrange(self) -> None:
        callbacks: list[Callback] = [self.first]
        joined: list[Callback] = []
        members: dict[Callback, list[Hook]] = {self.first: []}
        for one in self.engine.hooks.values():
            if not isinstance(one, Hook):
                callbacks.append(one)
                joined.append(one)
                continue
            if callbacks[-1] not in members:
                callbacks.append(Segment(self.module))
                members[callbacks[-1]] = []
            members[callbacks[-1]].append(one)
        for segment, hooks in members.items():
            # One segment has whatever hooks there are: a script may change the list by hand.
            segment.hooks = tuple(hooks) if joined else None  # type: ignore[attr-defined]
        self._joined = joined
        self.trainer.callbacks = [*callbacks, *self._others()]
        if self._guest is not None:
            self.trainer.callbacks.insert(0, self._guest)
        if self._timed is not None:
            named = self.engine.hooks.items()
            self._timed.follow({k: one for k, one in named if not isinstance(one, Hook)})

    def _others(self) -> list[Callback]:
        if self._guest is not None:
            return self._made
        taken = tuple(k for k in DEFAULTS if any(isinstance(one, k) for one in self._joined))
        return [one for one in self._made if not isinstance(one, taken)]


def _among(callback: Callback, others: list[Callback]) -> bool:
    return any(callback is other for other in others)
