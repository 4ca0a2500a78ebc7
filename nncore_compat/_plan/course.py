"""The course of a run: its epochs, walked through by counters alone, with the real hooks asked."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from .. import _phases, _snapshot, _stages
from .._preflight import told
from .._state import State
from ..hooks import CheckpointHook, LrUpdaterHook
from ..hooks.lr_updater import warmup_steps

if TYPE_CHECKING:
    from ..engine import Engine

# With more iterations than this, the rates of some of them stand for all.
DENSE = 200_000
THINNED = 40_000


@dataclass
class Rates:
    """The learning rates in force while iterations run, bit for bit those of the training.

    Args:
        iterations: Which iterations, from 0 over all stages. All there are, up to 200,000; of more,
            those where anything changes otherwise than smoothly, and some tens of thousands more.
        epochs: The epoch of each, from 0 over all stages.
        stages: The stage of each, from 0.
        values: The rates of each, by parameter group.
        names: Names of the parameter groups, by stage.
    """

    iterations: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    stages: list[int] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)
    names: dict[int, list[str]] = field(default_factory=dict)

    def of_stage(self, stage: int) -> list[int]:
        """Return the positions in these lists that belong to a stage."""
        return [i for i, one in enumerate(self.stages) if one == stage]


@dataclass
class Start:
    """Where a run begins.

    Args:
        epoch: The first epoch to be run, maybe in part.
        done: Iterations of that epoch that are done already.
        optimizer: What the run goes on with, None to begin with one of the stage's.
        restored: Whether that optimizer's rates are put back when the epoch has begun.
        closed: Whether nothing of the epoch is left at all, not even its validation.
    """

    epoch: int = 0
    done: int = 0
    optimizer: Any = None
    restored: bool = False
    closed: bool = False


@dataclass
class Course:
    """What the run would do, and when.

    Args:
        rates: The learning rates.
        validated: The epochs (counted from 1, as in the log) that are validated, by stage.
        saved: The epochs that are saved.
        quirks: Quirks of nncore 0.4.7 that would change this, with what is done instead.
        errors: What went wrong while finding out.
    """

    rates: Rates = field(default_factory=Rates)
    validated: dict[int, list[int]] = field(default_factory=dict)
    saved: list[int] = field(default_factory=list)
    quirks: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


class _Counted:
    """A loader of which there is nothing but the length."""

    def __init__(self, length: int) -> None:
        self._length = length
        self.dataset = None

    def __len__(self) -> int:
        return self._length


class _Counters(State):
    """What hooks see of an engine: the counters, and the learning rates."""

    def __init__(self, engine: Engine, batches: dict[str, int]) -> None:
        self.stages = engine.stages
        self.data_loaders = {split: _Counted(length) for split, length in batches.items()}
        self.data_loader = self.data_loaders['train']
        self.work_dir = engine.work_dir
        self.hooks = engine.hooks
        # One that nobody hears.
        self.logger = logging.Logger('plan', logging.CRITICAL)
        self._max_stages = len(self.stages)
        self._max_epochs = sum(stage['epochs'] for stage in self.stages)
        self._max_iters = batches['train'] * self._max_epochs
        self._stage = self._epoch = self._iter = self._start_iter = 0
        self._mode = 'train'
        self._lengths = {}


def groups_only(optimizer: Any) -> SimpleNamespace:
    """Return the settings of an optimizer's parameter groups, to be changed at will."""
    groups = [{k: v for k, v in one.items() if k != 'params'} for one in optimizer.param_groups]
    return SimpleNamespace(param_groups=groups)


def start_of(engine: Engine, found: Any = None) -> Start:
    """Return where the next launch of an engine begins.

    Args:
        engine: The engine.
        found: What the launch is to resume from, as ``_resume.read`` returns it; None for where
            the engine is.
    """
    checkpoint = engine._resuming
    epoch, optimizer = engine.epoch, getattr(engine, 'optimizer', None)
    if found is not None:
        checkpoint = found.checkpoint if found.section else None
        epoch, optimizer = found.epoch, found.optimizer
    if checkpoint is None:
        # At the start of a stage a new one is made.
        begun = _stages.locate(engine.stages, epoch)[1] > 0
        return Start(epoch, 0, groups_only(optimizer) if begun else None)
    section = checkpoint[_snapshot.KEY]
    done = section['batches_done']
    length = len(engine.data_loaders['train'])
    if section['batches'] not in (0, length):
        done = done * length // section['batches']
    if section['moment'] != 'iter':
        # Nothing of the epoch is left but what comes after its iterations.
        done = max(length, done)
    closed = section['moment'] in ('boundary', 'ended')
    return Start(section['epoch'], done, groups_only(optimizer), restored=True, closed=closed)


def course(engine: Engine, batches: dict[str, int], optimizers: list[Any], start: Start) -> Course:
    """Walk through a run.

    Args:
        engine: The engine, which stays as it is.
        batches: The lengths of its loaders.
        optimizers: What each stage begins with; None where that is not known.
        start: Where to begin.
    """
    walk = _Walk(engine, batches, start)
    first = 0
    for stage, cfg in enumerate(engine.stages):
        epochs = range(max(first, start.epoch), first + cfg['epochs'])
        first += cfg['epochs']
        if epochs:
            resumed = start.optimizer if epochs[0] == start.epoch else None
            walk.through(stage, epochs, optimizers[stage] if resumed is None else resumed)
    return walk.found


class _Walk:
    def __init__(self, engine: Engine, batches: dict[str, int], start: Start) -> None:
        self.found = Course()
        self.counters = _Counters(engine, batches)
        self.start = start
        self.length = batches['train']
        self.left = max(1, self.counters.max_epochs - start.epoch)
        updater = engine.hooks.get('LrUpdaterHook')
        self.updater = copy.copy(updater) if isinstance(updater, LrUpdaterHook) else None
        self.saver = engine.hooks.get('CheckpointHook')
        # Rates of a subclass may follow from those before, as far as one can know.
        plain = self.updater is None or type(self.updater) is LrUpdaterHook
        self.dense = not plain or self.left * self.length <= DENSE
        self.stand_ins: dict[int, Any] = {}

    def through(self, stage: int, epochs: range, optimizer: Any) -> None:
        """Walk through the epochs of a stage; without an optimizer there are no rates."""
        counters: Any = self.counters
        counters._stage, counters._epoch = stage, epochs[0]
        counters._iter = epochs[0] * self.length
        self.found.validated[stage] = []
        updater = self.updater
        if optimizer is not None:
            # One object keeps its base rates from stage to stage.
            kept = self.stand_ins.setdefault(id(optimizer), groups_only(optimizer))
            counters.optimizer, groups = kept, kept.param_groups
            self.found.rates.names[stage] = [str(g.get('name', i)) for i, g in enumerate(groups)]
            restored = [dict(group) for group in groups]
        else:
            updater, groups, restored = None, [], []
        try:
            if updater is not None:
                updater.before_stage(counters)
            for epoch in epochs:
                counters._epoch, counters._iter = epoch, epoch * self.length
                if updater is not None:
                    updater.before_train_epoch(counters)
                resuming = epoch == self.start.epoch
                if resuming and self.start.restored:
                    for group, old in zip(groups, restored, strict=True):
                        group.update(old)
                done = self.start.done if resuming else 0
                if optimizer is not None:
                    self._iterations(updater, epoch, done)
                self._end(epoch, done)
        except Exception as error:
            where = f'stages[{stage}], epoch {counters.epoch + 1}, iteration {counters.iter + 1}'
            self.found.errors.append(f'{where}: the learning rate cannot be set: {told(error)}')

    def _iterations(self, updater: LrUpdaterHook | None, epoch: int, done: int) -> None:
        counters, rates = self.counters, self.found.rates
        warm = _warmup_end(counters.cur_stage) - counters.iter_in_stage
        count = self.length if self.dense else max(2, THINNED // self.left)
        for index in _looked_at(self.length, count, done, warm):
            counters._iter = epoch * self.length + index
            if updater is not None:
                updater.before_train_iter(cast('Engine', counters))
            rates.iterations.append(counters._iter)
            rates.epochs.append(epoch)
            rates.stages.append(counters._stage)
            rates.values.append(tuple([group['lr'] for group in counters.optimizer.param_groups]))

    def _end(self, epoch: int, done: int) -> None:
        counters: Any = self.counters
        counters._iter = (epoch + 1) * self.length - 1
        in_stage = counters.epoch_in_stage + 1
        saver = self.saver if isinstance(self.saver, CheckpointHook) else None
        if saver is not None and done < self.length and saver._is_due(counters):
            self.found.saved.append(epoch + 1)
        counters._iter += 1
        counters._epoch += 1
        due, changed = _phases.validation_due(counters, in_stage)
        self.found.quirks.update(changed)
        if due and not (epoch == self.start.epoch and self.start.closed):
            self.found.validated[counters.stage].append(epoch + 1)


def _warmup_end(stage: dict[str, Any]) -> int:
    """The last iteration of the stage in which a warm-up sets the rates; -1 without any."""
    cfg = stage.get('warmup')
    if cfg is None or cfg['type'] != 'iter':
        return -1
    return math.floor(warmup_steps(cfg))


def _looked_at(length: int, count: int, done: int, last_warm: int) -> Iterator[int]:
    """The iterations of an epoch whose rates are noted: all, or an even selection.

    Rates by iteration follow from the iteration alone. Where they do not, they stay as the last
    iteration of a warm-up has set them, which is among the selected.
    """
    if count >= length:
        yield from range(done, length)
        return
    chosen = {round(i * (length - 1) / (count - 1)) for i in range(count)}
    chosen |= {i for i in (done, last_warm - 1, last_warm, last_warm + 1) if i < length}
    yield from sorted(i for i in chosen if i >= done)
