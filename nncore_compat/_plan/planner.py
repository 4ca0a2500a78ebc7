"""Finding out what a launch would do."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from .. import _auto_resume, _options, _phases, _resume, _stages, quirks
from .._parameters import count
from .._preflight import Problem, noting
from .._random import unnoticed
from .._state_dict import inner, uncompiled
from ..hooks import CheckpointHook, ClosureHook, Hook
from ..hooks.base import method_for
from ..hooks.lr_updater import warmup_steps
from . import checks, facts
from .course import Course, Start, course, start_of
from .plan import Plan

if TYPE_CHECKING:
    from ..engine import Engine

# Where a hook could set learning rates that are then in force.
EVENTS = (
    'before_launch',
    'before_stage',
    'before_train_epoch',
    'before_train_iter',
    'after_train_iter',
    'after_train_epoch',
)


def plan(
    engine: Engine,
    *,
    eval: bool | str = False,
    resume: Any = None,
    problems: list[Problem] | None = None,
) -> Plan:
    """Find out what a launch would do. The engine, random numbers and the disk stay as they are.

    Args:
        engine: The engine.
        eval: As for ``launch``.
        resume: As for ``launch``.
        problems: What is known to be wrong already.
    """
    with unnoticed():
        return _Planner(engine, list(problems or ())).plan(eval, resume)


class _Planner:
    def __init__(self, engine: Engine, problems: list[Problem]) -> None:
        self.engine = engine
        self.problems = problems
        self.logger = _Listener(self.problems)

    def plan(self, eval: bool | str, resume: Any) -> Plan:
        engine, made = self.engine, self._run()
        with self._whole_data():
            made.loaders = {one.split: one for one in facts.loaders(engine.data_loaders)}
            if eval:
                self._evaluation(made, eval)
            else:
                if not any(problem.fatal for problem in self.problems):
                    self.problems.extend(checks.of_data(made.loaders, engine._given_splits))
                self._training(made, resume)
                made.timeline = engine.timeline()
        self.problems.sort(key=lambda problem: not problem.fatal)
        made.problems = list(dict.fromkeys(self.problems))
        return made

    def _run(self) -> Plan:
        engine = self.engine
        trainer: Any = engine._run.trainer
        parameters, trainable = count(engine.model)
        return Plan(
            model=type(uncompiled(inner(engine.model))).__name__,
            parameters=parameters,
            trainable=trainable,
            device=str(trainer.strategy.root_device),
            strategy=type(trainer.strategy).__name__,
            processes=trainer.world_size,
            precision=self._precision(trainer),
            work_dir=str(engine.work_dir),
            quirks=[name for name in quirks.QUIRKS if quirks.active(name)],
        )

    def _precision(self, trainer: Any) -> str:
        amp = self.engine.amp_cfg
        if self.engine._run.brings_precision:
            return f"{trainer.precision} (Lightning's, in place of amp)"
        if not amp['enabled']:
            return '32-bit, amp off'
        return f'amp {self.engine.get_amp_type()} in training, 32-bit in validation'

    def _whole_data(self) -> Any:
        return _Divided(self.engine)

    def _evaluation(self, made: Plan, eval: bool | str) -> None:
        from .._evaluation import SPLITS

        name = 'test' if isinstance(eval, bool) else eval
        if name not in SPLITS:
            self._error(f"eval mode '{name}' not found, expected True or one of {list(SPLITS)}")
            return
        made.evaluates = SPLITS[name]
        for split in made.evaluates:
            loader = self.engine.data_loaders.get(split)
            if loader is None:
                self._error(f'no loader for {split}: data_loaders has {list(made.loaders)}')
                continue
            if made.loaders[split].batches == 0:
                self._error(f'data_loaders[{split!r}] has no batch')
            alone = not _phases.metric_hooks(self.engine) or self.engine._overrides('evaluate')
            if alone and not hasattr(loader.dataset, 'evaluate'):
                self._error(
                    f'{type(loader.dataset).__name__} (split {split!r}) has no evaluate method, '
                    'and there is no MetricHook'
                )

    def _training(self, made: Plan, resume: Any) -> None:
        engine = self.engine
        start = self._start(made, resume)
        train = made.loaders.get('train')
        length = (train.batches if train else None) or 0
        optimizers = [self._optimizer(stage) for stage in range(len(engine.stages))]
        known = {split: one.batches or 0 for split, one in made.loaders.items()}
        walked = course(engine, {**known, 'train': length}, optimizers, start)
        made.rates, made.checkpoints = walked.rates, walked.saved
        saver = engine.hooks.get('CheckpointHook')
        if isinstance(saver, CheckpointHook):
            made.checkpoint_iters = saver._every_n_iters
        made.stages = self._stages(start, length, optimizers, walked)
        made.differences = walked.quirks
        made.differences.update(_phases.hook_defaults(engine))
        made.changers = self._changers()
        made._warmups = self._warmups(made, start, length)
        validates = any(stage.validated for stage in made.stages)
        metrics = checks.expected_metrics(engine)
        for found in (
            checks.of_stages(engine, made.stages, length) if length else (),
            checks.of_rates(walked),
            checks.of_hooks(engine, validates, length, metrics),
            checks.of_folders(engine),
            checks.of_leftovers(engine, made.checkpoints, made.resume is not None),
        ):
            self.problems.extend(found)
        _stages.warn_typos(engine.stages, self.logger)

    def _start(self, made: Plan, resume: Any) -> Start:
        engine = self.engine
        try:
            source = _auto_resume.source(engine, False, resume)
            found = None
            if source == _options.AUTO:
                folder = _auto_resume.checkpoint_folder(engine)
                if not _auto_resume.is_fixed(engine, folder):
                    self.logger.warning(_auto_resume.unfound(engine))
                newest = _auto_resume.newest(self.logger, folder)
                source = None if newest is None else newest[0]
                if newest is None:
                    made.resume = f'auto: no checkpoint in {folder}, from the beginning'
            if source is not None:
                found = _resume.read(engine, source, True, self.logger)
            start = start_of(engine, found)
        except Exception as error:
            with noting(self.problems, 'resume'):
                raise error
            made.resume = 'fails, see below'
            return Start()
        if start.epoch or start.done:
            name = source if isinstance(source, (str, os.PathLike)) else 'the loaded checkpoint'
            within = f', of which {start.done} iterations are done' if start.done else ''
            made.resume = f'{name}: epoch {start.epoch + 1}{within}'
        return start

    def _optimizer(self, stage: int) -> Any:
        before = len(self.problems)
        made = None
        with noting(self.problems, f'stages[{stage}].optimizer'):
            made = _phases.new_optimizer(self.engine, stage)
        return made if len(self.problems) == before else None

    def _stages(
        self, start: Start, length: int, optimizers: list[Any], walked: Course
    ) -> list[facts.Stage]:
        found = []
        first = 0
        for index, cfg in enumerate(self.engine.stages):
            epochs = range(max(first, start.epoch), first + cfg['epochs'])
            first += cfg['epochs']
            if not epochs:
                continue
            done = start.done if epochs[0] == start.epoch else 0
            optimizer = optimizers[index]
            found.append(
                facts.Stage(
                    number=index + 1,
                    epochs=range(epochs[0] + 1, epochs[-1] + 2),
                    iterations=len(epochs) * length - done,
                    steps=facts.steps(self.engine, len(epochs), length, done),
                    optimizer='refused, see below'
                    if optimizer is None
                    else facts.optimizer(optimizer),
                    groups=[] if optimizer is None else facts.group_sizes(optimizer),
                    schedule=facts.schedule(cfg.get('lr_schedule')),
                    warmup=facts.warmup(cfg.get('warmup')),
                    validated=walked.validated.get(index, []),
                    grad_clip=facts.arguments(cfg.get('grad_clip') or {}) or 'none',
                    loss=cfg.get('loss', 'loss'),
                    begun=len(epochs) < cfg['epochs'] or done > 0,
                )
            )
        return found

    def _warmups(self, made: Plan, start: Start, length: int) -> list[tuple[int, int]]:
        found = []
        first = 0
        for cfg in self.engine.stages:
            warmup = cfg.get('warmup')
            if warmup is not None:
                steps = warmup_steps(warmup)
                steps *= 1 if warmup['type'] == 'iter' else length
                overridden = warmup['type'] == 'epoch' and (
                    (cfg.get('lr_schedule') or {}).get('type') == 'iter'
                )
                begin = max(first, start.epoch * length + start.done)
                end = min(first + steps, first + cfg['epochs'] * length)
                if begin < end and not overridden:
                    found.append((begin, end))
            first += cfg['epochs'] * length
        return found

    def _changers(self) -> list[str]:
        """Who could set other rates than the schedules: nobody knows what they do."""
        found = []
        engine = self.engine
        if engine._overrides('train_iter'):
            found.append(f'{type(engine).__name__}.train_iter')
        for name, one in engine.hooks.items():
            if checks.is_known(one) and not isinstance(one, ClosureHook):
                continue
            if isinstance(one, Hook):
                if any(method_for(one, event) for event in EVENTS):
                    found.append(name)
            else:
                found.append(name)
        return found

    def _error(self, message: str) -> None:
        self.problems.append(Problem(message))


class _Divided:
    """Has an engine's loaders be those of one process, where these start later."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.loaders = engine.data_loaders

    def __enter__(self) -> None:
        if self.engine._run.starts_later:
            from .._lightning import processes

            self.engine.data_loaders = processes.split(self.loaders, self.engine._run.trainer)

    def __exit__(self, *error: Any) -> None:
        self.engine.data_loaders = self.loaders


class _Listener(logging.Logger):
    """Notes warnings as problems, and has no ear for anything else."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__('plan', logging.WARNING)
        self.problems = problems

    def handle(self, record: logging.LogRecord) -> None:
        self.problems.append(Problem(record.getMessage(), fatal=False))
