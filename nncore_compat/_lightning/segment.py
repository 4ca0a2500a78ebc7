"""Lightning's events as nncore's: hooks at the moments that both sides have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, Trainer

from .._dispatch import Dispatch
from ..hooks import Hook
from . import private, reentry
from .guards import callers_grad_mode, passes_stop_iteration
from .held import EngineReference
from .module import StagesModule

if TYPE_CHECKING:
    pass


class Segment(Callback):
    """Calls hooks that stand side by side in the list, at the events that both sides have.

    Where Lightning callbacks stand between hooks, each of these events goes through the one list
    in its order. All else that happens at them is the first segment's.

    ======================================  =================================================
    nncore                                  Lightning
    ======================================  =================================================
    before_launch                           on_train_start
    before_train_epoch                      on_train_epoch_start
    before_train_iter, after_train_iter     on_train_batch_start, on_train_batch_end
    before_val_epoch                        on_validation_start
    before_val_iter, after_val_iter         on_validation_batch_start, on_validation_batch_end
    after_val_epoch                         on_validation_epoch_end
    after_launch                            on_train_end
    ======================================  =================================================

    Args:
        module: What the Trainer runs.
        hooks: The hooks; all of the engine's if None.
    """

    engine = EngineReference()

    def __init__(self, module: StagesModule, hooks: Iterable[Hook] | None = None) -> None:
        self.module = module
        self.engine = module.engine
        self.hooks = None if hooks is None else tuple(hooks)
        self._dispatch = Dispatch()

    @property
    def grad_enabled(self) -> bool:
        """The grad mode of the launch."""
        return self.module.grad_enabled

    def _call(self, event: str) -> None:
        engine = self.engine
        if self.hooks is None:
            engine._call_hook(event)
        else:
            self._dispatch.call(self.hooks, event, engine)

    @callers_grad_mode
    @passes_stop_iteration
    def _call_in_validation(self, event: str) -> None:
        self._call(event)

    @passes_stop_iteration
    def on_train_start(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        engine = self.engine
        if module.launching:
            self._call('before_launch')
        # A hook may have resumed.
        reentry.start(trainer, engine)
        left = engine.stage < engine.max_stages
        trainer.fit_loop.max_epochs = min(module.max_epochs, engine.epoch + left)

    @passes_stop_iteration
    def on_train_epoch_start(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        self._call('before_train_epoch')
        private.resize_training(trainer, len(module.views['train']))

    @passes_stop_iteration
    def on_train_batch_start(  # type: ignore[override]
        self, trainer: Trainer, module: StagesModule, batch: Any, batch_idx: int
    ) -> None:
        if not module.whole_iter:
            self._call('before_train_iter')

    @passes_stop_iteration
    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, module: StagesModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not module.whole_iter:
            self._call('after_train_iter')

    def on_validation_start(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        if not self.engine._overrides('val_epoch'):
            self._call_in_validation('before_val_epoch')

    def on_validation_batch_start(  # type: ignore[override]
        self,
        trainer: Trainer,
        module: StagesModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not module.whole_iter:
            self._call_in_validation('before_val_iter')

    def on_validation_batch_end(  # type: ignore[override]
        self,
        trainer: Trainer,
        module: StagesModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not module.whole_iter:
            self._call_in_validation('after_val_iter')

    def on_validation_epoch_end(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        if not self.engine._overrides('val_epoch'):
            with module.recorded():
                self._call_in_validation('after_val_epoch')

    @passes_stop_iteration
    def on_train_end(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        if module.ending:
            self._call('after_launch')
