"""Recording nncore's own engine, and ending it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from . import attach
from .folders import Folders
from .hooks import HookWatch
from .recorder import Recorder


class EndOfEpoch(BaseException):
    """Ends an epoch after the batch that was the last one to be seen."""


def watch(module: ModuleType, recorder: Recorder, folders: Folders) -> None:
    """Have the engine of nncore recorded.

    Args:
        module: nncore.engine.engine.
        recorder: Where to.
        folders: Where its files go.
    """
    kind: Any = module.Engine
    hooks = HookWatch(recorder, module.Hook, 'nncore', None)
    recorder.lines.note(definitions=hooks.definitions(module.Hook.__subclasses__()))
    _RealEngine(kind, recorder)
    attach.engine(kind, recorder, folders, hooks, lambda engine: _outer(type(engine), recorder))


class _RealEngine:
    """Wraps the methods of nncore's Engine itself."""

    def __init__(self, kind: Any, recorder: Recorder) -> None:
        self._recorder = recorder
        # The batch of the iteration that runs, until the model has been told to see it; then None.
        self._pending: list[tuple[Any, str]] = []
        for name, mode in (('train_iter', 'train'), ('val_iter', 'val'), ('test_iter', 'test')):
            setattr(kind, name, self._iteration(getattr(kind, name), mode))
        for name in ('train_epoch', 'val_epoch', 'test_epoch'):
            setattr(kind, name, self._epoch(getattr(kind, name), name.partition('_')[0]))
        kind._call_hook = self._call_hook(kind._call_hook)

    def _iteration(self, method: Callable[..., Any], mode: str) -> Callable[..., Any]:
        @functools.wraps(method)
        def iteration(engine: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
            if mode == 'test':
                self._recorder.batch(engine, data, mode)
                result = method(engine, data, *args, **kwargs)
                self._recorder.record('output', engine, False, mode=mode)
                return result
            self._pending.append((data, mode))
            try:
                return method(engine, data, *args, **kwargs)
            finally:
                self._pending.pop()

        return iteration

    def _epoch(self, method: Callable[..., Any], mode: str) -> Callable[..., Any]:
        @functools.wraps(method)
        def epoch(engine: Any, *args: Any, **kwargs: Any) -> Any:
            self._recorder.record('epoch', engine, mode=mode)
            return method(engine, *args, **kwargs)

        return epoch

    def _call_hook(self, method: Callable[..., Any]) -> Callable[..., Any]:
        recorder, pending = self._recorder, self._pending

        @functools.wraps(method)
        def call_hook(engine: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            if name == 'after_stage':
                _settle(engine, recorder)
            inside = pending[-1][1] if pending else None
            if inside and name == f'after_{inside}_iter':
                recorder.record('output', engine, False, mode=inside)
            result = method(engine, name, *args, **kwargs)
            if inside and name == f'before_{inside}_iter':
                recorder.batch(engine, *pending[-1])
            return result

        return call_hook


def _outer(kind: Any, recorder: Recorder) -> None:
    """Count, and end, what the engines of a class do, whatever it overrides."""

    def once(name: str, wrap: Callable[..., Callable[..., Any]]) -> None:
        method = getattr(kind, name)
        if not getattr(method, 'counted', False):
            wrapped = _outermost(name, method, wrap(method, recorder), recorder)
            wrapped.counted = True  # type: ignore[attr-defined]
            setattr(kind, name, wrapped)

    once('train_iter', _train_iter)
    once('train_epoch', _train_epoch)
    once('val_epoch', _val_epoch)


def _outermost(
    name: str, method: Callable[..., Any], wrapped: Callable[..., Any], recorder: Recorder
) -> Callable[..., Any]:
    """Return what calls the wrapped method, and within it the method alone."""

    @functools.wraps(method)
    def call(engine: Any, *args: Any, **kwargs: Any) -> Any:
        key = (id(engine), name)
        if key in recorder.inside:
            return method(engine, *args, **kwargs)
        recorder.inside.add(key)
        try:
            return wrapped(engine, *args, **kwargs)
        finally:
            recorder.inside.discard(key)

    return call


def _train_iter(method: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    def train_iter(engine: Any, *args: Any, **kwargs: Any) -> Any:
        # One that fails counts as well.
        recorder.trained += 1
        result = method(engine, *args, **kwargs)
        batches = recorder.trained - recorder.epoch_start
        if not recorder.left and batches < len(engine.data_loaders['train']):
            recorder.cut = True
            if not recorder.needs_validation(engine):
                recorder.stop(engine)
            raise EndOfEpoch
        return result

    return train_iter


def _train_epoch(method: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    def train_epoch(engine: Any, *args: Any, **kwargs: Any) -> Any:
        _settle(engine, recorder)
        if not recorder.left:
            recorder.stop(engine)
        recorder.epoch_start = recorder.trained
        try:
            method(engine, *args, **kwargs)
        except EndOfEpoch:
            # What follows the last batch there.
            engine._call_hook('after_train_epoch')
            engine._epoch += 1
        recorder.unsettled = not recorder.left

    return train_epoch


def _val_epoch(method: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    def val_epoch(engine: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(engine, *args, **kwargs)
        recorder.validations += 1
        if recorder.cut:
            recorder.stop(engine)
        return result

    return val_epoch


def _settle(engine: Any, recorder: Recorder) -> None:
    """Validate, if all is seen but a validation, and none was due after the last epoch."""
    if recorder.unsettled:
        recorder.unsettled = False
        if recorder.needs_validation(engine):
            recorder.record('validation brought forward', engine)
            engine.val_epoch()
