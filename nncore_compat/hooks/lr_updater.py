"""Learning rate schedules and warm-up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._registry import Registry
from ..builder import HOOKS
from .base import Hook

if TYPE_CHECKING:
    from ..engine import Engine

POLICIES = Registry('policy')


@POLICIES.register(name='step')
def _step(
    base_lr: float, progress: int, step: Sequence[int] | int, gamma: float = 0.1, **kwargs: Any
) -> float:
    if isinstance(step, int):
        drops = progress // step
    else:
        drops = next((i for i, bound in enumerate(step) if progress < bound), len(step))
    return base_lr * gamma**drops


@POLICIES.register(name='cosine')
def _cosine(
    base_lr: float, progress: int, max_progress: int, target_lr: float = 0, **kwargs: Any
) -> float:
    height = 1 + math.cos(math.pi * (progress / max_progress))
    return (base_lr - target_lr) * height * 0.5 + target_lr


@POLICIES.register(name='exp')
def _exp(base_lr: float, progress: int, gamma: float, **kwargs: Any) -> float:
    return base_lr * gamma**progress


@POLICIES.register(name='poly')
def _poly(
    base_lr: float,
    progress: int,
    max_progress: int,
    power: float = 1,
    min_lr: float = 0,
    **kwargs: Any,
) -> float:
    left = 1 - progress / max_progress
    return (base_lr - min_lr) * left**power + min_lr


@POLICIES.register(name='inv')
def _inv(base_lr: float, progress: int, gamma: float, power: float = 1, **kwargs: Any) -> float:
    return base_lr * (gamma * progress + 1) ** (-power)


def warmup_steps(warmup: Mapping[str, Any]) -> float:
    """Returns how long a warm-up lasts: nncore reads `steps`, and its documentation has `step`."""
    return warmup['steps' if 'steps' in warmup else 'step']


@HOOKS.register()
class LrUpdaterHook(Hook):
    """Sets the learning rates as the stage's `lr_schedule` and `warmup` say.

    `lr_schedule` is a dict of `type` ('epoch' or 'iter': when to update), `policy` and the
    policy's own settings. With `lr` the optimizer's own rate, `t` the epochs or iterations of the
    stage that are done, and `T` all of them:

    - `step` (`step`: a list of bounds, or one period; `gamma` = 0.1): `lr * gamma**k`, where `k` is
      the number of bounds (periods) that are reached
    - `cosine` (`target_lr` = 0): `target_lr + (lr - target_lr) * (1 + cos(pi * t / T)) / 2`, which
      is SGDR (arXiv:1608.03983) without restarts
    - `exp` (`gamma`): `lr * gamma**t`
    - `poly` (`power` = 1, `min_lr` = 0): `min_lr + (lr - min_lr) * (1 - t / T)**power`, as in
      DeepLab (arXiv:1606.00915)
    - `inv` (`gamma`, `power` = 1): `lr * (1 + gamma * t)**-power`, as in Caffe

    `warmup` is a dict of `type`, `policy`, `steps` (or `step`: how many epochs or iterations) and
    `ratio` (= 0.001: the fraction of the rate to begin with). For `t` below `steps`:

    - `linear`: `lr * (ratio + (1 - ratio) * t / steps)` (arXiv:1706.02677)
    - `exp`: `lr * ratio**(1 - t / steps)`
    - `constant`: `lr * ratio`

    A warm-up by iteration starts from the base rate, not from the rate of a schedule by epoch,
    which comes into force with the next epoch. A schedule by iteration overrides a warm-up by
    epoch. An optimizer that serves in two stages keeps the base rate of the first.

    Args:
        name: What the engine knows the hook by. Default: the name of the class.

    Raises:
        TypeError: For an unknown warm-up policy.

    Examples:
        >>> stage = {
        ...     'epochs': 3,
        ...     'optimizer': {'type': 'SGD', 'lr': 1.0},
        ...     'lr_schedule': {'type': 'epoch', 'policy': 'exp', 'gamma': 0.5},
        ... }
        >>> def show(engine):
        ...     print(engine.optimizer.param_groups[0]['lr'])
        >>> hook = ClosureHook('before_train_epoch', show)
        >>> Engine(model, loaders, stages=stage, hooks=[hook]).launch()
        1.0
        0.5
        0.25
    """

    def before_stage(self, engine: Engine) -> None:
        """Reads the stage's settings and notes the rates to begin with."""
        self._schd_cfg: Mapping[str, Any] | None = engine.cur_stage.get('lr_schedule')
        self._warm_cfg: Mapping[str, Any] | None = engine.cur_stage.get('warmup')
        self._base_rates(engine)

    def before_train_epoch(self, engine: Engine) -> None:
        """Sets the rates that change by epoch."""
        self._update(engine, 'epoch', engine.epoch_in_stage, engine.cur_stage['epochs'])

    def before_train_iter(self, engine: Engine) -> None:
        """Sets the rates that change by iteration."""
        settings = (self._schd_cfg, self._warm_cfg)
        if any(cfg is not None and cfg['type'] == 'iter' for cfg in settings):
            length = engine.cur_stage['epochs'] * len(engine.data_loader)
            self._update(engine, 'iter', engine.iter_in_stage, length)
        else:
            self._base_rates(engine)

    def _base_rates(self, engine: Engine) -> list[float]:
        # A group may have come since: unfrozen layers.
        groups = engine.optimizer.param_groups
        return [group.setdefault('base_lr', group['lr']) for group in groups]

    def _update(self, engine: Engine, unit: str, progress: int, max_progress: int) -> None:
        groups = engine.optimizer.param_groups
        rates = self._base_rates(engine)
        changed = False

        schedule = self._schd_cfg
        if schedule is not None and schedule['type'] == unit:
            policy = POLICIES.get(schedule['policy'])
            settings = {**schedule, 'progress': progress, 'max_progress': max_progress}
            rates = [policy(rate, **settings) for rate in rates]
            changed = True

        warmup = self._warm_cfg
        if warmup is not None and warmup['type'] == unit:
            steps = warmup_steps(warmup)
            if progress < steps:
                scale = self._warmup_scale(warmup, 1 - progress / steps)
                rates = [rate * scale for rate in rates]
            changed = changed or progress <= steps

        if changed:
            for group, rate in zip(groups, rates, strict=True):
                group['lr'] = rate

    @staticmethod
    def _warmup_scale(warmup: Mapping[str, Any], left: float) -> float:
        policy, ratio = warmup['policy'], warmup.get('ratio', 0.001)
        if policy == 'linear':
            return (ratio - 1) * left + 1
        if policy == 'exp':
            return ratio**left
        if policy == 'constant':
            return ratio
        raise TypeError(f"unknown warm-up policy {policy!r}. Accepted: 'linear', 'exp', 'constant'")
