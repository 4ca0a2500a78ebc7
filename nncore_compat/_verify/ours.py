"""Recording our engine, and ending it."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import torch

from . import attach
from .folders import Folders
from .hooks import HookWatch
from .recorder import Recorder


def watch(module: ModuleType, recorder: Recorder, folders: Folders) -> None:
    """Have our engine recorded, from where it is driven: no method that is looked at is replaced.

    Args:
        module: nncore_compat.engine.
        recorder: Where to.
        folders: Where its files go.
    """
    phases: Any = module._phases
    enter_mode, close_train_epoch = phases.enter_mode, phases.close_train_epoch
    validation_due = phases._validation_due
    train_forward, eval_forward = phases.train_forward, phases.eval_forward

    @functools.wraps(train_forward)
    def seen_train_forward(engine: Any, data: Any) -> Any:
        recorder.batch(engine, data, 'train')
        output = train_forward(engine, data)
        recorder.record('output', engine, False, mode='train')
        return output

    @functools.wraps(eval_forward)
    def seen_eval_forward(engine: Any, data: Any, sum_losses: bool) -> None:
        mode = 'val' if sum_losses else 'test'
        recorder.batch(engine, data, mode)
        eval_forward(engine, data, sum_losses)
        recorder.record('output', engine, False, mode=mode)

    @functools.wraps(enter_mode)
    def seen_enter_mode(engine: Any, mode: str, split: str | None = None) -> None:
        if mode == 'train':
            if not recorder.left:
                recorder.stop(engine)
            recorder.epoch_start = recorder.trained
        recorder.record('epoch', engine, mode=mode)
        enter_mode(engine, mode, split)

    @functools.wraps(close_train_epoch)
    def seen_close_train_epoch(engine: Any) -> bool:
        if recorder.cut and not recorder.needs_validation(engine):
            recorder.stop(engine)
        return close_train_epoch(engine)

    @functools.wraps(validation_due)
    def seen_validation_due(engine: Any, in_stage: int) -> bool:
        if validation_due(engine, in_stage):
            return True
        if recorder.left or not recorder.needs_validation(engine):
            return False
        recorder.record('validation brought forward', engine)
        return True

    phases.train_forward, phases.eval_forward = seen_train_forward, seen_eval_forward
    phases.enter_mode, phases.close_train_epoch = seen_enter_mode, seen_close_train_epoch
    phases._validation_due = seen_validation_due
    hooks = HookWatch(
        recorder,
        module.Hook,
        'nncore_compat',
        recorder.spec['definitions'],
    )
    attach.engine(module.Engine, recorder, folders, hooks)


def watch_loop(module: ModuleType, recorder: Recorder) -> None:
    """Have the loop over batches end after those that are to be seen.

    Args:
        module: nncore_compat._lightning.module.
        recorder: Knows how many that are.
    """
    base: Any = module.LoaderView
    stages: Any = module.StagesModule
    begin, on_validation_end = stages.begin, stages.on_validation_end

    class ShortView(base):
        """The training batches, as if there were no more of them; the loader keeps its length."""

        def __len__(self) -> int:
            # The same all through an epoch.
            return max(1, min(super().__len__(), recorder.count - recorder.epoch_start))

        def _iterate(self) -> Any:
            length = super().__len__()
            for index, batch in enumerate(super()._iterate(), 1):
                recorder.trained += 1
                recorder.cut = not recorder.left and index < length
                yield batch
                if recorder.cut:
                    return

    @functools.wraps(begin)
    def short_begin(self: Any) -> None:
        begin(self)
        self.views['train'].__class__ = ShortView

    @functools.wraps(on_validation_end)
    def seen_validation_end(self: Any) -> None:
        on_validation_end(self)
        if self.evaluating:
            return
        recorder.validations += 1
        if recorder.cut:
            # Not Lightning's, which validates without gradients.
            with torch.set_grad_enabled(self.grad_enabled):
                recorder.stop(self.engine)

    stages.begin, stages.on_validation_end = short_begin, seen_validation_end
