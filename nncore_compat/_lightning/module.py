"""The stages of an engine as one LightningModule."""

from __future__ import annotations

import contextlib
import copy
import functools
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from .. import _evaluation, _phases
from .. import _loader_parts as parts
from .._display import Task, begin_task
from .._failure import blame
from .._signals import checkpoint_hook
from .._state_dict import uncompiled
from . import reentry
from .averages import Averages
from .checkpoint import complete
from .guards import callers_grad_mode, passes_stop_iteration
from .held import EngineReference
from .loader import NOTHING, LoaderView, unwrap
from .private import logs_now, resize_validation, validate
from .requirements import refuse_missing_monitor
from .settings import NEVER
from .strategy import follow_freezing, shard

if TYPE_CHECKING:
    from ..engine import Engine


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside a data-parallel wrapper: the strategy does what that did."""
    wrapper = uncompiled(model)
    return wrapper.module if isinstance(wrapper, (DataParallel, DistributedDataParallel)) else model


class StagesModule(LightningModule):
    """Hands Lightning's steps to the engine, and the engine's optimizer to Lightning.

    Args:
        engine: The engine, which keeps all state.
    """

    engine = EngineReference()

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.engine = engine
        # Where anyone looks at metrics.
        self.averages: Averages | None = None
        # What the Trainer had, while it is not to validate.
        self._limit_val_batches: Any = None
        # Whether a fit is the first of the launch, and whether it ends it: see Run.fit.
        self.launching = True
        self.ending = False
        self.begin()

    # Whether a Trainer that is not the engine's validates or tests.
    evaluating = False

    def begin(self) -> None:
        """Look at the engine as it is now: scripts may change it until it is launched."""
        self.model = self.unwrapped_model()
        self.task: Task | None = None
        self.grad_enabled = torch.is_grad_enabled()
        # Of the iteration and of the epoch that run.
        self.whole_iter = False
        self.split: str | None = None
        # Whether an iteration, or a validation, is over for all hooks and callbacks.
        self.resting = False
        # Whether a checkpoint is saved without the optimizer.
        self.leaves_out_optimizer = False
        # Where the Trainer stops, if that is before the last stage does.
        self.max_epochs = NEVER
        self.views = {
            split: LoaderView(functools.partial(self._loader, split), self.engine._clock)
            for split in ('train', 'val', 'test')
        }

    def unwrapped_model(self) -> nn.Module:
        """Return the engine's model without a wrapper for data parallelism."""
        return unwrapped(self.engine.model)

    def keep_engine(self, keep: bool = True) -> None:
        """Have the engine live as long as the module: for a Trainer that is given nothing else."""
        self.__dict__['kept'] = self.engine if keep else None

    @property
    def backbone(self) -> nn.Module:
        """The model's, for BackboneFinetuning."""
        return self.model.backbone  # type: ignore[return-value]

    def __deepcopy__(self, memo: dict[int, Any]) -> StagesModule:
        # Weight averaging copies the module for its weights: not the engine with its data.
        state = self.__getstate__()
        state.update(engine_reference=None, kept=None, averages=None, task=None, views={})
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(state, memo))
        return copied

    def _loader(self, split: str) -> Any:
        engine = self.engine
        if split == 'val' and engine._overrides('val_epoch'):
            # It has a loop of its own.
            return ()
        # Once in the epoch it is the engine's: a hook may have put another one in place.
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
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
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

    def enter(self, split: str) -> None:
        """Begin an epoch of the engine's."""
        self.split = split
        if self.averages is not None:
            self.averages.begin(split)

    def take_iter(self, whole: bool) -> None:
        """Begin an iteration.

        Args:
            whole: Whether the engine's method does all of it, hooks included.
        """
        # An assignment to a module's attribute is slow.
        self.__dict__['whole_iter'] = whole

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        follow_freezing(self.trainer.strategy)

    @passes_stop_iteration
    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any] | None:
        if self.whole_iter:
            self.engine.train_iter(unwrap(batch))
        else:
            _phases.train_forward(self.engine, unwrap(batch))
        return None if self.averages is None else self.averages.output()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # Here all precision plugins have unscaled.
        self.engine._run.look()

    @passes_stop_iteration
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        # After all callbacks, and before Lightning looks whether to validate.
        if self.averages is not None and logs_now(self.trainer):
            self.log_dict(self.averages.step(), on_step=True, on_epoch=False, batch_size=1)
        engine = self.engine
        if not self.whole_iter:
            engine._iter += 1
        if engine._at_rest:
            self.rest()
        run = engine._run
        if run.display is not None:
            run.display.step()
        signum = run.stop_requests.due(engine._iter)
        if signum is not None:
            self.end_for(signum)
        if self.trainer.is_last_batch:
            self.close_train_epoch()

    def rest(self) -> None:
        """Do what hooks have put off until no hook or callback has a turn to come."""
        engine = self.engine
        todo, engine._at_rest = engine._at_rest, []
        self.resting = True
        try:
            for action in todo:
                try:
                    action(engine)
                except Exception as error:
                    hook = getattr(action, '__self__', None)
                    if hook is not None:
                        blame(engine, error, hook, action.__name__)
                    raise
        finally:
            self.resting = False

    def end_for(self, signum: int) -> None:
        """Save a checkpoint, and end the script as a signal asks."""
        engine = self.engine
        engine._at_rest.append(checkpoint_hook(engine).save_now)
        self.rest()
        # Whoever sees one process end may end the others.
        self.trainer.strategy.checkpoint_io.teardown()
        self.trainer.strategy.barrier()
        raise SystemExit(128 + signum)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        complete(self, checkpoint)

    @passes_stop_iteration
    def on_train_start(self) -> None:
        pending = reentry.pending(self.engine)
        if pending is not None and pending['moment'] == 'ended':
            # Nothing is left of its epoch.
            reentry.enter(self.engine._run.arrangement.first, self.trainer)
            reentry.start(self.trainer, self.engine)

    @callers_grad_mode
    @passes_stop_iteration
    def on_validation_end(self) -> None:
        if self.evaluating:
            return
        engine = self.engine
        if engine._at_rest:
            self.rest()
        signum = engine._run.stop_requests.due(engine._iter)
        if signum is not None:
            self.end_for(signum)

    def close_train_epoch(self, lightning_validates: bool = True) -> None:
        """End the epoch, and validate if that is due.

        Args:
            lightning_validates: Whether Lightning will look whether to validate.
        """
        engine = self.engine
        for batch in self.views['train'].rest():
            engine.train_iter(unwrap(batch))
        self.publish('train')
        if not _phases.close_train_epoch(engine):
            engine._moment = 'boundary'
            return
        engine.logger.info('Validating...')
        self.put_off_validation(self.trainer, False)
        if not engine._overrides('val_epoch'):
            _phases.enter_mode(engine, 'val')
        self.enter('val')
        if lightning_validates:
            self.trainer.check_val_every_n_epoch = 1
        else:
            validate(self.trainer)

    def put_off_validation(self, trainer: Trainer, off: bool) -> None:
        """Have the Trainer take it that it never validates, or as its user has set it.

        Args:
            trainer: The Trainer.
            off: Whether it never does. Callbacks that monitor look at the ends of training epochs
                then.
        """
        if off:
            self._limit_val_batches = trainer.limit_val_batches
            trainer.limit_val_batches = 0
        elif self._limit_val_batches is not None:
            trainer.limit_val_batches, self._limit_val_batches = self._limit_val_batches, None
        trainer.check_val_every_n_epoch = 1 if off else NEVER

    @passes_stop_iteration
    def on_train_epoch_end(self) -> None:
        # Lightning only warns, epoch after epoch.
        if self._limit_val_batches is not None:
            refuse_missing_monitor(self.trainer)

    @callers_grad_mode
    @passes_stop_iteration
    def on_validation_start(self) -> None:
        if self.evaluating:
            self.on_test_start()
            return
        self.trainer.check_val_every_n_epoch = NEVER
        if self.engine._overrides('val_epoch'):
            with self.recorded():
                self.engine.val_epoch()
            return
        resize_validation(self.trainer, self.views['val'].limit)
        self.task = begin_task('Validating', parts.length(self.engine.data_loader))

    @callers_grad_mode
    @passes_stop_iteration
    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any] | None:
        if self.evaluating:
            self.test_step(batch, batch_idx)
            return None
        if self.whole_iter:
            self.engine.val_iter(unwrap(batch))
        else:
            _phases.eval_forward(self.engine, unwrap(batch), sum_losses=True)
        return None if self.averages is None else self.averages.output()

    def on_validation_batch_end(
        self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self.evaluating:
            return
        self.task.update()  # type: ignore[union-attr]
        signum = self.engine._run.stop_requests.due_alone()
        if signum is not None and checkpoint_hook(self.engine).has_saved(self.engine):
            raise SystemExit(128 + signum)

    @callers_grad_mode
    @passes_stop_iteration
    def on_validation_epoch_end(self) -> None:
        if not self.evaluating:
            self.publish('val')
            return
        for batch in self.views['val'].rest():
            self.test_step(batch, -1)
        self.end_task()
        self._evaluate('val')

    def end_task(self) -> None:
        """Take note that all batches of a validation or test are done."""
        if self.task is not None:
            self.task.close()
            self.task = None

    def recorded(self) -> contextlib.AbstractContextManager[None]:
        """Have the results of a validation recorded that hooks write into the buffer."""
        if self.averages is None:
            return contextlib.nullcontext()
        return self.averages.recorded(self.engine.buffer)

    def publish(self, mode: str) -> None:
        """Put the metrics of an epoch where callbacks and loggers find them.

        Args:
            mode: ``'train'`` or ``'val'``.
        """
        if self.averages is not None:
            self.averages.publish(mode, self)

    @callers_grad_mode
    @passes_stop_iteration
    def on_test_start(self) -> None:
        self.task = begin_task('Testing', parts.length(self.engine.data_loader))

    @callers_grad_mode
    @passes_stop_iteration
    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.engine.test_iter(unwrap(batch))
        self.task.update()  # type: ignore[union-attr]

    @callers_grad_mode
    @passes_stop_iteration
    def on_test_epoch_end(self) -> None:
        for batch in self.views['test'].rest():
            self.test_step(batch, -1)
        self.end_task()
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
