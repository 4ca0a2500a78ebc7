"""What happens at Lightning's events before any hook of nncore has its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar

from .. import _phases
from . import checkpoint as checkpoints
from . import private, reentry
from .guards import callers_grad_mode, passes_stop_iteration
from .loader import unwrap
from .module import StagesModule
from .segment import Segment
from .strategy import binds_optimizer, exchange_optimizer, follow_freezing

if TYPE_CHECKING:
    from ..engine import Engine


class FirstSegment(Segment):
    """Opens and closes stages and epochs, before any hook or callback of the list has its turn.

    ================================================  ==========================================
    nncore                                            Lightning
    ================================================  ==========================================
    after_stage of the stage before, new optimizer,   on_train_epoch_start
    before_stage
    after_train_epoch, whether to validate            the module's on_train_batch_end
    last after_stage                                  on_train_end
    ================================================  ==========================================
    """

    # Whether a stage is open.
    _stage_open = False
    # Whether callbacks have been given the states that they had in the run to go on with.
    callbacks_restored = False
    # The events that a callback which comes late has missed.
    reached: list[str] = []

    def setup(self, trainer: Trainer, module: StagesModule, stage: str) -> None:  # type: ignore[override]
        self._stage_open = self.engine._stopped = self.callbacks_restored = False
        self.reached = ['setup']

    def on_fit_start(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        self.reached.append('on_fit_start')
        if reentry.pending(self.engine) is not None:
            # As a Trainer that is given a checkpoint does it: after all have been set up.
            checkpoints.restore_callbacks(trainer, module, self.engine._resuming or {})
            self.callbacks_restored = True
        reentry.start(trainer, self.engine)
        follow_freezing(trainer.strategy)

    def on_train_start(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        self.reached.append('on_train_start')
        super().on_train_start(trainer, module)

    @passes_stop_iteration
    def on_train_epoch_start(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        engine, running = self.engine, trainer.callbacks  # type: ignore[attr-defined]
        if reentry.pending(engine) is not None:
            reentry.enter(self, trainer)
            self._end_event(trainer, running)
            return
        if self._stage_open and engine._epochs_left <= 0:
            _phases.close_stage(engine)
            self._stage_open = False
        if not self._stage_open:
            self.open_stage(trainer)
        self.open_epoch(trainer)
        self._follow(trainer, running)
        super().on_train_epoch_start(trainer, module)

    def open_stage(self, trainer: Trainer) -> None:
        """Begin the engine's current stage."""
        engine, binding = self.engine, binds_optimizer(trainer.strategy)
        _phases.open_stage(engine, give=not binding)
        self._stage_open = True
        if not binding:
            exchange_optimizer(trainer)
        engine._call_hook('before_stage')
        # Hooks may change what is still to come, until it begins.
        engine._epochs_left = engine.cur_stage['epochs'] - engine.epoch_in_stage

    def open_epoch(self, trainer: Trainer) -> None:
        """Begin a training epoch, up to where the hooks have their turn."""
        engine = self.engine
        # With a strategy that binds the optimizer, the next stage has a fit of its own.
        binding = binds_optimizer(trainer.strategy)
        later = () if binding else engine.stages[engine.stage + 1 : engine.max_stages]
        left = max(1, engine._epochs_left) + sum(stage['epochs'] for stage in later)
        trainer.fit_loop.max_epochs = min(self.module.max_epochs, engine.epoch + left)
        _phases.enter_mode(engine, 'train')
        self.module.enter('train')
        engine._running_epoch, engine._epoch_start = engine.epoch, engine.iter
        engine._moment, engine._closing = 'iter', None
        if engine._run.display is not None:
            engine._run.display.step()

    @passes_stop_iteration
    def on_train_batch_start(  # type: ignore[override]
        self, trainer: Trainer, module: StagesModule, batch: Any, batch_idx: int
    ) -> None:
        whole = self.engine._overrides('train_iter')
        module.take_iter(whole)
        if not whole:
            self._call('before_train_iter')

    def on_validation_batch_start(  # type: ignore[override]
        self,
        trainer: Trainer,
        module: StagesModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # Where no callback has a turn in between, all of it is done at once.
        whole = len(trainer.callbacks) == 1 or self.engine._overrides('val_iter')  # type: ignore[attr-defined]
        module.take_iter(whole)
        if not whole:
            self._call_in_validation('before_val_iter')

    @passes_stop_iteration
    def on_train_epoch_end(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        engine = self.engine
        if engine.epoch == engine._running_epoch:
            if private.stops(trainer):
                module.publish('train')
                return
            # The loader had fewer batches than its length says, so no batch was the last one.
            module.close_train_epoch(lightning_validates=False)
        engine._moment = 'ended'

    def on_validation_end(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        if not module.evaluating:
            self.engine._moment = 'boundary'

    @callers_grad_mode
    @passes_stop_iteration
    def on_validation_epoch_end(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        if not self.engine._overrides('val_epoch'):
            for batch in module.views['val'].rest():
                self.engine.val_iter(unwrap(batch))
                module.task.update()  # type: ignore[union-attr]
            module.end_task()
        super().on_validation_epoch_end(trainer, module)

    @passes_stop_iteration
    def on_train_end(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        engine, running = self.engine, trainer.callbacks  # type: ignore[attr-defined]
        engine._stopped = trainer.should_stop
        if engine._stopped:
            unfinished = self._stage_open and engine.epoch == engine._running_epoch
            engine.logger.info(_where_stopped(engine, unfinished))
        if self._stage_open:
            _phases.close_stage(engine)
            self._stage_open = False
        done = engine.stage >= engine.max_stages or not binds_optimizer(trainer.strategy)
        module.launching, module.ending = False, done or trainer.should_stop
        self._follow(trainer, running)
        super().on_train_end(trainer, module)

    @staticmethod
    def _follow(trainer: Any, running: list[Callback]) -> None:
        # Changed while this event goes through it, but before it came to the first hook.
        if trainer.callbacks is not running:
            running[:], trainer.callbacks = trainer.callbacks, running

    def _end_event(self, trainer: Any, running: list[Callback]) -> None:
        # The others have had this event in the run that was interrupted; bars begin anew.
        bars = [one for one in running if isinstance(one, ProgressBar)]
        trainer.callbacks = list(trainer.callbacks)
        running[:] = [*running[: running.index(self) + 1], *bars]


def _where_stopped(engine: Engine, unfinished: bool) -> str:
    text = f'Stopped after epoch {engine.epoch} of {engine.max_epochs}, as a callback asked'
    if unfinished:
        length = len(engine.data_loaders['train'])
        text = (
            f'Stopped in epoch {engine.epoch + 1} of {engine.max_epochs} after '
            f'{engine.iter_in_epoch} of {length} iterations, as a callback asked: the epoch does '
            'not count as done'
        )
    return text
