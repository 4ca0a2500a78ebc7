"""An engine's stages in a Trainer that a Lightning user has made."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import lightning
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.trainer.states import TrainerFn

from .. import _evaluation, _failure, _phases, _remember, _report, quirks
from . import checkpoint_io, progress, settings, sharded, strategy
from .arrangement import Arrangement
from .precision import take_over
from .private import UninterruptedTrainer
from .requirements import refuse_unseen_monitor, refuse_unsupported, validates
from .segment import Segment

if TYPE_CHECKING:
    from .run import Run

# What Lightning makes of max_epochs where the user leaves it open.
DEFAULT_MAX_EPOCHS = 1000
# What a Trainer has where the user says nothing, of the arguments that have no place in an engine.
# Left out are those that can be put right for the time of the run.
UNSAID = {
    'min_epochs': 0,
    'max_steps': -1,
    'min_steps': None,
    'check_val_every_n_epoch': 1,
    'val_check_interval': 1.0,
    'accumulate_grad_batches': 1,
    'gradient_clip_val': None,
    'limit_train_batches': 1.0,
    'limit_val_batches': 1.0,
    'limit_test_batches': 1.0,
    'overfit_batches': 0.0,
    'fast_dev_run': False,
    'reload_dataloaders_every_n_epochs': 0,
}


class Guest(Callback):
    """Makes a Trainer fit for an engine, and puts it back at the end.

    Args:
        run: The engine's run.
        trainer: The Trainer.
    """

    def __init__(self, run: Run, trainer: Trainer) -> None:
        self.run = run
        self.trainer = trainer
        self._kept: list[tuple[Any, str, Any]] = []
        self._account = contextlib.ExitStack()

    def enter(self) -> None:
        """Prepare the Trainer for what it has been asked to do.

        Raises:
            ValueError: A setting of the Trainer has no place in an engine.
        """
        run, trainer, engine = self.run, self.trainer, self.run.engine
        fitting = trainer.state.fn == TrainerFn.FITTING
        split = '' if fitting else 'val' if trainer.validating else 'test'
        with _report.noting_refusal(engine, split):
            check(trainer, run)
        sharded.adopt(trainer.strategy)
        run.used = True
        run.trainer = trainer  # type: ignore[assignment]
        self._set(run, 'is_guest', True)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        # The engine's own Trainer still has those of its last launch.
        others = [one for one in callbacks if not isinstance(one, Segment)]
        # From here on it is told of what fails, and puts all back.
        self._set(trainer, 'callbacks', [self, *others])
        self._account.enter_context(_report.recording(engine, split))
        run.module.begin()
        self._set(run, 'binding', strategy.binds_optimizer(trainer.strategy))
        self._agree_on_precision()
        for loop in (trainer.validate_loop, trainer.test_loop):
            self._set(loop, 'inference_mode', False)
        self._set(trainer.strategy, 'load_checkpoint', self._load)
        if not fitting:
            self._set(run.module, 'evaluating', True)
            _evaluation.announce(engine, split)
            _phases.enter_mode(engine, 'test', split)
            progress.follow(run)
            return
        for one in others:
            refuse_unsupported(one, {})
            refuse_unseen_monitor(one, engine)
        engine._begin_account()
        engine._prepare_training()
        own = isinstance(trainer, UninterruptedTrainer)
        if not own and trainer.max_epochs not in (-1, DEFAULT_MAX_EPOCHS):
            run.module.max_epochs = trainer.max_epochs  # type: ignore[assignment]
        checkpoint_io.prepare(trainer.strategy)
        self._set(trainer, 'num_sanity_val_steps', 0)
        self._set(trainer, 'check_val_every_n_epoch', settings.NEVER)
        # Enough to begin: the first segment tells how many there are, epoch by epoch.
        self._set(trainer.fit_loop, 'max_epochs', engine.epoch + 1)
        self._set(trainer, 'limit_val_batches', trainer.limit_val_batches)
        # Its user's own callbacks come after those of the engine.
        told = {'logger': trainer.loggers}
        self._set(run, 'arrangement', Arrangement(engine, trainer, run.module, told, self))
        run.arrangement.begin()
        engine._failure, engine._failed_in, engine._told = None, None, ()
        # As for callbacks of the engine's list: those that monitor look at the ends of epochs.
        run.module.put_off_validation(trainer, not validates(engine))
        self._set(run, 'fitting', True)
        if run.binding:
            _phases.give_optimizer(engine)
        progress.follow(run)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.train_dataloader is not self.run.module.views['train']:
            raise ValueError('fit takes no loaders beside engine.lightning_module: it has its own')

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if self.run.fitting:
            quirks.sum_up(self.run.engine)
        self._leave()

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        error = getattr(exception, 'original', exception)
        if self.run.fitting:
            _failure.end(self.run.engine, error)
        self._leave(error)

    def _load(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """Have the engine read what ``ckpt_path`` names, and leave Lightning nothing to do."""
        engine, module = self.run.engine, self.run.module
        if self.run.fitting:
            engine.resume(path)
            self.trainer.fit_loop.max_epochs = engine.epoch + 1
        else:
            engine.load_checkpoint(path)
        return {
            'pytorch-lightning_version': lightning.__version__,
            'epoch': engine.epoch,
            'global_step': engine.iter,
            'state_dict': module.state_dict(),
            'callbacks': {},
            'optimizer_states': [],
            'lr_schedulers': [],
        }

    def _agree_on_precision(self) -> None:
        run, plugin = self.run, self.trainer.strategy.precision_plugin
        if plugin is run.precision:
            return
        # What a Trainer has where its user names none.
        if type(plugin) is Precision:
            self._set(self.trainer.strategy, 'precision_plugin', run.precision)
            return
        self._set(run, 'precision', plugin)
        self._set(run.engine, 'amp_cfg', run.engine.amp_cfg)
        take_over(run.engine, run.module, plugin)

    def _leave(self, error: BaseException | None = None) -> None:
        progress.leave(self.run)
        self.run.end()
        self.run.arrangement.end()
        kind = None if error is None else type(error)
        self._account.__exit__(kind, error, None if error is None else error.__traceback__)
        if self.run.fitting:
            self.run.engine._end_training_account()
            with contextlib.suppress(RuntimeError):
                _remember.finish(self.run.engine.buffer)
            self.run.module.put_off_validation(self.trainer, False)
        for owner, name, value in reversed(self._kept):
            setattr(owner, name, value)
        self._kept.clear()

    def _set(self, owner: Any, name: str, value: Any) -> None:
        self._kept.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)


def check(trainer: Trainer, run: Run) -> None:
    """Refuse a Trainer that would not run an engine's stages as they are.

    Args:
        trainer: A Trainer that is about to run them.
        run: The engine's run.

    Raises:
        ValueError: It would not; the message says which setting, and nncore's way.
        RuntimeError: The engine has been launched since the module was asked for.
    """
    if run.module is not trainer.lightning_module:
        raise RuntimeError(
            'the engine has been launched since: take engine.lightning_module anew for each run'
        )
    # The engine's own has been asked already.
    own = isinstance(trainer, UninterruptedTrainer)
    for key, unsaid in () if own else UNSAID.items():
        value = getattr(trainer, key)
        # 1 batch is not all of them, which is 1.0.
        said = value not in (None, unsaid) or (value == 1 and type(value) is not type(unsaid))
        if said:
            raise ValueError(
                f'Trainer({key}={value!r}) has no place in an engine: {settings.REFUSED[key]}'
            )
    if trainer.world_size != run.trainer.world_size:
        raise ValueError(
            f'the Trainer has {trainer.world_size} processes, but the engine was built for '
            f'{run.trainer.world_size}: start them with torchrun, or let engine.launch() run'
        )
    if strategy.binds_optimizer(trainer.strategy):
        left = run.engine.max_stages - run.engine.stage
        if left > 1:
            raise ValueError(
                f'{type(trainer.strategy).__name__} keeps one optimizer for a whole fit, and '
                f'{left} stages are left: let engine.launch() run them, in one fit each'
            )
