"""One launch of an engine: the Trainer, and what hooks ask of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.plugins.environments import LightningEnvironment

from ..comm import get_world_size
from .callback import Dispatcher, exchange_optimizer
from .module import NEVER, StagesModule
from .precision import ScaledPrecision
from .private import Interrupted, UninterruptedTrainer, count_steps
from .silence import silenced

if TYPE_CHECKING:
    from ..engine import Engine


class Run:
    """Drives an engine with a Lightning Trainer.

    Args:
        engine: The engine.

    Raises:
        RuntimeError: There are several processes.
    """

    def __init__(self, engine: Engine) -> None:
        if get_world_size() > 1:
            raise RuntimeError(
                f'nncore_compat runs in one process for now, but this is one of {get_world_size()}'
            )
        self.engine = engine
        self.fitting = False
        self.testing_through_lightning = False
        self.precision = ScaledPrecision()
        with silenced():
            self.module = StagesModule(engine)
            self.trainer = UninterruptedTrainer(
                accelerator='auto',
                devices=1,
                # One process, whatever a batch system has put into the environment.
                plugins=[self.precision, LightningEnvironment()],
                # The dispatcher tells how many, epoch by epoch.
                max_epochs=engine.epoch + 1,
                check_val_every_n_epoch=NEVER,
                callbacks=[Dispatcher(engine)],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                inference_mode=False,
                use_distributed_sampler=False,
                # Lightning switches it off otherwise, even if the script has switched it on.
                detect_anomaly=torch.is_anomaly_enabled(),
            )

    def fit(self) -> None:
        """Run the stages that are left."""
        self.fitting = True
        try:
            self._call(self.trainer.fit)
        finally:
            self.fitting = False

    def test(self) -> None:
        """Run the split that the engine has entered."""
        # A hook or an override may test again from within: that is a plain loop.
        self.testing_through_lightning = False
        try:
            self._call(self.trainer.test, verbose=False)
        finally:
            self.testing_through_lightning = True

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Have test epochs run by the Trainer."""
        self.testing_through_lightning = True
        try:
            yield
        finally:
            self.testing_through_lightning = False

    def backward(self, loss: torch.Tensor, sync: bool) -> None:
        """Backpropagate.

        Args:
            loss: A scalar.
            sync: Whether gradients are synchronised over processes; not while accumulating.
        """
        block = getattr(self.trainer.strategy, 'block_backward_sync', None)
        with contextlib.nullcontext() if sync or block is None else block():
            self.module.manual_backward(loss)

    def step(self, scaler: torch.amp.GradScaler) -> None:
        """Step the engine's optimizer.

        Args:
            scaler: The gradient scaler to step through and update.
        """
        if not isinstance(self.engine.optimizer, torch.optim.Optimizer):
            # A wrapper with the methods of one, which Lightning would not take.
            scaler.step(self.engine.optimizer)
            scaler.update()
            return
        # A hook may have put another optimizer in place.
        if self.trainer.optimizers[0] is not self.engine.optimizer:
            exchange_optimizer(self.trainer)
        self.precision.scaler = scaler
        count_steps(self.trainer)
        self.module.optimizers().step()  # type: ignore[union-attr]

    def _call(self, method: Any, **kwargs: Any) -> None:
        original = None
        try:
            with silenced():
                method(self.module, **kwargs)
        except Interrupted as error:
            original = error.original
        finally:
            for view in self.module.views.values():
                view.close()
        if original is not None:
            raise original
