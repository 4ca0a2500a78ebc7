"""Stage configs: defaults, checks before anything runs, and where an epoch lies in them."""

from __future__ import annotations

import copy
import difflib
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from functools import partial
from numbers import Integral, Real
from typing import Any

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from ._errors import located
from ._nncore import parents
from ._registry import find_known
from .hooks.lr_updater import POLICIES, LrUpdaterHook

DEFAULT_STAGES: list[dict[str, Any]] = [
    {
        'epochs': 5,
        'optimizer': {'type': 'SGD', 'lr': 1e-2, 'momentum': 0.9, 'weight_decay': 1e-4},
        'lr_schedule': {'type': 'iter', 'policy': 'cosine'},
        'warmup': {'type': 'iter', 'policy': 'linear', 'steps': 500, 'ratio': 0.001},
        'validation': {'interval': 1},
    }
]

UNITS = ('epoch', 'iter')
WARMUPS = ('linear', 'exp', 'constant')
STAGE_KEYS = (
    'epochs',
    'optimizer',
    'lr_schedule',
    'warmup',
    'validation',
    'grad_clip',
    'loss',
)
VALIDATION_KEYS = ('interval', 'offset')
WARMUP_KEYS = ('type', 'policy', 'steps', 'step', 'ratio')
POLICIES_HOME = LrUpdaterHook.__module__
# What the engine itself hands to a policy, on top of the config.
POLICY_INPUTS = ('base_lr', 'progress', 'max_progress')


def resolve(stages: Any) -> Sequence[dict[str, Any]]:
    """Return the list of stages to run; the caller's own list where one was given.

    Raises:
        TypeError, ValueError, KeyError: A stage is wrong; the message names the place.
    """
    if stages is None or (isinstance(stages, Sequence) and not len(stages)):
        return copy.deepcopy(DEFAULT_STAGES)
    if isinstance(stages, dict):
        stages = [stages]
    if not isinstance(stages, (list, tuple)):
        raise TypeError(f'stages must be a dict, a list of dicts or None, but got {stages!r}')
    for index, stage in enumerate(stages):
        check(stage, f'stages[{index}]')
    return stages


def check(stage: Any, where: str) -> None:
    """Refuse a stage that could not run to its end.

    Args:
        stage: The stage config.
        where: Its place, e.g. ``stages[1]``.
    """
    for _, one in checks(stage, where):
        one()


def checks(stage: Any, where: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield what is to be checked of a stage: a key, and a function that refuses its value.

    Args:
        stage: The stage config.
        where: Its place.
    """
    if not isinstance(stage, dict):
        raise TypeError(f'{where} must be a dict, but got {stage!r}')
    for key, checker in CHECKS.items():
        if key in stage or key in REQUIRED:
            yield key, partial(_check_key, stage, key, checker, where)


def _check_key(
    stage: dict[str, Any], key: str, checker: Callable[[Any, str], None], where: str
) -> None:
    if key not in stage:
        raise KeyError(f'{where}.{key} is missing{_near(key, stage)}')
    value = stage[key]
    if key in SETTINGS:
        if value is None:
            return
        if not isinstance(value, dict):
            raise TypeError(f'{where}.{key} must be a dict or None, but got {value!r}')
    checker(value, f'{where}.{key}')


def warn_typos(stages: Iterable[dict[str, Any]], logger: logging.Logger) -> None:
    """Report keys that look like a misspelt one: unknown keys are allowed, hooks may read them."""
    for index, stage in enumerate(stages):
        _warn_keys(stage, STAGE_KEYS, f'stages[{index}]', logger)
        schedule, warmup = stage.get('lr_schedule'), stage.get('warmup')
        if schedule is not None:
            accepted = ('type', 'policy', *inspect.signature(_policy(schedule, '')).parameters)
            _warn_keys(schedule, accepted, f'stages[{index}].lr_schedule', logger)
        if warmup is not None:
            _warn_keys(warmup, WARMUP_KEYS, f'stages[{index}].warmup', logger)
        if stage.get('validation') is not None:
            _warn_keys(stage['validation'], VALIDATION_KEYS, f'stages[{index}].validation', logger)


def locate(stages: Sequence[dict[str, Any]], epoch: int) -> tuple[int, int]:
    """Return the stage that the epoch (counted from 0) belongs to, and the epoch within it.

    Past the end it is ``(len(stages), 0)``.
    """
    for index, stage in enumerate(stages):
        if epoch < stage['epochs']:
            return index, epoch
        epoch -= stage['epochs']
    return len(stages), 0


def _check_count(value: Any, where: str, minimum: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f'{where} must be an integer of at least {minimum}, but got {value!r}')
    if value < minimum:
        raise ValueError(f'{where} must be at least {minimum}, but got {value!r}')


def _check_number(value: Any, where: str, minimum: int | None = 0) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f'{where} must be a number, but got {value!r}')
    if minimum is not None and value < minimum:
        raise ValueError(f'{where} must be at least {minimum}, but got {value!r}')


def _check_optimizer(cfg: Any, where: str) -> None:
    if isinstance(cfg, (dict, str)):
        factory = find_known(cfg, parents('optimizer'), 'optimizer', where)
        arguments = {} if isinstance(cfg, str) else {k: v for k, v in cfg.items() if k != 'type'}
        # Those of torch may be tried out; one of the user's might notice.
        if getattr(factory, '__module__', '').startswith('torch.'):
            with located(where):
                factory([nn.Parameter(torch.zeros(1))], **arguments)
    elif not (hasattr(cfg, 'param_groups') and hasattr(cfg, 'step')):
        raise TypeError(f'{where} must be an optimizer, a dict or a name, but got {cfg!r}')


def _policy(cfg: dict[str, Any], where: str) -> Any:
    name = cfg.get('policy')
    policy = POLICIES.get(name) if isinstance(name, str) else None
    if policy is None:
        raise TypeError(
            f'invalid lr policy: {name!r} ({where}.policy), '
            f'expected one of {_names(POLICIES.keys())}{_near(name, POLICIES.keys())}'
        )
    return policy


def _check_unit(cfg: dict[str, Any], where: str) -> None:
    for key in ('type', 'policy'):
        if key not in cfg:
            raise KeyError(f'{where}.{key} is missing{_near(key, cfg)}')
    if cfg['type'] not in UNITS:
        raise ValueError(f'{where}.type must be one of {_names(UNITS)}, but got {cfg["type"]!r}')


def _check_schedule(cfg: dict[str, Any], where: str) -> None:
    _check_unit(cfg, where)
    for name, parameter in inspect.signature(_policy(cfg, where)).parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if needed and name not in POLICY_INPUTS and name not in cfg:
            raise KeyError(
                f'{where}.{name} is missing: lr policy {cfg["policy"]!r} needs it{_near(name, cfg)}'
            )
    policy = _policy(cfg, where)
    if policy.__module__ == POLICIES_HOME:
        if cfg['policy'] == 'step':
            _check_bounds(cfg['step'], f'{where}.step')
        for progress in (0, 1):
            with located(where):
                policy(0.1, **{**cfg, 'progress': progress, 'max_progress': 2})


def _check_bounds(step: Any, where: str) -> None:
    """Refuse bounds of which one could not be compared: those that come late too."""
    if isinstance(step, int):
        return
    # What has no bounds at all is refused like other arguments, by a trial.
    for bound in step if isinstance(step, Iterable) and isinstance(step, Sized) else ():
        try:
            bool(bound > 0)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(
                f'{where} must be a whole number or a list of numbers, but {bound!r} in {step!r} '
                'is none'
            ) from None


def _check_warmup(cfg: dict[str, Any], where: str) -> None:
    _check_unit(cfg, where)
    if cfg['policy'] not in WARMUPS:
        raise TypeError(
            f'invalid warm-up policy: {cfg["policy"]!r} ({where}.policy), '
            f'expected one of {_names(WARMUPS)}{_near(cfg["policy"], WARMUPS)}'
        )
    steps = 'steps' if 'steps' in cfg else 'step'
    if steps not in cfg:
        raise KeyError(f'{where}.steps is missing: the number of epochs or iterations to warm up')
    _check_number(cfg[steps], f'{where}.{steps}')
    _check_number(cfg.get('ratio', 0.001), f'{where}.ratio')


def _check_validation(cfg: dict[str, Any], where: str) -> None:
    for key in ('interval', 'offset'):
        if key in cfg:
            _check_number(cfg[key], f'{where}.{key}', minimum=None)


def _check_clip(cfg: dict[str, Any], where: str) -> None:
    with located(where):
        inspect.signature(clip_grad_norm_).bind([], **cfg)
    for key in ('max_norm', 'norm_type'):
        if key in cfg:
            # As torch does it: 'inf' is a number.
            try:
                float(cfg[key])
            except (TypeError, ValueError, RuntimeError) as error:
                kind = ValueError if isinstance(error, ValueError) else TypeError
                raise kind(f'{where}.{key} must be a number, but got {cfg[key]!r}') from None


def _check_loss(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{where} must be a key of the model's output, got {value!r}")


REQUIRED = ('epochs', 'optimizer')
SETTINGS = ('lr_schedule', 'warmup', 'validation', 'grad_clip')
CHECKS: dict[str, Callable[[Any, str], None]] = {
    'epochs': _check_count,
    'optimizer': _check_optimizer,
    'lr_schedule': _check_schedule,
    'warmup': _check_warmup,
    'validation': _check_validation,
    'grad_clip': _check_clip,
    'loss': _check_loss,
}


def _names(names: Iterable[str]) -> str:
    return ', '.join(repr(name) for name in names)


def _near(name: Any, names: Iterable[Any]) -> str:
    close = difflib.get_close_matches(str(name), [str(n) for n in names], n=1)
    return f'; did you mean {close[0]!r}?' if close else ''


def _warn_keys(
    cfg: dict[str, Any], accepted: Iterable[str], where: str, logger: logging.Logger
) -> None:
    accepted = list(accepted)
    for key in cfg:
        if key in accepted:
            continue
        close = difflib.get_close_matches(str(key), accepted, n=1, cutoff=0.8)
        if close:
            logger.warning(f'{where} has an unknown key {key!r}: did you mean {close[0]!r}?')
