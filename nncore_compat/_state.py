"""Where a run is: the counters of an engine, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from . import _batches, _loaders, _stages
from ._plain import described
from .buffer import Buffer
from .comm import is_main_process
from .utils import save_checkpoint

if TYPE_CHECKING:
    from ._clock import Clock
    from .hooks._records import Records


class State:
    """What hooks read of an engine, nowhere kept twice: Lightning's counters follow these."""

    stages: Sequence[dict[str, Any]]
    data_loaders: dict[str, Any]
    buffer: Buffer
    # Set when training gets there.
    data_loader: Any
    optimizer: torch.optim.Optimizer
    losses: dict[str, Any]
    model: Any
    trainer: Any

    _mode: str | None = None
    _factor_missed = False
    # Whether the run was ended before its time.
    _stopped = False
    # What ends the launch before its time, and the hook that it came out of: the error, the hook,
    # where that was.
    _failure: BaseException | None = None
    _failed_in: tuple[Exception, Any, str] | None = None
    # Hooks that have had before_launch and not yet after_launch.
    _told: tuple[Any, ...] = ()
    # Where in its epoch the run is, as `_snapshot.collect` tells it: the epoch, the iterations that
    # were done before it, the moment, and in after_train_epoch the hook that had the last turn.
    _running_epoch = 0
    _epoch_start = 0
    _moment = 'iter'
    _closing: str | None = None
    # The checkpoint to resume from exactly, and what `resume` was asked for.
    _resuming: dict[str, Any] | None = None
    _resume_options: dict[str, Any] = {}
    # What is to be done when the iteration, or the validation, is over for all.
    _at_rest: list[Callable[[Any], None]]
    # What the launch resumes from, and whether the command line has had its say in that.
    _resume_from: Any = None
    _resume_answered = False
    # Of loaders, by number, while an event of an iteration is running: a loader may ask all its
    # samplers and data sets each time.
    _lengths: dict[int, int] | None = None
    # What the training that runs, or that is to come, has resumed from, in words.
    _resumed_from: str | None = None
    # Names of the quirks of nncore: those that the log has told of, those that the launch has met,
    # and of these the ones that were met before it, because they bear on the training to come.
    _quirks_met: tuple[str, ...] = ()
    _quirks_of_launch: tuple[str, ...] = ()
    _quirks_ahead: tuple[str, ...] = ()
    # What times a launch that is reported.
    _clock: Clock | None = None
    # Set where an interrupted run is taken up, or may be.
    _records: Records | None = None
    _kwargs: dict[str, Any]
    _stage: int
    _epoch: int
    _iter: int
    _start_iter: int
    _epochs_left: int
    _max_stages: int
    _max_epochs: int
    _max_iters: int

    def _begin_account(self) -> None:
        """Begin to note what one launch meets."""
        self._quirks_of_launch = self._quirks_ahead

    def _end_training_account(self) -> None:
        """Leave to later launches nothing of what this training has begun with."""
        self._quirks_ahead, self._resumed_from = (), None

    def _metric(self, name: str, where: str) -> float:
        """Return the latest value of a metric that callbacks could monitor."""
        metrics = self.trainer.callback_metrics
        if name not in metrics:
            raise KeyError(
                f'{where}: there is no metric {name!r} after the validation of epoch '
                f'{self.epoch}. There are: {", ".join(sorted(metrics)) or "none"}'
            )
        return float(metrics[name])

    def _save_checkpoint(
        self,
        path: str,
        epoch: int,
        *,
        optimizer: bool = True,
        then: Callable[[], None] | None = None,
        failed: Callable[[OSError], None] | None = None,
        background: bool = False,
    ) -> None:
        """Save what nncore saves, for all that is known in a Trainer that is not an engine's."""
        if not is_main_process():
            return
        meta = {'epoch': epoch, 'iter': self.iter, 'stages': described(self.stages)}
        try:
            save_checkpoint(self.model, path, self.optimizer if optimizer else None, meta)
            if then is not None:
                then()
        except OSError as error:
            if failed is None:
                raise
            failed(error)

    def _when_at_rest(self, action: Callable[[Any], None]) -> None:
        """Do something when no hook or callback has a turn to come, or as soon as possible."""
        action(self)

    def reset_states(self) -> None:
        """Go back to the first iteration, with an empty buffer.

        Examples:
            >>> engine.launch()
            >>> engine.reset_states()
            >>> engine.epoch, engine.iter
            (0, 0)
        """
        self.buffer.clear()
        self._max_stages = len(self.stages)
        self._max_epochs = sum(stage['epochs'] for stage in self.stages)
        self._max_iters = _loaders.train_length(self.data_loaders) * self._max_epochs
        self._stage = self._epoch = self._iter = 0
        self._at_rest = []
        self._start_iter = self._epochs_left = 0

    @property
    def failure(self) -> BaseException | None:
        """In ``after_launch``, what has ended the launch before its time; None if nothing has.

        Examples:
            >>> from nncore_compat import Hook
            >>> class Note(Hook):
            ...     def after_launch(self, engine):
            ...         print('ended by', repr(engine.failure))
            >>> Engine(model, loaders, stages=stages, hooks=[Note()]).launch()
            ended by None
        """
        return self._failure

    @property
    def mode(self) -> str | None:
        """``'train'``, ``'val'`` or ``'test'``; None before the first epoch.

        Examples:
            >>> hook = ClosureHook('before_epoch', lambda engine: print(engine.mode))
            >>> Engine(model, loaders, stages={**stages[0], 'epochs': 1}, hooks=[hook]).launch()
            train
            val
        """
        return self._mode

    @property
    def stage(self) -> int:
        """The current stage, from 0.

        Examples:
            >>> hook = ClosureHook('before_stage', lambda engine: print(engine.stage))
            >>> Engine(model, loaders, stages=[stages[0], stages[0]], hooks=[hook]).launch()
            0
            1
        """
        return self._stage

    @property
    def epoch(self) -> int:
        """The current training epoch over all stages, from 0: the number of finished ones.

        Examples:
            >>> engine.launch()
            >>> engine.epoch
            2
        """
        return self._epoch

    @property
    def iter(self) -> int:
        """The current training iteration over all stages, from 0: the number of finished ones.

        Examples:
            >>> engine.launch()
            >>> engine.iter
            6
        """
        return self._iter

    @property
    def start_iter(self) -> int:
        """The iteration that this run resumed from.

        Examples:
            >>> engine.start_iter
            0
        """
        return self._start_iter

    @property
    def max_stages(self) -> int:
        """Number of stages.

        Examples:
            >>> engine.max_stages
            1
        """
        return self._max_stages

    @property
    def max_epochs(self) -> int:
        """Number of epochs of all stages.

        Examples:
            >>> engine.max_epochs
            2
        """
        return self._max_epochs

    @property
    def max_iters(self) -> int:
        """Number of training iterations of all stages.

        Examples:
            >>> engine.max_iters  # two epochs of three batches
            6
        """
        return self._max_iters

    @property
    def kwargs(self) -> dict[str, Any]:
        """What ``launch`` hands to the model; to change it changes nothing.

        Examples:
            >>> engine.launch(temperature=2.0)  # forward(data, mode=..., temperature=2.0)
            >>> engine.kwargs
            {'temperature': 2.0}
        """
        return _copied(self._kwargs)

    @property
    def cur_stage(self) -> dict[str, Any]:
        """The config of the current stage; of the last one when all are done.

        Examples:
            >>> engine.cur_stage['optimizer']
            {'type': 'SGD', 'lr': 0.1}
        """
        return self.stages[min(self._stage, len(self.stages) - 1)]

    @property
    def epoch_in_stage(self) -> int:
        """The epoch within its stage, from 0; past the end, the last stage's number of epochs.

        Examples:
            >>> def show(engine):
            ...     print(engine.epoch_in_stage)
            >>> hook = ClosureHook('before_train_epoch', show)
            >>> Engine(model, loaders, stages=[stages[0], stages[0]], hooks=[hook]).launch()
            0
            1
            0
            1
        """
        stage, epoch = _stages.locate(self.stages, self._epoch)
        return epoch if stage < len(self.stages) else self.stages[-1]['epochs']

    @property
    def iter_in_stage(self) -> int:
        """The training iteration within its stage, from 0.

        Examples:
            >>> engine.iter_in_stage
            0
        """
        epochs = sum(stage['epochs'] for stage in self.stages[: self._stage])
        return self._iter - self._length(self.data_loaders['train']) * epochs

    @property
    def iter_in_epoch(self) -> int:
        """The training iteration within its epoch, from 0.

        Examples:
            >>> seen = []
            >>> def note(engine):
            ...     seen.append(engine.iter_in_epoch)
            >>> engine.register_hook(ClosureHook('before_train_iter', note))
            >>> engine.launch()
            >>> seen
            [0, 1, 2, 0, 1, 2]
        """
        return self._iter - self._length(self.data_loaders['train']) * self._epoch

    def _length(self, loader: Any) -> int:
        """Return the length of a loader; in an event of an iteration it is asked for once.

        One that has none has the number of batches that it gave last.
        """
        if self._lengths is None:
            return _batches.length(loader)
        length = self._lengths.get(id(loader))
        if length is None:
            length = self._lengths[id(loader)] = _batches.length(loader)
        return length


def _copied(value: Any) -> Any:
    """Return a copy, down to what is no collection: models and tensors may be large."""
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(_copied(item) for item in value)
    return value
