"""Every private name of Lightning, and of rich under its bar, that is used, in one place.

Seen to exist and to mean the same from 2.4 to 2.6; `tests/test_private.py` asks the installed
version for each.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.fabric.utilities.optimizer import _optimizers_to_device
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.trainer.states import RunningStage
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader


class Interrupted(BaseException):
    """Carries an exception through Lightning that Lightning would swallow or turn into an exit."""

    def __init__(self, original: BaseException) -> None:
        super().__init__(original)
        self.original = original


class UninterruptedTrainer(Trainer):
    """A Trainer that leaves signals to the script.

    Lightning's own ends the process at a KeyboardInterrupt, and with status 0 at SIGTERM, for
    which processes would ask each other at every batch.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._signal_connector.register_signal_handlers = _do_nothing  # type: ignore[method-assign]
        self.fit_loop.epoch_loop._broadcast_sigterm_tensor = _do_nothing  # type: ignore[method-assign]

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._run(*args, **kwargs)
        except KeyboardInterrupt as error:
            raise Interrupted(error) from error


def _do_nothing() -> None:
    pass


def count_steps(trainer: Trainer) -> None:
    """Let the next optimizer step count for ``trainer.global_step``.

    The manual optimization loop listens to steps taken inside ``training_step`` only; nncore
    steps after it.
    """
    trainer.fit_loop.epoch_loop.manual_optimization.on_run_start()


def before_optimizer_step(trainer: Trainer, optimizer: Optimizer) -> None:
    """Call ``on_before_optimizer_step`` of callbacks and module, as precision plugins do."""
    plugin = trainer.precision_plugin
    plugin._after_closure(trainer.lightning_module, optimizer)


def start_at(trainer: Trainer, epoch: int, iteration: int, steps: int) -> None:
    """Set the counters of a fit that goes on after so many epochs, batches and steps."""
    loop = trainer.fit_loop
    for progress, count in (
        (loop.epoch_progress.total, epoch),
        (loop.epoch_progress.current, epoch),
        (loop.epoch_loop.batch_progress.total, iteration),
        (loop.epoch_loop.manual_optimization.optim_step_progress.total, steps),
        # Which Lightning never sets back.
        (loop.epoch_loop.manual_optimization.optim_step_progress.current, steps),
    ):
        for name in vars(progress):
            setattr(progress, name, count)
    loop.epoch_loop._batches_that_stepped = iteration


def go_to(trainer: Trainer, batches: int) -> None:
    """Tell the training loop, when it asks for its first batch, that so many have been before."""
    loop: Any = trainer.fit_loop
    progress = loop.epoch_loop.batch_progress.current
    for name in vars(progress):
        setattr(progress, name, batches)
    loop._data_fetcher.fetched = batches


def batches_processed(trainer: Trainer) -> int:
    """Return how many batches of its epoch the model has been trained on."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress
    return progress.current.processed


def resize_training(trainer: Trainer, batches: int) -> None:
    """Tell the training loop the length of the epoch that begins: ``set_state`` may change it."""
    loop: Any = trainer.fit_loop
    loop.max_batches = trainer.val_check_batch = batches
    loop._combined_loader.limits = [batches]
    loop._data_fetcher.length = batches


def resize_validation(trainer: Trainer, batches: float) -> None:
    """Tell the validation loop the length of the epoch that begins."""
    loop: Any = trainer.fit_loop.epoch_loop.val_loop
    # In place: the running iterator has the same list for its limits.
    loop._max_batches[:] = [batches]
    loop._data_fetcher.length = batches


class UnwrappedStrategy(DDPStrategy):
    """A DDPStrategy that leaves the model as it is."""

    def _setup_model(self, model: nn.Module) -> nn.Module:  # type: ignore[override]
        return model


def spread(strategy: ModelParallelStrategy, processes: int) -> None:
    """Have a strategy shard over so many processes, unless its user has said over how many."""
    if strategy._data_parallel_size == 'auto':
        strategy._data_parallel_size = processes


def saves_folders(strategy: ModelParallelStrategy) -> bool:
    """Tell whether a strategy is to save distributed checkpoints."""
    return strategy._save_distributed_checkpoint


def run_again(strategy: Any) -> list[Any]:
    """Run the script again in as many processes as are missing, and return them."""
    strategy.launcher.launch(_do_nothing)
    return strategy.launcher.procs


def copies_process(strategy: Any) -> bool:
    """Tell whether a strategy starts its processes from this one, by spawn or fork."""
    return isinstance(strategy.launcher, _MultiProcessingLauncher)


def forget_launcher(strategy: Any) -> None:
    """Have a strategy run in the processes that there are."""
    strategy._launcher = None


def share_of(trainer: Trainer, loader: DataLoader[Any], shuffle: bool) -> Any:
    """Return a loader of this process's share of the samples, if the Trainer is to see to that."""
    stage = RunningStage.TRAINING if shuffle else RunningStage.VALIDATING
    return trainer._data_connector._prepare_dataloader(loader, shuffle=shuffle, mode=stage)


def to_device(optimizers: list[Optimizer], device: torch.device) -> None:
    """Move the state of optimizers."""
    _optimizers_to_device(optimizers, device)


def validate(trainer: Trainer) -> None:
    """Run the validation of a fit at a moment when Lightning itself would not."""
    trainer.validating = True
    trainer.fit_loop.epoch_loop.val_loop.run()
    trainer.training = True


def stops(trainer: Trainer) -> bool:
    """Tell whether the fit ends at the next occasion, because someone asked for it."""
    return trainer.should_stop and trainer.fit_loop._can_stop_early


def logs_now(trainer: Trainer) -> bool:
    """Tell whether anyone is to see the values of the iteration that ends."""
    seen = bool(trainer.loggers) or trainer.progress_bar_callback is not None
    return seen and trainer._logger_connector.should_update_logs


def put_files_in(trainer: Trainer, folder: str) -> None:
    """Change where callbacks and loggers put their files."""
    trainer._default_root_dir = folder  # type: ignore[attr-defined]


def use_default_logger(trainer: Trainer) -> None:
    """Give the Trainer the logger that it would have made itself."""
    trainer._logger_connector.configure_logger(True)


def drawing(progress: Any) -> Any:
    """Return the lock that the thread which draws the bars of a rich ``Progress`` takes."""
    return progress.live._lock
