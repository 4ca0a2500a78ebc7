"""Loops over batches that do only what someone is there for: the stock ones do the rest.

They use private names of Lightning, as `private` does, and have been read and tried with the
versions in `CHECKED`. What they leave out has no effect there: profilers that record nothing,
contexts that do nothing, callbacks and strategies that do not listen, and results when nobody has
logged any. Everything else happens in the order of the stock loops.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import lightning
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.loops.utilities import _no_grad_context
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy

from .. import _options
from .._clock import Clock
from .audience import Audience
from .precision import EnginePrecision
from .strategy import ReplicatedStrategy

log = logging.getLogger('nncore_compat')

# The first and the last release of each minor version that the loops have been tried with.
CHECKED = (((2, 4, 0), (2, 4, 0)), ((2, 5, 0), (2, 5, 6)), ((2, 6, 0), (2, 6, 6)))
# The events between a loss and the optimizer's step.
STEP = ('on_before_backward', 'on_after_backward', 'on_before_optimizer_step')
_OVER = object()


def obstacle(trainer: Trainer) -> str | None:
    """Return what asks for the stock loops; None if nothing does."""
    if _options.loop() == 'stock':
        return 'they were asked for'
    version = _version(lightning.__version__)
    if not any(first <= version <= last for first, last in CHECKED):
        return f'Lightning {lightning.__version__} has not been checked'
    # Exactly these: what inherits may do more.
    for owner, known in (
        (trainer.profiler, (PassThroughProfiler,)),  # type: ignore[attr-defined]
        (trainer.strategy, (SingleDeviceStrategy, ReplicatedStrategy)),
    ):
        if type(owner) not in known:
            return f'{type(owner).__name__} has work to do in each of them'
    if not isinstance(trainer.precision_plugin, EnginePrecision):
        return f'{type(trainer.precision_plugin).__name__} has contexts of its own'
    return None


def _version(text: str) -> tuple[int, ...]:
    numbers = text.split('+')[0].split('.')[:3]
    # A release candidate is none that was checked.
    return tuple(int(part) if part.isdigit() else -1 for part in numbers)


def install(trainer: Any) -> None:
    """Give a Trainer the loops of this module; each decides epoch by epoch whether it is stock."""
    # A loop that does not exist is refused now, and not in the training.
    _options.loop()
    audience = Audience(trainer)
    loop = trainer.fit_loop.epoch_loop
    loop.__class__ = LeanTraining
    for one in (loop, loop.val_loop, trainer.validate_loop, trainer.test_loop):
        one.audience = audience
        if one is not loop:
            one.__class__ = LeanEvaluation


def timed(trainer: Any, clock: Clock) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Yield the loops over batches that are not the training's, each with a timed ``run``.

    Args:
        trainer: The Trainer.
        clock: What times them.
    """
    for phase, loop in (
        ('validation', trainer.fit_loop.epoch_loop.val_loop),
        ('testing', trainer.test_loop),
        # What a Trainer that is not an engine's tests with on the split for validation.
        ('testing', trainer.validate_loop),
    ):
        yield loop, clock.timed(phase, loop.run)


def taken(trainer: Any) -> str:
    """Return which loop has trained, and why, if it is the stock one."""
    loop = trainer.fit_loop.epoch_loop
    # That of a Trainer that is not an engine's stays as it is.
    reason = getattr(loop, '_told', "the Trainer is its user's")
    return f'stock: {reason}' if reason else 'lean'


def unheard(trainer: Any) -> bool:
    """Tell whether a lean loop runs, and nobody listens between a loss and the optimizer's step."""
    loop = trainer.fit_loop.epoch_loop
    return getattr(loop, 'lean', False) and not loop.audience.any(STEP)


def steps(trainer: Any) -> Any:
    """Return what counts the optimizer's steps, for ``trainer.global_step``."""
    return trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress


class LeanTraining(_TrainingEpochLoop):
    """Trains the batches of an epoch."""

    audience: Audience
    # Whether the epoch that runs is not the stock loop's.
    lean = False
    _told: str | None = ''

    def run(self, data_fetcher: Any) -> None:
        reason = obstacle(self.trainer)
        self.lean = reason is None and not self.restarting
        if reason != self._told:
            self._told = reason
            log.debug('Training in the %s', f'stock loop: {reason}' if reason else 'lean loop')
        if not self.lean:
            super().run(data_fetcher)
            return
        try:
            self.reset()
            self.on_run_start(data_fetcher)
            self.val_loop.restarting = False
            self.audience.look()
            self._run_batches(data_fetcher)
        except StopIteration:
            pass
        finally:
            self.lean = False

    def _run_batches(self, data_fetcher: Any) -> None:
        trainer, progress, results = self.trainer, self.batch_progress, self._results
        total: Any = progress.total
        current: Any = progress.current
        module: Any = trainer.lightning_module
        # Setting an attribute of a module is slow.
        names = vars(module)
        device = trainer.strategy.root_device
        connector: Any = trainer._logger_connector
        audience, fit_loop = self.audience, trainer.fit_loop
        batches = module.views['train'].running
        while not (trainer.should_stop and self.done):
            batch = next(batches, _OVER)
            if batch is _OVER:
                return
            # Only now: an epoch that is entered again begins elsewhere.
            batch_idx = current.ready
            data_fetcher.fetched += 1
            last = progress.is_last_batch = data_fetcher.fetched >= data_fetcher.length
            batch = module.transfer_batch_to_device(batch, device, 0)
            current.ready += 1
            total.ready += 1
            connector._first_loop_iter = connector._first_loop_iter is None
            results.batch, results.batch_size, results.dataloader_idx = batch, None, None

            names['_current_fx_name'] = 'on_train_batch_start'
            for method in audience.of('on_train_batch_start'):
                method(trainer, module, batch, batch_idx)
            current.started += 1
            total.started += 1

            names['_current_fx_name'] = 'training_step'
            output = module.training_step(batch, batch_idx) or {}
            current.processed += 1
            total.processed += 1

            names['_current_fx_name'] = 'on_train_batch_end'
            for method in audience.of('on_train_batch_end'):
                method(trainer, module, output, batch, batch_idx)
            module.on_train_batch_end(output, batch, batch_idx)
            names['_current_fx_name'] = None
            if results:
                connector.on_batch_end()
            else:
                results.batch = None
            current.completed += 1
            total.completed += 1
            if results:
                connector.update_train_step_metrics()

            if last or trainer.should_stop:
                self.on_advance_end(data_fetcher)
            else:
                self._batches_that_stepped += 1
            if last or current.ready == fit_loop.max_batches:
                return


class LeanEvaluation(_EvaluationLoop):
    """Runs the batches of a validation or a test."""

    audience: Audience
    # Whether the run is not the stock loop's.
    lean = False

    @_no_grad_context
    def run(self) -> list[Any]:
        self.lean = obstacle(self.trainer) is None
        if not self.lean:
            return super().run()
        self.setup_data()
        if self.skip:
            return []
        self.reset()
        self.on_run_start()
        self.audience.look()
        try:
            self._run_batches('test' if self.trainer.testing else 'validation')
        except StopIteration:
            pass
        finally:
            torch.set_grad_enabled(False)
        self._store_dataloader_outputs()
        return self.on_run_end()

    def _run_batches(self, kind: str) -> None:
        trainer: Any = self.trainer
        module: Any = trainer.lightning_module
        data_fetcher: Any = self._data_fetcher
        progress, results = self.batch_progress, self._results
        names, connector = vars(module), trainer._logger_connector
        before = names['_current_fx_name']
        device = trainer.strategy.root_device
        start, step, end = f'on_{kind}_batch_start', f'{kind}_step', f'on_{kind}_batch_end'
        batches: Iterator[Any] = module.views['test' if kind == 'test' else 'val'].running
        for batch_idx, batch in enumerate(batches):
            # What is between the hooks of the engine is in the grad mode of its launch at once.
            torch.set_grad_enabled(len(trainer.callbacks) == 1 and module.grad_enabled)
            data_fetcher.fetched += 1
            last = progress.is_last_batch = data_fetcher.fetched >= data_fetcher.length
            batch = module.transfer_batch_to_device(batch, device, 0)
            progress.increment_ready()
            connector._first_loop_iter = connector._first_loop_iter is None
            results.batch, results.batch_size, results.dataloader_idx = batch, None, None

            names['_current_fx_name'] = start
            for method in self.audience.of(start):
                method(trainer, module, batch, batch_idx)
            progress.increment_started()

            names['_current_fx_name'] = step
            output = getattr(module, step)(batch, batch_idx)
            progress.increment_processed()

            names['_current_fx_name'] = end
            for method in self.audience.of(end):
                method(trainer, module, output, batch, batch_idx)
            getattr(module, end)(output, batch, batch_idx)
            names['_current_fx_name'] = before
            if results:
                connector.on_batch_end()
            else:
                results.batch = None
            progress.increment_completed()
            self._has_run = True
            if results:
                connector.update_eval_step_metrics(self._seen_batches_per_dataloader[0])
            self._seen_batches_per_dataloader[0] += 1
            if last:
                return
