"""Entering the epoch again in which a run was interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _snapshot, _stages, comm
from ..hooks import OptimizerHook
from . import checkpoint as checkpoints
from . import private
from .strategy import binds_optimizer, exchange_optimizer

if TYPE_CHECKING:
    from ..engine import Engine
    from .callback import FirstSegment


def pending(engine: Engine) -> dict[str, Any] | None:
    """Return what is known of the moment to go on from; None without an exact resume."""
    checkpoint = engine._resuming
    return None if checkpoint is None else checkpoint[_snapshot.KEY]


def rewind(engine: Engine) -> None:
    """Set the counters to the beginning of the interrupted epoch, so that hooks are set up for it.

    Args:
        engine: The engine; nothing happens without an exact resume.
    """
    section = pending(engine)
    if section is not None:
        engine._epoch = section['epoch']
        engine._stage = _stages.locate(engine.stages, engine._epoch)[0]
        engine._iter = engine._resuming['meta']['iter'] - section['batches_done']  # type: ignore[index]


def start(trainer: Any, engine: Engine) -> None:
    """Set the counters of a fit by those of the engine.

    Args:
        trainer: The Trainer.
        engine: The engine, which goes back to the beginning of an epoch that was interrupted.
    """
    rewind(engine)
    checkpoint = engine._resuming
    if checkpoint is None:
        private.start_at(trainer, engine.epoch, engine.iter, engine.iter)
    else:
        steps = checkpoint['global_step']
        private.start_at(trainer, engine.epoch, checkpoint['meta']['iter'], steps)


def enter(first: FirstSegment, trainer: Any) -> None:
    """Go on where the interrupted run was: with its next batch, or with the end of its epoch.

    The hooks may be new ones, so they are told of stage and epoch as if these began. Then all that
    they, and the engine, have had at that moment is put back.

    Args:
        first: The first segment, at the start of a training epoch.
        trainer: The Trainer.
    """
    engine, module = first.engine, first.module
    checkpoint: Any = engine._resuming
    section = checkpoint[_snapshot.KEY]
    rewind(engine)
    engine._resuming = None
    first.open_stage(trainer)
    first.open_epoch(trainer)
    engine._call_hook('before_train_epoch')
    length = len(engine.data_loaders['train'])
    recounted = _scale(engine, section, length)
    _snapshot.restore(engine, checkpoint)
    for hook in engine.hooks.values():
        if isinstance(hook, OptimizerHook):
            hook.move_window(recounted)
    if not binds_optimizer(trainer.strategy):
        exchange_optimizer(trainer)
    if not first.callbacks_restored:
        checkpoints.restore_callbacks(trainer, module, checkpoint)
    checkpoints.restore_metrics(trainer, module, section)

    engine._moment, engine._closing = section['moment'], section['hook']
    engine._iter = engine._epoch_start + section['batches_done']
    if engine._moment == 'iter':
        done = section['batches_done']
        module.views['train'].before_first = lambda: private.go_to(trainer, done)
    elif engine._moment != 'ended':
        module.views['train'].empty = True
    if engine._moment in ('boundary', 'ended'):
        engine._epoch += 1
        engine._epochs_left -= 1
        if section['mode'] in ('val', 'test'):
            engine._mode = section['mode']
            engine.data_loader = engine.data_loaders[section['mode']]
            engine.model.eval()
    private.resize_training(trainer, max(1, length))


def _scale(engine: Engine, section: dict[str, Any], length: int) -> int:
    """Count in epochs of another length: as many samples, on another number of processes.

    Returns:
        How much higher the count of the epoch's iterations is now.
    """
    before, done = section['batches'], section['batches_done']
    world = len(section['ranks'])
    if not _snapshot.same_world(section):
        engine.logger.warning(
            f'Saved with {world} process(es), going on with {comm.get_world_size()}: not exactly '
            'as the run would have gone on'
        )
    if length == before or before == 0:
        return 0
    engine.logger.info(
        f'An epoch has {length} iterations now, and had {before} when the checkpoint was saved: '
        'the iterations that are done are counted anew'
    )
    section['batches_done'] = done * length // before
    engine._iter = engine._epoch_start = engine._epoch * length
    engine._start_iter = engine._iter + section['batches_done']
    return section['batches_done'] - done
