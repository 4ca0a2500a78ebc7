"""Settings made into a Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.plugins.environments import ClusterEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from . import lean, loggers, private, processes, settings
from .precision import EnginePrecision
from .silence import silenced
from .strategy import ReplicatedStrategy


def build(
    given: Mapping[str, Any], work_dir: str, precision: EnginePrecision | None = None
) -> private.UninterruptedTrainer:
    """Build a Trainer for the processes that there are or that are asked for.

    Args:
        given: The user's arguments of the Trainer.
        work_dir: Where callbacks and loggers put their files.
        precision: nncore's precision, for when none of Lightning's is asked for.

    Raises:
        TypeError, ValueError, MisconfigurationException: An argument is wrong, or asks for what is
            not there.
    """
    world = processes.find()
    place = processes.placement(world, given)
    aware = processes.script_is_aware()
    several = place['devices'] not in (1, '1') or place['num_nodes'] > 1
    strategy = settings.choose_strategy(given, several)
    plugins = settings.plugins(given)
    if not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        plugins.append(place['environment'])
    named = {}
    if precision is not None and not settings.names_precision(given):
        if settings.brings_precision(strategy):
            named = {'precision': precision.named('cuda')}
        else:
            plugins.append(precision)
    arguments = {
        **settings.defaults(work_dir),
        # A script that knows of processes has split its data itself.
        'use_distributed_sampler': not aware,
        **given,
        **named,
        'logger': loggers.of_trainer(given.get('logger', False), work_dir),
        'devices': place['devices'],
        'num_nodes': place['num_nodes'],
        'strategy': strategy,
        'plugins': plugins,
        'max_epochs': 1,
    }
    try:
        trainer = private.UninterruptedTrainer(**arguments)
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        raise settings.explained(error, given) from error
    lean.install(trainer)
    if isinstance(trainer.strategy, ReplicatedStrategy):
        trainer.strategy.same_start = not aware
    if world.size > 1:
        private.forget_launcher(trainer.strategy)
    return trainer


def start_processes() -> None:
    """Start the processes that the command line asks for, before the script begins."""
    with silenced():
        trainer = build({**settings.collect(None), 'logger': False}, '.')
    processes.start(trainer, early=True)
