"""Engine: configuration, hooks, and the launch of a run."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import socket
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.hooks import RemovableHandle

from . import (
    _amp,
    _auto_resume,
    _evaluation,
    _failure,
    _hook_list,
    _loader_parts,
    _loaders,
    _nncore,
    _phases,
    _preflight,
    _preview,
    _ready,
    _report,
    _resume,
    _stages,
    _work_dir,
    quirks,
)
from ._batches import batches
from ._dispatch import Dispatch
from ._display import begin_task
from ._errors import located
from ._imports import uncollected
from ._logging import file_handler, get_logger, go_on_in, reopen
from ._parameters import first
from ._random import unnoticed
from ._state import State
from ._state_dict import uncompiled
from .buffer import Buffer
from .builder import build_model
from .comm import broadcast, get_world_size, is_distributed, is_main_process
from .hooks import CheckpointHook, ClosureHook, EventWriterHook, Hook, OptimizerHook
from .utils import load_checkpoint

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer

    from ._lightning.run import Run
    from ._lightning.timeline import Timeline
    from ._plan.plan import Plan
    from .configs import AnyHook, AnyLoader, AnyStage

DEFAULT_HOOKS = [
    'TimerHook',
    'LrUpdaterHook',
    'OptimizerHook',
    'CheckpointHook',
    'EvalHook',
    'EventWriterHook',
]


class Engine(State):
    """Train, validate and test a model in stages, with hooks doing everything else.

    ```text
    before_launch
    for stage in stages:
        build the stage's optimizer; before_stage
        for epoch in range(stage['epochs']):
            before_train_epoch
            for batch in data_loaders['train']:
                before_train_iter; forward; after_train_iter (backward, step, logs)
            after_train_epoch (checkpoint)
            if validation is due:
                before_val_epoch
                for batch in data_loaders['val']:
                    before_val_iter; forward; after_val_iter
                after_val_epoch (evaluation)
        after_stage
    after_launch
    ```

    A Lightning Trainer drives the loop: one fit for all stages.

    Args:
        model: A module, a config or a name. Its ``forward(data, mode=...)`` returns a dict of
            losses, ``_avg_factor`` (number of samples in the batch) and optionally ``_out``
            (what is collected for ``dataset.evaluate``).
        data_loaders: ``dict(train=..., val=..., test=...)`` of loaders or configs, or a single
            one. A missing ``val`` is taken from ``test`` and the other way round, else from
            ``train``.
        stages: One stage or a list: dicts of ``epochs``, ``optimizer`` and optionally
            ``lr_schedule``, ``warmup``, ``validation``, ``grad_clip``, ``loss``.
        hooks: More hooks and Lightning callbacks: objects, configs or names.
        buffer_size: Number of values kept per key in the buffer.
        logger: A logger or its name.
        work_dir: Where logs and checkpoints go; ``work_dirs/<time>`` if not given.
        seed: Random seed of the loaders that are built from configs.
        meta: Anything to keep with the engine.
        amp: Automatic mixed precision: a bool, ``'fp16'``, ``'bf16'``, ``'none'`` or a dict of
            ``torch.autocast`` options.
        debug: Report Inf and NaN in outputs and gradients.
        trainer: Arguments of Lightning's Trainer: where to run (``accelerator``, ``devices``,
            ``num_nodes``, ``strategy``, ``precision``), ``logger``, ``profiler``, ``plugins`` and
            more. Options of the command line go over them.
        **kwargs: More arguments of ``build_model``.

    Raises:
        TypeError, ValueError, KeyError: An argument is wrong; the message names the place.

    Examples:
        >>> stages = [
        ...     {
        ...         'epochs': 2,
        ...         'optimizer': {'type': 'Adam', 'lr': 1e-2},
        ...         'warmup': {'type': 'iter', 'policy': 'linear', 'steps': 3},
        ...     },
        ...     {
        ...         'epochs': 1,
        ...         'optimizer': {'type': 'SGD', 'lr': 1e-2, 'momentum': 0.9},
        ...         'lr_schedule': {'type': 'iter', 'policy': 'cosine'},
        ...         'validation': {'interval': 1},
        ...     },
        ... ]
        >>> engine = Engine(model, loaders, stages=stages)
        >>> engine.launch()
        >>> engine.epoch, engine.iter
        (3, 9)
    """

    model: Any
    """The model, wrapped if it was given so."""
    stages: Sequence[dict[str, Any]]
    """The configs of all stages."""
    data_loaders: dict[str, Any]
    """The loaders by split: `train`, `val`, `test`."""
    data_loader: Any
    """The loader of the split that runs."""
    hooks: OrderedDict[str, Any]
    """The hooks and Lightning callbacks by name, in the order in which they are called."""
    buffer: Buffer
    """The latest values of what the model returned and of what hooks added."""
    losses: dict[str, Any]
    """The losses of the current iteration, with their graphs: tensors by key."""
    optimizer: torch.optim.Optimizer
    """The optimizer of the current stage."""
    logger: logging.Logger
    """The logger."""
    amp_cfg: dict[str, Any]
    """The arguments of `torch.autocast`."""
    meta: Any
    """What was given as `meta`."""
    debug: bool
    """Whether outputs and gradients are looked through for Inf and NaN."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ('train_epoch', 'run_stage'):
            if name in vars(cls):
                raise TypeError(
                    f'{cls.__name__}.{name} would never be called: Lightning runs the loop over '
                    'stages and epochs. Override train_iter, val_iter, val_epoch, test_iter or '
                    'test_epoch, or use a hook'
                )

    def __init__(
        self,
        model: nn.Module | dict[str, Any] | str,
        data_loaders: Mapping[str, AnyLoader] | AnyLoader,
        stages: Sequence[AnyStage] | AnyStage | None = None,
        hooks: Sequence[AnyHook] | AnyHook | None = None,
        buffer_size: int = 100000,
        logger: logging.Logger | str | None = None,
        work_dir: str | None = None,
        seed: int | None = None,
        meta: Any = None,
        amp: dict[str, Any] | str | bool | None = None,
        debug: bool = False,
        *,
        trainer: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._time = time.strftime('%Y%m%d%H%M%S', time.localtime())
        self.work_dir = work_dir or os.path.join('work_dirs', self._time)
        self._named_work_dir = bool(work_dir)
        if _preview.asked() == _preview.PLAN:
            model, data_loaders, stages, hooks, buffer_size, amp, trainer = _preflight.usable(
                model, data_loaders, stages, hooks, buffer_size, seed, amp, trainer, **kwargs
            )
            kwargs = {}
        self.model = build_model(model, **kwargs)
        self.stages = _stages.resolve(stages)
        self.amp_cfg = _amp.parse(amp)
        self._notices: list[str] | None = []
        self._warned: set[str] = set()
        self._input_handle: RemovableHandle | None = None
        self._given = trainer
        self._run = self._new_run()
        self._run.join()
        # Once: with the quirk single-loader, it begins to iterate a loader.
        given = _loaders.given(data_loaders)
        # Without those that stand in for others.
        self._given_splits = tuple(given)
        self.data_loaders = {
            key: _loaders.build(key, loader, seed) for key, loader in _loaders.fill(given).items()
        }
        self._run.split_data()
        self.hooks = OrderedDict()
        self._dispatch = Dispatch()
        self.register_hook(DEFAULT_HOOKS)
        if is_distributed() or self._run.several:
            self.register_hook('SamplerSeedHook', before='OptimizerHook')
        for index, hook in enumerate(hooks if isinstance(hooks, (list, tuple)) else [hooks]):
            if hook is not None:
                with located(f'hooks[{index}]'):
                    self.register_hook(hook)
        # Refused here, if at all: before there are any files.
        self.buffer = Buffer(max_size=buffer_size)
        self.reset_states()

        self._log_file = os.path.join(self._place.absolute, self._time + '.log')
        # A script that evaluates sets up its logger without a file, and gives no work_dir, to
        # leave nothing behind.
        log_file = None if _preview.asked() else self._begin_log
        self.logger = get_logger(logger, log_file=log_file, late=work_dir is not None)
        _stages.warn_typos(self.stages, self.logger)
        typo = _loaders.typo(self._given_splits)
        if typo:
            self.logger.warning(typo)
        if not isinstance(data_loaders, (dict, str)):
            message = 'taking the loader as it is for training'
            quirks.met('single-loader', self, message, ahead=True)
        for notice in self._notices or ():
            self.logger.info(notice)
        self._notices = None

        self.buffer = Buffer(max_size=buffer_size, logger=self.logger)
        self.meta = meta
        self.debug = debug
        self._kwargs = {}

    @property
    def work_dir(self) -> str:
        """Where logs and checkpoints go; if the script has changed folder since, from the root.

        Examples:
            >>> Engine(model, loaders, stages=stages, work_dir='runs/first').work_dir
            'runs/first'
        """
        return self._place.path

    @work_dir.setter
    def work_dir(self, path: str) -> None:
        self._place = _work_dir.Place(path)
        self._named_work_dir, self._has_work_dir = True, False

    @property
    def trainer(self) -> Trainer:
        """Lightning's Trainer of the last launch, before the first one that of the first.

        Examples:
            >>> engine = Engine(model, loaders, stages=stages, trainer={'precision': 'bf16-mixed'})
            >>> engine.trainer.precision, engine.trainer.world_size
            ('bf16-mixed', 1)
        """
        return self._run.trainer

    @property
    def lightning_module(self) -> LightningModule:
        """The stages as a LightningModule, for that Trainer or for one of your own.

        Examples:
            >>> from lightning.pytorch import Trainer
            >>> quiet = {'enable_progress_bar': False, 'enable_model_summary': False}
            >>> trainer = Trainer(logger=False, **quiet)
            >>> trainer.fit(engine.lightning_module)
            >>> engine.epoch
            2
        """
        self._run.module.keep_engine()
        return self._run.module

    def get_amp_type(self) -> str | None:
        """Return the type of automatic mixed precision.

        Returns:
            ``'fp16'`` or ``'bf16'``, None when it is off.

        Examples:
            >>> Engine(model, loaders, stages=stages, amp='bf16').get_amp_type()
            'bf16'
        """
        return _amp.label(self.amp_cfg, self._model_device.type)

    def register_hook(
        self,
        hook: Sequence[AnyHook] | AnyHook,
        before: str | None = None,
        overwrite: bool = True,
        **kwargs: Any,
    ) -> None:
        """Register a hook or a Lightning callback, or a list of them.

        All stand in one list, ``engine.hooks``, by name. A hook has a name of its own, a callback
        that of its class; a further callback of a class goes beside the one before under
        'ModelCheckpoint_2', unless both have the same ``state_key`` and a state: then it replaces
        it, as hooks of one name do. While training runs, the event that is running goes on over
        the list as it was.

        Args:
            hook: A hook or callback, its config or its name, or a list of them. Names are looked
                up in ``HOOKS``, then in ``lightning.pytorch.callbacks``.
            before: Name of the one to insert it before; the end of the list if not given, or
                the place of the one that it overwrites.
            overwrite: Whether it may replace one of the same name.
            **kwargs: More arguments of the hook, when it is built.

        Raises:
            TypeError: It is neither a hook nor a callback.
            ValueError: The name, or ``before``, is unknown, or the callback cannot work here.
            KeyError: There is one of that name, and ``overwrite`` is False.

        Examples:
            >>> from lightning.pytorch.callbacks import EarlyStopping
            >>> engine.register_hook({'type': 'EvalHook', 'high_keys': ['acc']})
            >>> engine.register_hook(EarlyStopping(monitor='val_loss', patience=3))
            >>> engine.register_hook('PreciseBNHook', before='CheckpointHook', num_iters=3)
            >>> list(engine.hooks)[2:4], list(engine.hooks)[-1]
            (['OptimizerHook', 'PreciseBNHook'], 'EarlyStopping')
        """
        if isinstance(hook, (list, tuple)):
            for h in hook:
                self.register_hook(h, before=before, overwrite=overwrite, **kwargs)
            return
        if isinstance(hook, (dict, str)):
            hook = _hook_list.build(hook, **kwargs)
        name = _hook_list.name_for(hook, self.hooks)
        self._run.arrangement.check(hook)

        old = self.hooks.get(name)
        _hook_list.insert(self.hooks, name, hook, before, overwrite)
        if isinstance(old, ClosureHook) and isinstance(hook, ClosureHook):
            self._notice(f"'{name}' replaces the one registered before: give it another name")
        self._run.arrangement.follow()

    def unregister_hook(
        self, hook: Sequence[Hook | Callback | str] | Hook | Callback | str
    ) -> None:
        """Unregister a hook or callback, or a list of them.

        Args:
            hook: A hook or callback or its name, or a list of them.

        Raises:
            KeyError: It is not registered.

        Examples:
            >>> engine.unregister_hook('CheckpointHook')
            >>> 'CheckpointHook' in engine.hooks
            False
        """
        if isinstance(hook, (list, tuple)):
            for h in hook:
                self.unregister_hook(h)
            return
        _hook_list.remove(self.hooks, hook)
        self._run.arrangement.follow()

    def load_checkpoint(
        self, checkpoint: dict[str, Any] | str | os.PathLike[str], **kwargs: Any
    ) -> None:
        """Load weights.

        Args:
            checkpoint: A dict, a file name, a URL or ``torchvision://<model_name>``.
            **kwargs: ``strict``, ``warning``, ``keys`` of ``utils.load_checkpoint``.

        Raises:
            FileNotFoundError: There is no such file.
            RuntimeError: There are no weights in it, or with ``strict`` they do not fit.

        Examples:
            >>> _ = save_checkpoint(model, 'weights.pth')
            >>> engine.load_checkpoint('weights.pth', strict=True)
        """
        load_checkpoint(
            self.model, checkpoint, map_location=self._model_device, logger=self.logger, **kwargs
        )
        source = f' from {checkpoint}' if isinstance(checkpoint, str) else ''
        self.logger.info(f'Loaded checkpoint{source}')

    def resume(self, checkpoint: dict[str, Any] | str | os.PathLike[str], **kwargs: Any) -> None:
        """Go on where a checkpoint was saved.

        From a file of ours the next launch goes on exactly as the run that was interrupted, in the
        middle of an epoch too: with its random numbers, the states of hooks and callbacks, the
        buffer and the data that are still to come. A file of nncore's brings weights, optimizer
        and counters, and training begins with the next epoch; so does one of Lightning's own.

        Args:
            checkpoint: A dict, a file name or a URL.
            **kwargs: ``exact=False`` to go on as from a file of nncore's; ``weights_only`` of
                ``utils.get_checkpoint``; ``strict``, ``warning``, ``keys`` of
                ``utils.load_checkpoint``.

        Raises:
            FileNotFoundError: There is no such file.
            RuntimeError: It is no checkpoint of a training run, or what is in it cannot be.
            KeyError: It has no optimizer.

        Examples:
            >>> engine.launch()
            >>> again = Engine(Net(), loaders, stages=stages)
            >>> again.resume(f'{engine.work_dir}/epoch_1.pth')
            >>> again.launch()
            >>> torch.equal(again.model.fc.weight, engine.model.fc.weight)
            True
        """
        _resume.resume(self, checkpoint, **kwargs)

    def train_iter(self, data: Any) -> None:
        """Run one training iteration; backward and step are OptimizerHook's.

        Args:
            data: A batch.

        Examples:
            >>> class Masked(Engine):
            ...     def train_iter(self, data):
            ...         points, labels = data
            ...         super().train_iter((points * (torch.rand_like(points) < 0.9), labels))
            >>> Masked(model, loaders, stages=stages).launch()
        """
        self._call_hook('before_train_iter')
        _phases.train_forward(self, data)
        self._call_hook('after_train_iter')
        self._iter += 1

    def val_iter(self, data: Any) -> None:
        """Run one validation iteration.

        Args:
            data: A batch.

        Examples:
            >>> class Timed(Engine):
            ...     batches = 0
            ...
            ...     def val_iter(self, data):
            ...         self.batches += 1
            ...         super().val_iter(data)
            >>> engine = Timed(model, loaders, stages=stages)
            >>> engine.launch()
            >>> engine.batches
            6
        """
        self._call_hook('before_val_iter')
        _phases.eval_forward(self, data, sum_losses=True)
        self._call_hook('after_val_iter')

    def test_iter(self, data: Any) -> None:
        """Run one test iteration.

        Args:
            data: A batch.

        Examples:
            >>> engine.test_iter(next(iter(loaders['val'])))
            >>> engine.buffer.count('_out')
            1
        """
        _phases.eval_forward(self, data, sum_losses=False)

    def val_epoch(self) -> None:
        """Validate in a plain loop; in a launch Lightning runs it, unless this is overridden.

        Examples:
            >>> engine.launch()
            >>> engine.val_epoch()
            >>> engine.mode
            'val'
        """
        _phases.enter_mode(self, 'val')
        self._call_hook('before_val_epoch')
        with begin_task('Validating', _loader_parts.length(self.data_loader)) as task:
            for data in batches(self.data_loader):
                self.val_iter(data)
                task.update()
        self._call_hook('after_val_epoch')

    def test_epoch(self, split: str = 'test') -> None:
        """Run the model over a split, collecting outputs in the buffer.

        Args:
            split: Key of ``data_loaders``.

        Examples:
            >>> engine.test_epoch('val')
            >>> sorted(engine.evaluate())
            ['acc']
        """
        _phases.enter_mode(self, 'test', split)
        if self._run.testing_through_lightning:
            self._run.test()
            return
        with begin_task('Testing', _loader_parts.length(self.data_loader)) as task:
            for data in batches(self.data_loader):
                self.test_iter(data)
                task.update()

    def evaluate(self) -> dict[str, Any]:
        """Let the dataset evaluate the outputs that validation or testing has collected.

        Returns:
            What ``dataset.evaluate`` returned, on the main process; else an empty dict.

        Raises:
            KeyError: Nothing was collected: the model returned no ``_out``.

        Examples:
            >>> engine.test_epoch()
            >>> 0 <= engine.evaluate()['acc'] <= 1
            True
        """
        output = _evaluation.evaluate(self)
        if output and self._run.module.averages is not None:
            self._run.module.averages.record(output)
        return output

    def eval_mode(self, mode: bool | str) -> dict[str, Any]:
        """Evaluate without training.

        Args:
            mode: True or ``'test'``, ``'val'``, or ``'both'``.

        Returns:
            The metrics by split.

        Examples:
            >>> list(engine.eval_mode('both'))
            ['val', 'test']
        """
        return _evaluation.run(self, mode)

    @overload
    def launch(
        self,
        eval: Literal[False] = False,
        *,
        resume: dict[str, Any] | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None: ...

    @overload
    def launch(
        self, eval: Literal[True, 'val', 'test', 'both'], *, resume: None = None, **kwargs: Any
    ) -> dict[str, Any]: ...

    @overload
    def launch(
        self,
        eval: bool | str = False,
        *,
        resume: dict[str, Any] | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any] | None: ...

    def launch(
        self,
        eval: bool | str = False,
        *,
        resume: dict[str, Any] | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any] | None:
        """Run all stages, or only an evaluation.

        Args:
            eval: True (the test split), ``'val'``, ``'test'`` or ``'both'``: evaluate only.
            resume: A checkpoint to resume from first, or ``'auto'``: take up the run that was
                interrupted in this ``work_dir``, from its newest checkpoint that can be read, and
                go on with its log, metrics and events where they were; without any, begin anew.
                ``--resume`` of the command line goes over it.
            **kwargs: Arguments of the model's forward, beside ``mode``.

        Returns:
            The metrics when evaluating: for ``eval=True`` as the installed nncore returns them
            (by split since 0.4.1; as documented, bare, without nncore), else by split.

        Raises:
            TypeError, ValueError: ``resume`` is nothing to resume from, or goes with ``eval``.

        Examples:
            >>> engine.launch()
            >>> list(engine.launch(eval='val'))
            ['val']

            With a fixed `work_dir`, this can be killed at any moment and started again:

            >>> engine = Engine(model, loaders, stages=stages, work_dir='runs/first')
            >>> engine.launch(resume='auto')
        """
        if _preview.asked() == _preview.TIMELINE:
            if is_main_process():
                print(self.timeline())
            raise SystemExit(0)
        if _preview.asked() == _preview.PLAN:
            from ._plan.shown import show

            show(self, eval, resume)
            return None
        with _report.noting_refusal(self, eval):
            self._resume_from = _auto_resume.choose(self, eval, resume)
            self._kwargs = kwargs
            if self._run.used:
                self._run = self._new_run()
            self._run.used = True
            _ready.check(self)
            if not eval:
                self._agree_on_work_dir()
            self._run.put_files_in(self._place.absolute)
        if self._run.starts_later:
            try:
                with _report.taking_over(self, eval):
                    return self._run.launch_elsewhere(eval)
            finally:
                if not eval:
                    # The copies have kept account.
                    self._end_training_account()
        return self._launch(eval)

    def _new_run(self) -> Run:
        # Lightning brings in modules that draw random numbers when they are imported, rich among
        # them, and scripts have set their seeds by now.
        with unnoticed():
            with uncollected():
                from ._lightning.run import Run

            run = Run(self, self._given)
        weakref.finalize(self, run.release).atexit = False
        return run

    def __getstate__(self) -> dict[str, Any]:
        # A Trainer cannot leave its process, and handlers of loggers do not.
        return {key: value for key, value in vars(self).items() if key != '_run'}

    def _arrive(self) -> None:
        """Become one of several processes that are copies of the one that launched."""
        self._run = self._new_run()
        self._run.used = True
        self._run.arrive()
        self._run.split_data()
        self._max_iters = _loaders.train_length(self.data_loaders) * self._max_epochs
        reopen(self.logger, self._log_file)

    def _launch(self, eval: bool | str) -> dict[str, Any] | None:
        self._begin_account()
        try:
            with _report.recording(self, eval):
                output = self._run_through(eval)
                if not eval:
                    quirks.sum_up(self)
        finally:
            if not eval:
                self._end_training_account()
        return output

    def _run_through(self, eval: bool | str) -> dict[str, Any] | None:
        if eval:
            with self._run.evaluating():
                output = self.eval_mode(eval)
            bare = isinstance(eval, bool) and not _nncore.new_returns()
            return output['test'] if bare else output

        self._failure, self._failed_in, self._told = None, None, ()
        self._prepare_training()
        try:
            if self._stage < self._max_stages or self._resuming is not None:
                self._run.fit()
            else:  # Everything is done: Lightning would not even start.
                self._call_hook('before_launch')
                self._call_hook('after_launch')
        except BaseException as error:
            _failure.end(self, error)
            raise
        return None

    def _prepare_training(self) -> None:
        if 'train' not in self.data_loaders:
            raise ValueError(
                f'no loader for training: data_loaders has {list(self.data_loaders)}, '
                "expected 'train' or a single loader"
            )
        _loaders.refuse_empty(self.data_loaders)
        _phases.meet(self, _phases.hook_defaults(self))
        processes = f'{get_world_size()} processes' if is_distributed() else False
        self.logger.info(
            f'Distributed: {processes}, AMP: {self.get_amp_type()}, Debug: {self.debug}'
        )
        self.logger.info(
            f'Launch engine, host: {_user()}@{socket.gethostname()}, work_dir: {self.work_dir}'
        )
        _auto_resume.begin(self)

    def timeline(self) -> Timeline:
        """Return who is called at each moment of a training run, in order; printed, a table.

        Returns:
            The table, whose ``str`` is what ``--timeline`` prints.

        Examples:
            >>> print(engine.timeline())
            nncore                   Lightning                  who is called, in order
            ...
        """
        from ._lightning.timeline import timeline

        return timeline(self)

    def plan(
        self,
        eval: bool | str = False,
        *,
        resume: dict[str, Any] | str | os.PathLike[str] | None = None,
    ) -> Plan:
        """Return what a launch would do, checked as far as it can be; printed, a page of text.

        It says how many batches, iterations and steps there are, what the learning rates will be,
        which epochs are validated and saved, who is called when, and what is wrong. Nothing is
        trained, written or changed, and no loader is iterated.

        Args:
            eval: As for ``launch``.
            resume: As for ``launch``. ``--resume`` of the command line goes over it.

        Returns:
            The plan, whose ``str`` is what ``--dry-run`` prints. ``plan.stages``, ``plan.rates``,
            ``plan.problems``, ... hold what is in it, ``plan.ok`` says whether training would
            begin without an error, and ``plan.plot('lr.png')`` draws the learning rates.

        Examples:
            >>> plan = engine.plan()
            >>> plan.ok, plan.iterations > 0
            (True, True)
        """
        from ._plan.planner import plan

        return plan(self, eval=eval, resume=resume)

    def _call_hook(self, name: str) -> None:
        self._dispatch.call(self.hooks.values(), name, self)

    def _overrides(self, name: str) -> bool:
        return name in vars(self) or getattr(type(self), name) is not _ORIGINALS[name]

    def _forward_context(self) -> contextlib.AbstractContextManager[Any]:
        # A wrapper that the script has made averages gradients where it is to, once per step.
        if self._mode != 'train' or not isinstance(uncompiled(self.model), DistributedDataParallel):
            return _DO_NOTHING
        hook = self.hooks.get('OptimizerHook')
        waits = isinstance(hook, OptimizerHook) and not hook.is_stepping(self)
        return self.model.no_sync() if waits or self._run.averages_gradients() else _DO_NOTHING

    def _save_checkpoint(self, path: str, epoch: int, **kwargs: Any) -> None:
        # The run knows the epoch, and more than that.
        self._run.save(path, **kwargs)

    def _when_at_rest(self, action: Callable[[Any], None]) -> None:
        self._at_rest.append(action)

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self.logger.warning(message)

    def _clip_gradients(self, params: list[nn.Parameter], cfg: dict[str, Any]) -> torch.Tensor:
        return self._run.clip(params, cfg)

    def _must_average_gradients(self) -> bool:
        """Whether neither the strategy nor the model's wrapper has averaged the gradients."""
        if not is_distributed() or self._run.averages_gradients():
            return False
        model = uncompiled(self.model)
        # On the CPU, nncore's wrapper goes round DistributedDataParallel.forward.
        return not isinstance(model, DistributedDataParallel) or not (
            model.device_ids or type(model).forward is DistributedDataParallel.forward
        )

    def _given_scaler(self) -> torch.amp.GradScaler | None:
        """Return the scaler that is not OptimizerHook's to choose."""
        return self._run.given_scaler()

    def _backpropagate(self, loss: torch.Tensor, scaler: torch.amp.GradScaler, sync: bool) -> None:
        if self._run.fitting:
            self._run.backward(loss, scaler, sync)
        else:
            scaler.scale(loss).backward()

    def _step_optimizer(self, scaler: torch.amp.GradScaler, look: Callable[[], None]) -> None:
        if self._run.fitting:
            self._run.step(scaler, look)
        else:
            _amp.step(self.optimizer, scaler, look)

    def _begin_log(self) -> str:
        self._make_work_dir()
        self._log_file = _work_dir.new_log(self._place.absolute, self._time)
        return self._log_file

    def _make_work_dir(self) -> None:
        """Have a folder of its own, where the script gives none."""
        if not (self._named_work_dir or self._has_work_dir):
            self._place = _work_dir.Place(_work_dir.claim(self.work_dir))
            self._has_work_dir = True

    def _agree_on_work_dir(self) -> None:
        """Have all processes take the folder that the first has made."""
        found: Any = None
        if is_main_process():
            try:
                if any(isinstance(one, _FILE_HOOKS) for one in self.hooks.values()):
                    self._make_work_dir()
                # A folder that the script gives to the first process is known to it alone, as in
                # nncore, unless all of them write to it.
                if not self._named_work_dir or self._run.shards:
                    found = self.work_dir
            except OSError as error:
                found = error
        found = broadcast(found)
        if isinstance(found, OSError):
            raise found
        if found is not None and not self._named_work_dir:
            self._place = _work_dir.Place(found)

    def _own_log(self) -> str | None:
        """Return the log file, where it is the engine that writes to it."""
        found = is_main_process() and file_handler(self.logger, self._log_file)
        return self._log_file if found else None

    def _go_on_in_log(self, earlier: str) -> None:
        earlier = os.path.abspath(earlier)
        go_on_in(self.logger, self._log_file, earlier)
        self._log_file = earlier

    @property
    def _model_device(self) -> torch.device:
        parameter = first(self.model)
        return torch.device('cpu') if parameter is None else parameter.device

    def _notice(self, message: str) -> None:
        # The logger is made after the hooks, so that bad input leaves no files behind.
        if self._notices is not None:
            self._notices.append(message)
        else:
            self.logger.info(message)


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A container may run under a number that has no name.
        return str(getattr(os, 'getuid', lambda: 'unknown')())


_DO_NOTHING = contextlib.nullcontext()
# Those that put files into the work_dir.
_FILE_HOOKS = (CheckpointHook, EventWriterHook)
# Kept here, because a script may patch the class itself.
_ORIGINALS = {
    name: getattr(Engine, name) for name in ('train_iter', 'val_iter', 'val_epoch', 'evaluate')
}
