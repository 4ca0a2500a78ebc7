"""One checkpoint for three readers: nncore, Lightning and plain PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .. import _plain, _snapshot
from .._formats import PREFIX
from .._prefixes import rename
from ..utils import stamped, to_cpu
from . import private, sharded

if TYPE_CHECKING:
    from .module import StagesModule


def complete(module: StagesModule, checkpoint: dict[str, Any]) -> None:
    """Turn what Lightning has collected into a checkpoint of an engine; all processes take part.

    Args:
        module: The engine's stages.
        checkpoint: Lightning's checkpoint, changed in place. ``meta``, ``state_dict`` and
            ``optimizer`` become what nncore reads, and what an exact resume needs is added.
    """
    engine = module.engine
    done = _batches_done(module)
    in_parts = sharded.splits(module.trainer.strategy)
    for key in ('state_dict', 'current_model_state'):
        if key in checkpoint and not in_parts:
            checkpoint[key] = rename(checkpoint[key], remove=PREFIX)
    averaged = checkpoint['state_dict'] if 'current_model_state' in checkpoint else None
    section = _snapshot.collect(engine, done, averaged)
    section['metrics'] = dict(module.trainer.callback_metrics)
    ended = engine._moment != 'iter'
    meta = stamped(
        {
            'epoch': section['epoch'] + ended,
            'iter': engine._epoch_start + done,
            'stages': _plain.described(engine.stages),
        }
    )
    own = {'meta': meta, 'state_dict': checkpoint.pop('state_dict')}
    if module.model is not module.unwrapped_model():
        # A hook has put another one in its place, which the strategy knows nothing of.
        own['state_dict'] = module.unwrapped_model().state_dict()
    states = checkpoint.pop('optimizer_states', None)
    if states is not None and not module.leaves_out_optimizer:
        # A hook may have put another one in place since the last step, or a wrapper.
        known = module.trainer.optimizers[:1] == [engine.optimizer]
        own['optimizer'] = states[0] if known else engine.optimizer.state_dict()
        checkpoint['optimizer_states'] = [own['optimizer']]
    if 'callbacks' in checkpoint:
        checkpoint['callbacks'] = _callback_states(module, checkpoint['callbacks'])
    # nncore's first, as its own files have them.
    whole = {**own, **checkpoint, _snapshot.KEY: section}
    parts = sharded.take_parts(whole) if in_parts else {}
    checkpoint.clear()
    checkpoint.update(to_cpu(whole), **parts)


def _batches_done(module: StagesModule) -> int:
    """Batches of the running epoch that the model has been trained on."""
    engine = module.engine
    done = engine.iter - engine._epoch_start
    if module.resting or engine._moment != 'iter':
        return done
    # In the midst of an iteration, which counts as done once the model has seen its batch.
    return max(done, private.batches_processed(module.trainer))


def _callback_states(module: StagesModule, states: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for key, state in states.items():
        try:
            kept[key] = _plain.state(state, f'the state of {key}')
        except TypeError as error:
            module.engine._warn_once(f'{error}: it is not saved')
    return kept


def restore_callbacks(trainer: Any, module: StagesModule, checkpoint: dict[str, Any]) -> None:
    """Give Lightning callbacks their states, as a Trainer does that is given a checkpoint.

    Args:
        trainer: The Trainer, whose callbacks have been set up.
        module: The engine's stages.
        checkpoint: The checkpoint.
    """
    states = checkpoint.get('callbacks') or {}
    # Its weights as the Trainer knows them.
    shown = dict(checkpoint)
    averaged = _snapshot.own_of(checkpoint.get(_snapshot.KEY), 'averaged')
    if averaged:
        shown['state_dict'] = {**shown['state_dict'], **averaged}
    for key in ('state_dict', 'current_model_state'):
        if key in shown:
            shown[key] = rename(shown[key], add=PREFIX)
    for callback in trainer.callbacks:
        callback.on_load_checkpoint(trainer, module, shown)
        if callback.state_key in states:
            callback.load_state_dict(_plain.restored(states[callback.state_key]))


def restore_metrics(trainer: Any, module: StagesModule, section: dict[str, Any]) -> None:
    """Put the metrics of the interrupted run where callbacks look for them.

    Args:
        trainer: The Trainer.
        module: The engine's stages.
        section: The engine's part of the checkpoint.
    """
    metrics = {
        key: value.to(module.device) if torch.is_tensor(value) else value
        for key, value in section['metrics'].items()
    }
    trainer.callback_metrics.update(metrics)
