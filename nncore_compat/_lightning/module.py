"""The stages of an engine as one LightningModule."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from .. import _evaluation, _phases
from .._progress import ProgressBar
from .loader import NOTHING, LoaderView, unwrap
from .private import Interrupted, resize_validation
from .settings import NEVER
from .strategy import ShardedStrategy, follow_freezing, shard

if TYPE_CHECKING:
    from ..engine import Engine

F = TypeVar('F', bound=Callable[..., Any])


def passes_stop_iteration(func: F) -> F:
    """Let a StopIteration out of a user's code through the loops that take it for their own."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return func(*args, **kwargs)
        except StopIteration as error:
            raise Interrupted(error) from error

    return wrapper  # type: ignore[return-value]


def callers_grad_mode(func: F) -> F:
    """Run a step of validation or testing in the grad mode of the launch.

    Lightning runs them under no_grad. In nncore only the model does, so hooks may use gradients.
    """

    @functools.wraps(func)
    def wrapper(self: StagesModule, *args: Any) -> Any:
        with torch.set_grad_enabled(self.grad_enabled):
            return func(self, *args)

    return wrapper  # type: ignore[return-value]


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside a data-parallel wrapper: the strategy does what that did."""
    return model.module if isinstance(model, (DataParallel, DistributedDataParallel)) else model


class StagesModule(LightningModule):
    """Hands Lightning's steps to the engine, and the engine's optimizer to Lightning.

    Args:
        engine: The engine, which keeps all state.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.engine = engine
        self.begin()

    # Whether a Trainer that is not the engine's validates or tests.
    evaluating = False

    def begin(self) -> None:
        """Look at the engine as it is now: scripts may change it until it is launched."""
        self.model = unwrapped(self.engine.model)
        self.bar: ProgressBar | None = None
        self.grad_enabled = torch.is_grad_enabled()
        # Of the epoch that runs.
        self.split: str | None = None
        # Where the Trainer stops, if that is before the last stage does.
        self.max_epochs = NEVER
        self.views = {
            split: LoaderView(functools.partial(self._loader, split))
            for split in ('train', 'val', 'test')
        }

    def _loader(self, split: str) -> Any:
        # Once in the epoch it is the engine's: a hook may have put another one in place.
        engine = self.engine
        # Which split is tested is decided at launch.
        if split in (self.split, 'test'):
            return engine.data_loader
        return engine.data_loaders[split]

    def configure_callbacks(self) -> list[Callback]:
        """Prepare a Trainer that is not the engine's: this is the first that it asks for."""
        self.engine._run.receive(self.trainer)
        return []

    def train_dataloader(self) -> LoaderView:
        return self.views['train']

    def val_dataloader(self) -> LoaderView:
        return self.views['val']

    def test_dataloader(self) -> LoaderView:
        return self.views['test']

    def configure_model(self) -> None:
        """Shard the model, where the strategy leaves that to its module."""
        if isinstance(self.trainer.strategy, ShardedStrategy):
            owners = [stage['optimizer'] for stage in self.engine.stages]
            owners.append(getattr(self.engine, 'optimizer', None))
            shard(self, {id(o): o for o in owners if isinstance(o, torch.optim.Optimizer)}.values())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the current stage's optimizer; before the first stage, one that does nothing."""
        optimizer = getattr(self.engine, 'optimizer', None)
        if isinstance(optimizer, torch.optim.Optimizer):
            return optimizer
        return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.0)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Leave batches as they are on the CPU: nncore's models get what the loader made."""
        if device.type == 'cpu' or batch is NOTHING:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        follow_freezing(self.trainer.strategy)

    @passes_stop_iteration
    def training_step(self, batch: Any, batch_idx: int) -> None:
        if self.engine._overrides('train_iter'):
            self.engine.train_iter(unwrap(batch))
        else:
            _phases.train_forward(self.engine, unwrap(batch))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # Here all precision plugins have unscaled.
        self.engine._run.look()

    @passes_stop_iteration
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        # After all callbacks, and before Lightning looks whether to validate.
        if self.trainer.is_last_batch:
            self.close_train_epoch()

    def close_train_epoch(self, lightning_validates: bool = True) -> None:
        """End the epoch, and validate if that is due.

        Args:
            lightning_validates: Whether Lightning will look whether to validate.
        """
        engine = self.engine
        for batch in self.views['train'].rest():
            engine.train_iter(unwrap(batch))
        if not _phases.close_train_epoch(engine):
            return
        engine.logger.info('Validating...')
        if engine._overrides('val_epoch') or not lightning_validates:
            engine.val_epoch()
            return
        _phases.enter_mode(engine, 'val')
        self.split = 'val'
        self.trainer.check_val_every_n_epoch = 1

    @callers_grad_mode
    @passes_stop_iteration
    def on_validation_start(self) -> None:
        if self.evaluating:
            self.on_test_start()
            return
        self.trainer.check_val_every_n_epoch = NEVER
        self.engine._call_hook('before_val_epoch')
        resize_validation(self.trainer, len(self.views['val']))
        self.bar = ProgressBar(num_tasks=len(self.engine.data_loader))

    @callers_grad_mode
    @passes_stop_iteration
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.evaluating:
            self.test_step(batch, batch_idx)
            return
        self.engine.val_iter(unwrap(batch))
        self.bar.update()  # type: ignore[union-attr]

    @callers_grad_mode
    @passes_stop_iteration
    def on_validation_epoch_end(self) -> None:
        for batch in self.views['val'].rest():
            self.validation_step(batch, -1)
        if self.evaluating:
            self._evaluate('val')
            return
        self.engine._call_hook('after_val_epoch')

    @callers_grad_mode
    @passes_stop_iteration
    def on_test_start(self) -> None:
        self.bar = ProgressBar(num_tasks=len(self.engine.data_loader))

    @callers_grad_mode
    @passes_stop_iteration
    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.engine.test_iter(unwrap(batch))
        self.bar.update()  # type: ignore[union-attr]

    @callers_grad_mode
    @passes_stop_iteration
    def on_test_epoch_end(self) -> None:
        for batch in self.views['test'].rest():
            self.test_step(batch, -1)
        if self.evaluating:
            self._evaluate('test')

    def _evaluate(self, split: str) -> None:
        for key, value in _evaluation.finish(self.engine, split).items():
            if isinstance(value, (int, float, torch.Tensor)):
                self.log(key, value, batch_size=1, rank_zero_only=True)

    # Mode and gradients are the engine's and its hooks' alone.
    def zero_grad(self, set_to_none: bool = True) -> None:
        pass

    def on_validation_model_eval(self) -> None:
        pass

    def on_validation_model_train(self) -> None:
        pass

    def on_test_model_eval(self) -> None:
        pass

    def on_test_model_train(self) -> None:
        pass
