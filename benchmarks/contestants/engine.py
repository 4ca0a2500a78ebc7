"""The script of an nncore user, run as it stands by nncore and by nncore_compat."""

from __future__ import annotations

import itertools
import os
from typing import Any

from nncore.engine import Engine, Hook, init_dist, is_distributed
from torch import nn

from ..clock import Clock
from ..models import build, checksum, length, loader

_numbers = itertools.count()


def train(spec: dict[str, Any], clock: Clock | None = None) -> dict[str, float]:
    """Seconds per training iteration, with the default hooks and their writers."""
    clock = clock or Clock(spec['skip'], spec['iters'], spec['device'])
    engine = make(spec, loader(spec, length(spec), clock))
    engine.launch()
    return {**clock.per_iteration(), **checksum(engine.model)}


def validate(spec: dict[str, Any]) -> dict[str, float]:
    """Seconds per iteration of the validation after an epoch of one batch."""
    clock = Clock(spec['skip'], spec['iters'], spec['device'])
    engine = make(spec, loader(spec, 1), loader(spec, length(spec), clock))
    engine.launch()
    return clock.per_iteration()


def evaluate(spec: dict[str, Any]) -> dict[str, float]:
    """Seconds per iteration of ``launch(eval=True)``."""
    clock = Clock(spec['skip'], spec['iters'], spec['device'])
    engine = make(spec, loader(spec, 1), loader(spec, length(spec), clock))
    engine.launch(eval=True)
    return clock.per_iteration()


def save(spec: dict[str, Any]) -> dict[str, float]:
    """Seconds that training waits for a checkpoint."""
    clock = Clock(0, 1)
    make(spec, loader(spec, spec['batches'], clock)).launch()
    return clock.per_epoch(spec['batches'])


def make(spec: dict[str, Any], train: Any, val: Any = None) -> Engine:
    """The engine of a script: default hooks, and what the spec adds."""
    if spec.get('processes') and not is_distributed():
        init_dist()
    stage = dict(
        epochs=spec.get('epochs', 1),
        optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
    )
    if spec.get('schedule'):
        stage['lr_schedule'] = dict(type='iter', policy='cosine')
    data_loaders = dict(train=train)
    if val is not None:
        stage['validation'] = dict(interval=1)
        data_loaders['val'] = val
    return Engine(
        wrapped(build(spec), spec),
        data_loaders,
        stages=[stage],
        hooks=hooks(spec),
        # a logger per engine: handlers of the one before would go on writing
        logger=f'benchmark{next(_numbers)}',
        work_dir=os.path.join(os.getcwd(), 'work_dir'),
        amp='bf16' if spec.get('amp') else None,
    )


def wrapped(net: nn.Module, spec: dict[str, Any]) -> nn.Module:
    """The model as nncore's users hand it over."""
    if spec['device'] == 'cuda':
        from nncore.parallel import NNDataParallel

        return NNDataParallel(net.cuda())
    if spec.get('wrapped'):
        from nncore.parallel import NNDistributedDataParallel

        return NNDistributedDataParallel(net)
    return net


def hooks(spec: dict[str, Any]) -> list[Any]:
    """The hooks beside the default ones."""
    found: list[Any] = []
    if 'interval' in spec:
        found.append(dict(type='OptimizerHook', interval=spec['interval']))
    if 'checkpoint' in spec:
        found.append(dict(type='CheckpointHook', **spec['checkpoint']))
    kind = Busy if spec.get('hooks_listen') else Hook
    found += [kind(f'Hook{index}') for index in range(spec.get('hooks', 0))]
    return found


class Busy(Hook):
    """A hook that listens to every iteration and does nothing."""

    def after_train_iter(self, engine: Any) -> None:
        pass
