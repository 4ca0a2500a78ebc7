"""Lightning's events as nncore's: who calls which hook, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, Trainer

from .. import _phases
from . import private
from .module import StagesModule, passes_stop_iteration
from .strategy import binds_optimizer, follow_freezing

if TYPE_CHECKING:
    from ..engine import Engine


class Dispatcher(Callback):
    """Calls the engine's hooks, phase by phase.

    ================================================  ==========================================
    nncore                                            Lightning
    ================================================  ==========================================
    before_launch                                     on_train_start
    after_stage of the stage before, new optimizer,   on_train_epoch_start
    before_stage, before_train_epoch
    before_train_iter, after_train_iter               on_train_batch_start, on_train_batch_end
    after_train_epoch, whether to validate            the module's on_train_batch_end
    before_val_epoch                                  the module's on_validation_start
    before_val_iter, after_val_iter                   validation_step
    after_val_epoch                                   the module's on_validation_epoch_end
    last after_stage, after_launch                    on_train_end
    ================================================  ==========================================

    Args:
        engine: The engine, which keeps all state but whether a stage and an epoch are open.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._launched = self._stage_open = False
        self._epoch = 0

    def on_fit_start(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        private.start_at(trainer, self.engine.epoch, self.engine.iter)
        follow_freezing(trainer.strategy)

    @passes_stop_iteration
    def on_train_start(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        if not self._launched:
            self._launched = True
            self.engine._call_hook('before_launch')
        # A hook may have resumed.
        private.start_at(trainer, self.engine.epoch, self.engine.iter)
        left = self.engine.stage < self.engine.max_stages
        trainer.fit_loop.max_epochs = min(module.max_epochs, self.engine.epoch + left)

    @passes_stop_iteration
    def on_train_epoch_start(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        engine = self.engine
        if self._stage_open and engine._epochs_left <= 0:
            _phases.close_stage(engine)
            self._stage_open = False
        if not self._stage_open:
            binding = binds_optimizer(trainer.strategy)
            _phases.open_stage(engine, give=not binding)
            self._stage_open = True
            if not binding:
                exchange_optimizer(trainer)
            engine._call_hook('before_stage')
            # Hooks may change what is still to come, until it begins.
            engine._epochs_left = engine.cur_stage['epochs'] - engine.epoch_in_stage
        later = engine.stages[engine.stage + 1 : engine.max_stages]
        if binds_optimizer(trainer.strategy):
            # The next stage has a fit of its own.
            later = []
        left = max(1, engine._epochs_left) + sum(stage['epochs'] for stage in later)
        trainer.fit_loop.max_epochs = min(module.max_epochs, engine.epoch + left)
        _phases.enter_mode(engine, 'train')
        module.split = 'train'
        self._epoch = engine.epoch
        engine._call_hook('before_train_epoch')
        private.resize_training(trainer, len(module.views['train']))

    @passes_stop_iteration
    def on_train_batch_start(  # type: ignore[override]
        self, trainer: Trainer, module: StagesModule, batch: Any, batch_idx: int
    ) -> None:
        if not self.engine._overrides('train_iter'):
            self.engine._call_hook('before_train_iter')

    @passes_stop_iteration
    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, module: StagesModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.engine._overrides('train_iter'):
            self.engine._call_hook('after_train_iter')
            self.engine._iter += 1

    @passes_stop_iteration
    def on_train_epoch_end(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        # The loader had fewer batches than its length says, so no batch was the last one.
        if self.engine.epoch == self._epoch:
            module.close_train_epoch(lightning_validates=False)

    @passes_stop_iteration
    def on_train_end(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        if self._stage_open:
            _phases.close_stage(self.engine)
            self._stage_open = False
        done = self.engine.stage >= self.engine.max_stages
        if done or trainer.should_stop or not binds_optimizer(trainer.strategy):
            self.engine._call_hook('after_launch')


def exchange_optimizer(trainer: Trainer) -> None:
    """Give the running fit the optimizer that the engine has now."""
    trainer.strategy.setup_optimizers(trainer)
    trainer.strategy.setup_precision_plugin()
