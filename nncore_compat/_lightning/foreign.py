"""Hooks of nncore among the callbacks of a Trainer that is not an engine's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from ..builder import build_hook
from ..hooks import (
    EvalHook,
    EventWriterHook,
    Hook,
    LrUpdaterHook,
    MetricHook,
    OptimizerHook,
    PreciseBNHook,
)
from .loggers import prepare
from .module import StagesModule
from .view import View

REFUSED = {
    OptimizerHook: (
        'the Trainer back-propagates and steps itself; use Trainer(gradient_clip_val=..., '
        "accumulate_grad_batches=..., precision='16-mixed')"
    ),
    LrUpdaterHook: (
        'it reads the schedule from the stage of an engine; return a scheduler from '
        'configure_optimizers'
    ),
    PreciseBNHook: (
        'it calls the model as model(batch, mode=...), which a LightningModule does not take; '
        'torch.optim.swa_utils.update_bn(loader, model) does the same'
    ),
}

if TYPE_CHECKING:
    from ..engine import Engine


def as_callback(hook: Hook | dict[str, Any] | str, **kwargs: Any) -> Callback:
    """Make a callback for a Lightning Trainer out of a hook.

    The hook's methods get a view of the Trainer for their ``engine``: the counters, ``model`` (the
    LightningModule), ``optimizer`` (its first), ``data_loaders``, ``buffer``, ``logger``,
    ``work_dir`` (the Trainer's ``log_dir``) and so on. The fit is one stage. The buffer has the
    scalars that the steps return or log, ``_out`` if they return it, and the batch's size for
    ``_avg_factor``. All such callbacks of a Trainer share one view, so that a hook sees what those
    before it have left there.

    Where the Trainer fits ``engine.lightning_module``, the hook joins that engine's hooks for the
    time of the fit.

    Args:
        hook: A hook, its config or its name.
        **kwargs: More arguments of the hook, when it is built.

    Returns:
        The callback. A state of the hook (``state_dict``) is kept in Lightning's checkpoints.

    Raises:
        TypeError: It is no hook.
        ValueError: Its name is unknown, or it would do what is the Trainer's to do.

    Examples:
        >>> from lightning.pytorch import Trainer
        >>> class Greet(Hook):
        ...     def before_train_epoch(self, engine):
        ...         print('epoch', engine.epoch + 1)
        >>> trainer = Trainer(max_epochs=3, logger=False, callbacks=[as_callback(Greet())])
        >>> trainer.callbacks[0]
        as_callback(Greet())
    """
    if isinstance(hook, (dict, str)):
        hook = build_hook(hook, **kwargs)
    if not isinstance(hook, Hook):
        raise TypeError(f'hook must be a Hook, a dict or a str, but got {hook!r}')
    for kind, reason in REFUSED.items():
        if isinstance(hook, kind):
            raise ValueError(f'{hook.name} cannot work in a Trainer of Lightning: {reason}')
    if isinstance(hook, EvalHook) and hook._run_test:
        raise ValueError(
            f'{hook.name}(run_test=True) cannot work in a Trainer of Lightning, which runs no test '
            'within a fit: have the steps of the validation return _out, and leave run_test out'
        )
    prepare(hook)
    return HookCallback(hook)


class HookCallback(Callback):
    """Calls the events of a hook.

    Of all in a Trainer the first moves the counters before an event, the last after it.

    Args:
        hook: The hook.
    """

    def __init__(self, hook: Hook) -> None:
        # Not as a Hook: what stands in for the engine is none.
        self.hook: Any = hook
        # Of the fit that runs, unless an engine calls the hook.
        self.view: View | None = None
        self.party: list[HookCallback] = []

    def __repr__(self) -> str:
        return f'as_callback({self.hook!r})'

    @property
    def state_key(self) -> str:
        return f'nncore_compat.{self.hook.name}'

    def state_dict(self) -> dict[str, Any]:
        return self.hook.state_dict() if hasattr(self.hook, 'state_dict') else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if hasattr(self.hook, 'load_state_dict'):
            self.hook.load_state_dict(state_dict)

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if stage != TrainerFn.FITTING:
            return
        if isinstance(module, StagesModule):
            module.engine.register_hook(self.hook, overwrite=False)
            return
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        party = [one for one in callbacks if isinstance(one, HookCallback)]
        if party[0] is not self:
            return
        # No two of one name: Lightning asks for that, by their state_key.
        view = View(trainer, module, OrderedDict((one.hook.name, one.hook) for one in party))
        for one in party:
            one.view, one.party = view, party

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        self._leave(module)

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        if self.view is not None and isinstance(self.hook, EventWriterHook):
            self.view._failure = exception
            self.hook.after_launch(cast('Engine', self.view))
        self._leave(module)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if self.view is not None:
            if self._is_first:
                self.view.begin()
            self.hook.before_launch(self.view)

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        if self.view is not None:
            if self._is_first:
                if self.view.mode is None:
                    self._call_all('before_stage')
                self.view.enter('train')
            self.hook.before_train_epoch(self.view)

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.view is not None:
            if self._is_first:
                self.view.at(batch_idx)
            self.hook.before_train_iter(self.view)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.view is not None:
            if self._is_first:
                self.view.remember(outputs, batch)
            self.hook.after_train_iter(self.view)
            if self._is_last:
                self.view.at(batch_idx + 1)
                # nncore ends the epoch before it validates, Lightning after that.
                if trainer.is_last_batch:
                    self._close_epoch()

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        if self.view is not None and not trainer.sanity_checking:
            if self._is_first:
                self.view.enter('val')
            self.hook.before_val_epoch(self.view)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.view is not None and not trainer.sanity_checking:
            self.hook.before_val_iter(self.view)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.view is not None and not trainer.sanity_checking:
            if self._is_first:
                self.view.remember(outputs, batch)
            if isinstance(self.hook, MetricHook):
                # What is returned, not what is kept of it: only scalars and private keys are.
                self.hook.update(
                    cast('Engine', self.view), outputs if isinstance(outputs, Mapping) else {}
                )
            self.hook.after_val_iter(self.view)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        # Not at the end of its epoch: a module logs there too, after the callbacks.
        if self.view is not None and not trainer.sanity_checking:
            if self._is_first:
                self.view.remember_logged()
            self.hook.after_val_epoch(self.view)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        # The epoch was stopped, or shorter than the length of its loader.
        if self.view is not None and self._is_first:
            self._close_epoch()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if self.view is not None:
            if self._is_first and self.view.mode is not None:
                self._call_all('after_stage')
                self.view.end()
            self.hook.after_launch(self.view)

    @property
    def _is_first(self) -> bool:
        return self.party[0] is self

    @property
    def _is_last(self) -> bool:
        return self.party[-1] is self

    def _call_all(self, event: str) -> None:
        for one in self.party:
            getattr(one.hook, event)(self.view)

    def _close_epoch(self) -> None:
        if self.view is not None and self.view.is_epoch_open:
            self._call_all('after_train_epoch')
            self.view.close_epoch()

    def _leave(self, module: LightningModule) -> None:
        if isinstance(module, StagesModule):
            hooks, name = module.engine.hooks, self.hook.name
            if hooks.get(name) is self.hook:
                del hooks[name]
        self.view, self.party = None, []
