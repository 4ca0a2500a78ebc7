"""Going on where a checkpoint was saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import _phases, _stages
from .hooks.checkpoint import plain
from .utils import get_checkpoint, load_checkpoint

if TYPE_CHECKING:
    from .engine import Engine

META_KEYS = ('epoch', 'iter', 'stages')


def resume(engine: Engine, source: dict[str, Any] | str, **kwargs: Any) -> None:
    """Load weights, counters and the optimizer of the stage that was running.

    Args:
        engine: The engine.
        source: A checkpoint, its file name or URL.
        **kwargs: More arguments of ``utils.load_checkpoint``.

    Raises:
        FileNotFoundError: There is no such file.
        KeyError: The checkpoint has no optimizer.
        RuntimeError: It is no checkpoint of a training run.
    """
    if isinstance(source, str):
        checkpoint = get_checkpoint(source, map_location=engine._device)
        _check(checkpoint, source)
    else:
        checkpoint = source
        _check(checkpoint, 'the given checkpoint')
    meta = checkpoint['meta']

    stages = plain(engine.stages)
    if stages != meta['stages']:
        engine.logger.warning(
            'Stages in the engine and checkpoint are mismatched:'
            f'\n\nCurrent stages: {stages}\n\nCheckpoint stages: {meta["stages"]}\n'
        )
    load_checkpoint(engine.model, checkpoint, logger=engine.logger, **kwargs)

    engine._epoch = meta['epoch']
    engine._iter = engine._start_iter = meta['iter']
    engine._stage, in_stage = _stages.locate(engine.stages, engine._epoch)
    if engine._stage < engine.max_stages:
        engine.optimizer = _phases.new_optimizer(engine)
        # At the start of a stage, what was saved belongs to the optimizer of the stage before.
        if in_stage > 0:
            engine.optimizer.load_state_dict(checkpoint['optimizer'])
    engine.logger.info(
        f'Resumed stage {min(engine.stage + 1, engine.max_stages)}, '
        f'epoch {engine.epoch}, iter {engine.iter}'
    )


def _check(checkpoint: Any, name: str) -> None:
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    missing = [key for key in META_KEYS if not isinstance(meta, Mapping) or key not in meta]
    if missing or 'state_dict' not in checkpoint:
        raise RuntimeError(
            f"cannot resume from {name}: a checkpoint of a training run has 'state_dict', "
            f"'optimizer' and 'meta' with {list(META_KEYS)}, this one lacks "
            f'{missing or ["state_dict"]}'
        )
    if 'optimizer' not in checkpoint:
        raise KeyError(
            f'optimizer not found in the checkpoint ({name}): it can be loaded by load_checkpoint, '
            'but not resumed from'
        )
