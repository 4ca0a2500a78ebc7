"""The arguments of an engine in a dry run: all that is wrong is noted, and what is right kept."""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from . import _amp, _hook_list, _loaders, _options, _stages
from ._errors import located, said
from ._imports import uncollected
from ._random import unnoticed
from .buffer import Buffer
from .builder import build_model
from .hooks import Hook

# What stands for a value that is refused, so that the rest can be looked at.
_STAND_INS: dict[str, Any] = {
    'epochs': 1,
    'optimizer': {'type': 'SGD', 'lr': 0.1},
    'validation': {'interval': 1},
}


@dataclass(frozen=True)
class Problem:
    """Something that a dry run has found.

    Args:
        message: What it is, and where.
        fatal: Whether training would end with an error because of it.
    """

    message: str
    fatal: bool = True

    def __str__(self) -> str:
        return f'{"error" if self.fatal else "warning"}: {self.message}'


# Of engines that have not come to their launch yet.
pending: list[Problem] = []


@contextlib.contextmanager
def noting(problems: list[Problem], where: str = '') -> Iterator[None]:
    """Note an error instead of raising it.

    Args:
        problems: Where to.
        where: The place, for errors that do not say it.
    """
    try:
        with located(where) if where else contextlib.nullcontext():
            yield
    except Exception as error:
        problems.append(Problem(told(error)))


def told(error: BaseException) -> str:
    """Return an error in words."""
    text = said(error.args[0] if isinstance(error, KeyError) and error.args else error)
    # What is not meant for the user may say next to nothing.
    kinds = (KeyError, TypeError, ValueError, OSError, RuntimeError)
    kind = '' if isinstance(error, kinds) and ' ' in text else f'{type(error).__name__}: '
    return f'{kind}{text}'


def usable(
    model: Any,
    data_loaders: Any,
    stages: Any,
    hooks: Any,
    buffer_size: Any,
    seed: int | None,
    amp: Any,
    trainer: Any,
    **kwargs: Any,
) -> tuple[Any, ...]:
    """Return the arguments of an engine without what would be refused, which is noted.

    Args:
        model, data_loaders, stages, hooks, buffer_size, seed, amp, trainer: As for ``Engine``.
        **kwargs: More arguments of ``build_model``.

    Returns:
        model, data_loaders, stages, hooks, buffer_size, amp, trainer

    Raises:
        SystemExit: There is no model, without which there is no engine.
    """
    found = pending
    stages = _usable_stages(stages, found)
    trainer = _usable_settings(trainer, found)
    data_loaders = _usable_loaders(data_loaders, seed, found)
    hooks = _usable_hooks(hooks, trainer, found)
    size: Any = 1
    with noting(found):
        Buffer(max_size=buffer_size)
        size = buffer_size
    parsed = None
    with noting(found):
        _amp.parse(amp)
        parsed = amp
    built = None
    with noting(found, 'model'):
        built = build_model(model, **kwargs)
    if built is None:
        report()
        raise SystemExit(1)
    return built, data_loaders, stages, hooks, size, parsed, trainer


def report() -> None:
    """Print what has been found while there is no plan to print it with."""
    from ._plan.text import problems

    print(problems(pending))
    pending.clear()


def _usable_stages(stages: Any, found: list[Problem]) -> Any:
    given = [stages] if isinstance(stages, dict) else stages
    if not isinstance(given, (list, tuple)) or not given:
        with noting(found):
            return _stages.resolve(given)
        return None
    usable = []
    for index, stage in enumerate(given):
        kept = dict(stage) if isinstance(stage, dict) else dict(_STAND_INS)
        with noting(found):
            for key, check in _stages.checks(stage, f'stages[{index}]'):
                before = len(found)
                with noting(found):
                    check()
                if len(found) > before:
                    kept.pop(key, None)
                    if key in _STAND_INS:
                        kept[key] = _STAND_INS[key]
        # The caller's own, as the same optimizer may stand in several.
        usable.append(stage if kept == stage else kept)
    return usable


def _usable_settings(trainer: Any, found: list[Problem]) -> Any:
    with unnoticed(), uncollected():
        from ._lightning import settings
        from ._lightning import trainer as trainers
        from ._lightning.silence import silenced
    before = len(found)
    # Lightning has errors of its own for what is not there.
    with noting(found), silenced():
        trainers.build(settings.collect(trainer), '.')
    if len(found) == before:
        return trainer
    os.environ.pop(_options.ENV, None)
    return None


def _usable_loaders(data_loaders: Any, seed: int | None, found: list[Problem]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    with noting(found):
        given = _loaders.given(data_loaders)
    typo = _loaders.typo(given)
    if typo:
        found.append(Problem(typo, fatal=False))
    usable: dict[str, Any] = {}
    refused: list[Any] = []
    for split, loader in given.items():
        # One of several splits that share it is enough.
        if any(loader is one for one in refused):
            continue
        refused.append(loader)
        with noting(found):
            built = _loaders.build(split, loader, seed)
            if split == 'train':
                _loaders.train_length({split: built})
            usable[split] = built
            refused.pop()
    if not any(split in usable for split in _loaders.SPLITS):
        # No engine without any.
        usable['train'] = DataLoader(TensorDataset(torch.empty(0)))
    return usable


def _usable_hooks(hooks: Any, trainer: Any, found: list[Problem]) -> list[Any]:
    from ._lightning import loggers, requirements, settings

    listed = hooks if isinstance(hooks, (list, tuple)) else [hooks]
    named: OrderedDict[str, Any] = OrderedDict()
    places: dict[str, str] = {}
    # A list in each place, maybe an empty one: the engine counts them again.
    usable: list[list[Any]] = [[] for _ in listed]
    for index, given in enumerate(listed):
        for where, hook in _flat(given, f'hooks[{index}]') if given is not None else ():
            with noting(found, where):
                built = _hook_list.build(hook) if isinstance(hook, (dict, str)) else hook
                name = _hook_list.name_for(built, named)
                loggers.prepare(built)
                if not isinstance(built, Hook):
                    requirements.refuse_switched_off(built, settings.collect(trainer))
                if name in named:
                    message = f"{where} replaces {places[name]}, as both are '{name}'"
                    found.append(Problem(message, fatal=False))
                named[name], places[name] = built, where
                usable[index].append(built)
    return usable


def _flat(hook: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(hook, (list, tuple)):
        for index, one in enumerate(hook):
            yield from _flat(one, f'{where}[{index}]')
    else:
        yield where, hook


def take() -> list[Problem]:
    """Return what has been found so far, for the plan to tell."""
    taken = list(pending)
    pending.clear()
    return taken
