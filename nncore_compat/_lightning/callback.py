"""What happens at Lightning's events before any hook of nncore has its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch import Callback, Trainer

from .. import _phases
from ..hooks import Hook
from . import private
from .guards import callers_grad_mode, passes_stop_iteration
from .loader import unwrap
from .module import StagesModule
from .segment import Segment
from .strategy import binds_optimizer, follow_freezing

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

    # Under which the states of the hooks are in a checkpoint.
    state_key = 'Hooks'
    # Whether a stage is open, and which epoch.
    _stage_open = False
    _epoch = 0
    # The events that a callback which comes late has missed.
    reached: list[str] = []

    def setup(self, trainer: Trainer, module: StagesModule, stage: str) -> None:  # type: ignore[override]
        self._stage_open = self.engine._stopped = False
        self.reached = ['setup']

    def on_fit_start(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        self.reached.append('on_fit_start')
        private.start_at(trainer, self.engine.epoch, self.engine.iter)
        follow_freezing(trainer.strategy)

    def on_train_start(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        self.reached.append('on_train_start')
        super().on_train_start(trainer, module)

    @passes_stop_iteration
    def on_train_epoch_start(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        engine, running = self.engine, trainer.callbacks  # type: ignore[attr-defined]
        binding = binds_optimizer(trainer.strategy)
        if self._stage_open and engine._epochs_left <= 0:
            _phases.close_stage(engine)
            self._stage_open = False
        if not self._stage_open:
            _phases.open_stage(engine, give=not binding)
            self._stage_open = True
            if not binding:
                exchange_optimizer(trainer)
            engine._call_hook('before_stage')
            # Hooks may change what is still to come, until it begins.
            engine._epochs_left = engine.cur_stage['epochs'] - engine.epoch_in_stage
        # With a strategy that binds it, the next stage has a fit of its own.
        later = () if binding else engine.stages[engine.stage + 1 : engine.max_stages]
        left = max(1, engine._epochs_left) + sum(stage['epochs'] for stage in later)
        trainer.fit_loop.max_epochs = min(module.max_epochs, engine.epoch + left)
        _phases.enter_mode(engine, 'train')
        module.enter('train')
        self._epoch = engine.epoch
        self._follow(trainer, running)
        super().on_train_epoch_start(trainer, module)

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
        if self.engine.epoch != self._epoch:
            return
        if private.stops(trainer):
            module.publish('train')
        else:
            # The loader had fewer batches than its length says, so no batch was the last one.
            module.close_train_epoch(lightning_validates=False)

    @callers_grad_mode
    @passes_stop_iteration
    def on_validation_epoch_end(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        if not self.engine._overrides('val_epoch'):
            for batch in module.views['val'].rest():
                self.engine.val_iter(unwrap(batch))
                module.bar.update()  # type: ignore[union-attr]
        super().on_validation_epoch_end(trainer, module)

    @passes_stop_iteration
    def on_train_end(self, trainer: Trainer, module: StagesModule) -> None:  # type: ignore[override]
        engine, running = self.engine, trainer.callbacks  # type: ignore[attr-defined]
        engine._stopped = trainer.should_stop
        if engine._stopped:
            unfinished = self._stage_open and engine.epoch == self._epoch
            engine.logger.info(_where_stopped(engine, unfinished))
        if self._stage_open:
            _phases.close_stage(engine)
            self._stage_open = False
        done = engine.stage >= engine.max_stages or not binds_optimizer(trainer.strategy)
        module.launching, module.ending = False, done or trainer.should_stop
        self._follow(trainer, running)
        super().on_train_end(trainer, module)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all hooks that have one, by name."""
        states = {}
        for name, hook in self.engine.hooks.items():
            method = getattr(hook, 'state_dict', None)
            if isinstance(hook, Hook) and callable(method):
                states[name] = _plain(method())
        return states

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give the hooks their states, where they are still there."""
        for name, state in state_dict.items():
            hook = self.engine.hooks.get(name)
            method = getattr(hook, 'load_state_dict', None)
            if isinstance(hook, Hook) and callable(method):
                method(state)

    @staticmethod
    def _follow(trainer: Any, running: list[Callback]) -> None:
        # Changed while this event goes through it, but before it came to the first hook.
        if trainer.callbacks is not running:
            running[:], trainer.callbacks = trainer.callbacks, running


def exchange_optimizer(trainer: Trainer) -> None:
    """Give the running fit the optimizer that the engine has now."""
    trainer.strategy.setup_optimizers(trainer)
    trainer.strategy.setup_precision_plugin()


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


def _plain(state: Any) -> Any:
    # What torch.load(weights_only=True) accepts: metrics are often numbers of numpy.
    if isinstance(state, np.generic):
        return state.item()
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    if type(state) in (list, tuple):
        return type(state)(map(_plain, state))
    return state
