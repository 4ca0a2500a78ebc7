"""One launch of an engine: the Trainer, and what hooks ask of it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch

from .. import _amp, _display, _phases, _preview, _remember
from .._clock import Clock
from .._signals import StopRequests
from . import (
    checkpoint_io,
    copies,
    lean,
    loggers,
    private,
    processes,
    progress,
    reentry,
    settings,
    sharded,
    strategy,
    trainer,
)
from .arrangement import Arrangement
from .guest import Guest
from .held import EngineReference
from .module import StagesModule
from .precision import EnginePrecision, precision_of, take_over
from .private import Interrupted, count_steps
from .silence import silenced

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from ..engine import Engine


class Run:
    """Drives an engine with a Lightning Trainer.

    Args:
        engine: The engine.
        given: The script's arguments of the Trainer.

    Raises:
        TypeError, ValueError, MisconfigurationException: An argument of the Trainer is wrong, or
            asks for what is not there.
    """

    engine = EngineReference()

    def __init__(self, engine: Engine, given: dict[str, Any] | None = None) -> None:
        self.engine = engine
        self.settings = settings.collect(given)
        _display.check()
        self.stop_requests = StopRequests()
        self.fitting = False
        self.used = False
        self._calling = False
        self.testing_through_lightning = False
        # What shows the progress, and whose bar that is; the live one, if it is that.
        self.shown: _display.Plain | None = None
        self.shown_by: Callback | None = None
        self.display: _display.Live | None = None
        # Whether the Trainer is one of the user's.
        self.is_guest = False
        # OptimizerHook's, for the step that is being taken.
        self.look: Callable[[], None] = _nothing
        with silenced():
            self.module = StagesModule(engine)
            self.trainer = trainer.build(
                self.settings, engine._place.absolute, precision_of(engine)
            )
        self.precision = self.trainer.precision_plugin
        if not isinstance(self.precision, EnginePrecision):
            take_over(engine, self.module, self.precision)
        self.arrangement = Arrangement(engine, self.trainer, self.module, self.settings)
        strategy.refuse_scalars(self.trainer.strategy, engine.model)
        sharded.adopt(self.trainer.strategy)
        self.binding = strategy.binds_optimizer(self.trainer.strategy)

    def put_files_in(self, folder: str) -> None:
        """Tell the Trainer where callbacks and loggers put their files."""
        if folder != self.trainer.default_root_dir:
            private.put_files_in(self.trainer, folder)
            if self.settings.get('logger') is True:
                private.use_default_logger(self.trainer)

    def join(self) -> None:
        """Have all processes of the run there, and the process group, unless they start later."""
        if _preview.asked() and processes.to_be_started(self.trainer):
            return
        with silenced():
            processes.start(self.trainer, early=False)
            if self.several and not self.starts_later:
                processes.join(self.trainer, self.module)

    def split_data(self) -> None:
        """Give each process its share of the data, where the script has not done so."""
        if self.several and not self.starts_later:
            self.engine.data_loaders = processes.split(self.engine.data_loaders, self.trainer)

    @property
    def brings_precision(self) -> bool:
        """Whether a precision of Lightning's takes the place of the engine's."""
        return not isinstance(self.precision, EnginePrecision)

    @property
    def several(self) -> bool:
        """Whether the run has several processes."""
        return self.trainer.world_size > 1

    @property
    def shards(self) -> bool:
        """Whether each process is to have a part of the model."""
        return self.several and strategy.shards(self.trainer.strategy)

    @property
    def gives_values(self) -> bool:
        """Whether the strategy gives values to a model that has none."""
        return settings.brings_precision(self.trainer.strategy) or self.shards

    @property
    def starts_later(self) -> bool:
        """Whether the launch copies this process, by spawn or fork."""
        return private.copies_process(self.trainer.strategy)

    def launch_elsewhere(self, eval: bool | str) -> Any:
        """Launch the engine in copies of this process, and take over where the first one ended.

        Args:
            eval: What the engine's ``launch`` was given.

        Returns:
            What it returned there.
        """
        with silenced():
            return copies.launch(self.engine, self.trainer.strategy, eval)

    def arrive(self) -> None:
        """Take part as one of the copies of a process."""
        private.forget_launcher(self.trainer.strategy)
        with silenced():
            processes.join(self.trainer, self.module)

    def fit(self) -> None:
        """Run the stages that are left."""
        engine = self.engine
        self.fitting = True
        reentry.rewind(engine)
        checkpoint_io.prepare(self.trainer.strategy)
        try:
            self.stop_requests.begin(engine)
            with silenced():
                self.arrangement.begin()
                loggers.log_hyperparameters(engine, self.trainer.loggers)
            progress.follow(self)
            while True:
                if self.binding:
                    _phases.give_optimizer(engine)
                # Enough to begin: the first segment tells how many there are, epoch by epoch.
                self.trainer.fit_loop.max_epochs = engine.epoch + 1
                self._call(self.trainer.fit)
                if not self.binding or self.trainer.should_stop:
                    break
                if engine.stage >= engine.max_stages:
                    break
            checkpoint_io.finish(self.trainer.strategy)
        finally:
            self.fitting = False
            progress.leave(self)
            # A device that has failed says so once more.
            with contextlib.suppress(RuntimeError):
                _remember.finish(engine.buffer)
            self.arrangement.end()
            self.stop_requests.end()
        signum = self.stop_requests.late()
        if signum is not None:
            raise SystemExit(128 + signum)

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
            progress.follow(self)
            yield
        finally:
            self.testing_through_lightning = False
            progress.leave(self)

    @contextlib.contextmanager
    def watched(self, clock: Clock, saved: dict[str, dict[str, Any]]) -> Iterator[None]:
        """Have a clock time what the Trainer does, and checkpoints noted.

        Args:
            clock: The clock.
            saved: Gets the files, as they are saved: where in the run, and how long it took.
        """
        trainer: Any = self.trainer
        save = clock.timed('checkpoint', trainer.save_checkpoint)

        def save_checkpoint(path: Any, *args: Any, **kwargs: Any) -> None:
            begun = time.perf_counter()
            save(path, *args, **kwargs)
            name = os.path.abspath(os.path.expanduser(path))
            engine = self.engine
            # The counter moves when all hooks have seen the end of an epoch.
            epochs = engine.epoch + (engine._moment == 'epoch_end')
            where = {'epochs_done': epochs, 'iterations_done': engine.iter}
            saved[name] = {**where, 'seconds': round(time.perf_counter() - begun, 6)}

        timed: list[tuple[Any, str, Any]] = [(trainer, 'save_checkpoint', save_checkpoint)]
        timed += [(loop, 'run', run) for loop, run in lean.timed(trainer, clock)]
        kept = [(vars(owner), name, vars(owner).get(name)) for owner, name, _ in timed]
        for owner, name, value in timed:
            setattr(owner, name, value)
        try:
            yield
        finally:
            for own, name, value in kept:
                if value is None:
                    del own[name]
                else:
                    own[name] = value

    @property
    def loop_taken(self) -> str:
        """Which loop over batches has trained: 'lean', or 'stock' and why."""
        return lean.taken(self.trainer)

    def averages_gradients(self) -> bool:
        """Tell whether the strategy averages gradients over processes, in backward."""
        return self.fitting and strategy.averages_gradients(self.trainer.strategy)

    def clip(self, params: list[torch.nn.Parameter], cfg: dict[str, Any]) -> torch.Tensor:
        """Clip gradients and return their norm before."""
        return strategy.clip(self.trainer.strategy, params, cfg)

    def save(
        self,
        path: str,
        optimizer: bool = True,
        then: Callable[[], None] | None = None,
        failed: Callable[[OSError], None] | None = None,
        background: bool = False,
    ) -> None:
        """Save a checkpoint; all processes take part.

        Args:
            path: The file.
            optimizer: Whether the optimizer's state is saved too.
            then: Called in the process that writes, when the file is safe.
            failed: Called there with the error, if it could not be written.
            background: Whether to go on while the file is being written.

        Raises:
            OSError: This file, or one in the background before, could not be written, and
                nothing was to be called then.
        """
        writer = checkpoint_io.prepare(self.trainer.strategy, background)
        if writer is not None:
            writer.jobs[path] = checkpoint_io.Job(then, failed)
        self.module.leaves_out_optimizer = not optimizer
        try:
            with silenced():
                self.trainer.save_checkpoint(path)
        finally:
            self.module.leaves_out_optimizer = False
        if writer is not None:
            writer.report()
        elif then is not None and self.trainer.is_global_zero:
            then()

    def precision_context(self, training: bool) -> AbstractContextManager[Any]:
        """Return what the model runs in: in nncore, validation and test are float32."""
        if training or not isinstance(self.precision, EnginePrecision):
            # Lightning's loops have entered its own precision already; twice is the same.
            return self.precision.forward_context()
        return contextlib.nullcontext()

    def given_scaler(self) -> torch.amp.GradScaler | None:
        """Return the scaler of Lightning's own precision; None where nncore's rule holds."""
        if isinstance(self.precision, EnginePrecision):
            return None
        scaler = getattr(self.precision, 'scaler', None)
        return torch.amp.GradScaler(enabled=False) if scaler is None else scaler

    def backward(self, loss: torch.Tensor, scaler: torch.amp.GradScaler, sync: bool) -> None:
        """Backpropagate.

        Args:
            loss: A scalar.
            scaler: The gradient scaler; Lightning's own precision has its own.
            sync: Whether gradients are synchronised over processes; not while accumulating.
        """
        if isinstance(self.precision, EnginePrecision):
            self.precision.adopt(scaler)
        if lean.unheard(self.trainer):
            scaler.scale(loss).backward()
            return
        block = getattr(self.trainer.strategy, 'block_backward_sync', None)
        with contextlib.nullcontext() if sync or block is None else block():
            self.module.manual_backward(loss)

    def step(self, scaler: torch.amp.GradScaler, look: Callable[[], None]) -> None:
        """Step the engine's optimizer.

        Args:
            scaler: The gradient scaler that the loss was scaled with.
            look: Called when the gradients are unscaled, after Lightning's callbacks.
        """
        if not isinstance(self.engine.optimizer, torch.optim.Optimizer):
            # A wrapper with the methods of one, which Lightning would not take.
            _amp.step(self.engine.optimizer, scaler, look)
            return
        # A hook may have put another optimizer in place.
        if self.trainer.optimizers[0] is not self.engine.optimizer and not self.binding:
            strategy.exchange_optimizer(self.trainer)
        if lean.unheard(self.trainer):
            steps = lean.steps(self.trainer)
            steps.increment_ready()
            _amp.step(self.engine.optimizer, scaler, look)
            steps.increment_completed()
            return
        self.look = look
        count_steps(self.trainer)
        self.module.optimizers().step()  # type: ignore[union-attr]
        self.look = _nothing

    def receive(self, trainer: Any) -> None:
        """Prepare a Trainer that was told to run the module, unless this object tells it.

        Args:
            trainer: The Trainer.
        """
        if not self._calling:
            Guest(self, trainer).enter()

    def end(self) -> None:
        """Let go of what the Trainer has left."""
        for view in self.module.views.values():
            view.close()
        self._back_to_device()

    def release(self) -> None:
        """Let go of the model, when the engine is gone: Trainer and module hold each other."""
        self.module._modules.clear()
        self.trainer.strategy.optimizers = []

    def _call(self, method: Any, **kwargs: Any) -> None:
        original = None
        self._calling = True
        self.module.begin()
        try:
            with silenced():
                method(self.module, **kwargs)
        except Interrupted as error:
            original = error.original
        finally:
            self._calling = False
            self.module.keep_engine(False)
            self.end()
        if original is not None:
            raise original

    def _back_to_device(self) -> None:
        # Lightning leaves model and optimizer on the CPU; scripts go on using them.
        device = self.trainer.strategy.root_device
        if device.type != 'cpu' and not settings.brings_precision(self.trainer.strategy):
            self.module.to(device)
            optimizer = getattr(self.engine, 'optimizer', None)
            if isinstance(optimizer, torch.optim.Optimizer):
                private.to_device([optimizer], device)


def _nothing() -> None:
    pass
