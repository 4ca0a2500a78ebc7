"""Loaders, stages and the model of a plan: counts and settings in words."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import _loader_parts
from .._parameters import size
from ..hooks import OptimizerHook
from ..hooks.lr_updater import warmup_steps

if TYPE_CHECKING:
    from ..engine import Engine


@dataclass
class Loader:
    """A loader of a plan.

    Args:
        split: Its key in ``data_loaders``.
        batches: Its length: batches of this process in one epoch, None if it does not know it.
        batch_size: Samples in a batch, None where the loader does not say.
        samples: Samples of the data set, over all processes; None where it does not say.
        workers: Number of worker processes, in each process.
        same_as: The split that the very same loader serves already.
    """

    split: str
    batches: int | None
    batch_size: int | None = None
    samples: int | None = None
    workers: int | None = None
    same_as: str | None = None


@dataclass
class Stage:
    """A stage of a plan; epochs are counted over all stages, from 1, as in the log.

    Args:
        number: Counted from 1.
        epochs: The epochs that are to be run, maybe fewer than the stage has.
        iterations: Training iterations, of each process.
        steps: Steps of the optimizer; None if a hook of the script's decides.
        optimizer: Class and settings.
        groups: Number of parameters in each of the optimizer's groups, empty if there is none.
        schedule: ``lr_schedule`` in words.
        warmup: ``warmup`` in words.
        validated: The epochs that are validated.
        grad_clip: ``grad_clip`` in words.
        loss: The key of the loss.
        begun: Whether a part of it is done already, in the run to be resumed.
    """

    number: int
    epochs: range
    iterations: int
    steps: int | None
    optimizer: str
    groups: list[int] = field(default_factory=list)
    schedule: str = 'none'
    warmup: str = 'none'
    validated: list[int] = field(default_factory=list)
    grad_clip: str = 'none'
    loss: str = 'loss'
    begun: bool = False


def loaders(data_loaders: dict[str, Any]) -> list[Loader]:
    """Describe loaders, without iterating any.

    Args:
        data_loaders: The loaders by split.
    """
    known: dict[int, str] = {}
    found = []
    for split, loader in data_loaders.items():
        with state_of(loader, split):
            found.append(
                Loader(
                    split,
                    _loader_parts.length(loader),
                    _batch_size(loader),
                    _loader_parts.length(getattr(loader, 'dataset', None)),
                    getattr(loader, 'num_workers', None),
                    known.get(id(loader)),
                )
            )
        known.setdefault(id(loader), split)
    return found


@contextlib.contextmanager
def state_of(loader: Any, split: str) -> Iterator[None]:
    """Have a data set in the state that it is in while a split runs: it may change its length."""
    dataset = getattr(loader, 'dataset', None)
    set_state = getattr(dataset, 'set_state', None)
    if not callable(set_state) or not hasattr(dataset, '__dict__'):
        yield
        return
    before = dict(vars(dataset))
    try:
        set_state(split)
        yield
    finally:
        vars(dataset).clear()
        vars(dataset).update(before)


def _batch_size(loader: Any) -> int | None:
    size = getattr(loader, 'batch_size', None)
    if size is None:
        size = getattr(getattr(loader, 'batch_sampler', None), 'batch_size', None)
    return size if isinstance(size, int) else None


def steps(engine: Engine, epochs: int, length: int, done: int) -> int | None:
    """Return how often the optimizer steps.

    Args:
        engine: The engine.
        epochs: Number of epochs.
        length: Iterations in each.
        done: Iterations of the first that are done already.
    """
    hook = engine.hooks.get('OptimizerHook')
    if type(hook) is not OptimizerHook:
        return None if isinstance(hook, OptimizerHook) else 0
    window = hook._interval or max(1, length)
    return epochs * math.ceil(length / window) - done // window


def group_sizes(optimizer: Any) -> list[int]:
    """Return the number of parameters in each group of an optimizer."""
    return [sum(map(size, group['params'])) for group in optimizer.param_groups]


def optimizer(optimizer: Any) -> str:
    """Return an optimizer's class and the settings that are not its defaults."""
    kind = type(optimizer)
    plain = _defaults(kind)
    settings = getattr(optimizer, 'defaults', {})
    given = {k: v for k, v in settings.items() if k == 'lr' or (k in plain and plain[k] != v)}
    rates = list(dict.fromkeys(group.get('lr') for group in optimizer.param_groups))
    if len(rates) == 1:
        given['lr'] = rates[0]
    elif 'lr' in given:
        # By group, which the table of rates has.
        del given['lr']
    return f'{kind.__name__}({arguments(given)})'


def _defaults(kind: Any) -> dict[str, Any]:
    with contextlib.suppress(TypeError, ValueError):
        parameters = inspect.signature(kind).parameters
        return {name: one.default for name, one in parameters.items()}
    return {}


def arguments(settings: dict[str, Any]) -> str:
    """Return settings as they stand in a call."""
    return ', '.join(f'{key}={value!r}' for key, value in settings.items())


def schedule(cfg: dict[str, Any] | None) -> str:
    """Return an ``lr_schedule`` in words."""
    if cfg is None:
        return 'none, the rate is constant'
    rest = {key: value for key, value in cfg.items() if key not in ('type', 'policy')}
    unit = 'epoch' if cfg['type'] == 'epoch' else 'iteration'
    return f'{cfg["policy"]} by {unit}' + (f', {arguments(rest)}' if rest else '')


def warmup(cfg: dict[str, Any] | None) -> str:
    """Return a ``warmup`` in words."""
    if cfg is None:
        return 'none'
    steps = warmup_steps(cfg)
    unit = 'epoch' if cfg['type'] == 'epoch' else 'iteration'
    plural = '' if steps == 1 else 's'
    way = 'at' if cfg['policy'] == 'constant' else 'from'
    return f'{cfg["policy"]}, {steps} {unit}{plural} {way} {cfg.get("ratio", 0.001):g} x the rate'
