"""Checkpoints turned into those of nncore, of Lightning and of plain PyTorch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from . import _formats, _safetensors, _sharded
from ._formats import Position
from ._prefixes import rename, wrapper
from ._weights import load_file
from .utils import stamped

# The oldest Lightning that reads what is written here: a newer one takes it from there.
LIGHTNING = '2.4.0'
# What a LightningModule calls the model that it trains, most often.
ATTRIBUTES = ('model.', 'net.')


def read(path: str, trust: bool) -> dict[str, Any]:
    """Read a file or a folder of any kind.

    Args:
        path: The file or folder.
        trust: Whether to unpickle any object.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: It is a safetensors file, and safetensors is not installed.
        RuntimeError: It cannot be read, or holds no weights.
    """
    if os.path.isdir(path):
        if not _sharded.is_sharded(path):
            raise RuntimeError(
                f'cannot read {path!r}: a folder is a checkpoint if it has a '
                f'{_sharded.INDEX!r}, as torch.distributed.checkpoint writes it'
            )
        checkpoint = _sharded.read(path, weights_only=not trust)
    elif path.endswith(_safetensors.SUFFIX):
        checkpoint = _safetensors.read(path)
    else:
        checkpoint = load_file(path, 'cpu', weights_only=not trust)
    if _formats.kind(checkpoint) == 'unknown' or not weights_of(checkpoint):
        has = f'the keys {list(checkpoint)}' if isinstance(checkpoint, dict) else type(checkpoint)
        raise RuntimeError(
            f"cannot convert {path!r}: no weights, and no 'state_dict'; it has {has}"
        )
    return checkpoint


def place(checkpoint: Mapping[str, Any]) -> Position | None:
    """How far the run has come, or None if the checkpoint does not say so."""
    try:
        return _formats.position(checkpoint)
    except RuntimeError:
        return None


def to_weights(
    checkpoint: Mapping[str, Any], prefix: str | None = None, which: str | None = None
) -> dict[str, Any]:
    """Return the weights alone.

    Args:
        checkpoint: The checkpoint.
        prefix: What to take off the names; weights without it are left out. Default: what is
            known to be a wrapper.
        which: 'average' or 'current', where there are both. Default: what `state_dict` holds.

    Raises:
        ValueError: There are no such weights.
    """
    return _bare(_chosen(checkpoint, which), _formats.kind(checkpoint), prefix)


def to_nncore(
    checkpoint: Mapping[str, Any],
    prefix: str | None = None,
    which: str | None = None,
    name: str = 'the given checkpoint',
) -> dict[str, Any]:
    """Return a checkpoint as nncore writes it; without counters or an optimizer, one to load.

    Args:
        checkpoint: The checkpoint.
        prefix: As of `to_weights`.
        which: As of `to_weights`, but by default the weights that training goes on with.
        name: What errors call the checkpoint.

    Raises:
        RuntimeError: It has several optimizers.
        ValueError: There are no such weights.
    """
    try:
        parts = _formats.training(checkpoint, name=name)
    except KeyError:
        parts = {}
    except RuntimeError:
        # One that trained is to go on: what its optimizers lack must be said.
        if checkpoint.get('optimizer_states'):
            raise
        parts = {}
    known = (parts or checkpoint).get('meta')
    # Who made it, and when, unless it says so itself.
    meta = {**stamped({}), **(known if isinstance(known, Mapping) else {})}
    weights = _chosen(checkpoint, which or 'current')
    result = {'meta': meta, 'state_dict': _bare(weights, _formats.kind(checkpoint), prefix)}
    if parts:
        result['optimizer'] = parts['optimizer']
    return result


def to_lightning(
    checkpoint: Mapping[str, Any],
    prefix: str | None = None,
    which: str | None = None,
    name: str = 'the given checkpoint',
) -> dict[str, Any]:
    """Return a checkpoint for a LightningModule; without counters or an optimizer, one to load.

    Args:
        checkpoint: The checkpoint.
        prefix: What the module's names begin with. Default: 'model.'; for Lightning's own
            checkpoints, as they are.
        which: 'average' or 'current', to have only these. Default: all that there are.
        name: What errors call the checkpoint.

    Raises:
        ValueError: There are no such weights.
    """
    found = _formats.kind(checkpoint)

    def named(weights: Mapping[str, Any]) -> Mapping[str, Any]:
        if found == 'lightning' and prefix is None:
            return weights
        return rename(_bare(weights, found, None), add='model.' if prefix is None else prefix)

    own = ('nncore_compat', 'optimizer', 'meta', 'state_dict', 'current_model_state')
    result: dict[str, Any] = {}
    if found != 'weights':
        result = {key: value for key, value in checkpoint.items() if key not in own}
    result.setdefault('pytorch-lightning_version', LIGHTNING)
    result['state_dict'] = named(_chosen(checkpoint, which))
    if which is not None:
        result.pop('averaging_state', None)
    elif 'current_model_state' in checkpoint:
        result['current_model_state'] = named(checkpoint['current_model_state'])
    if found == 'lightning':
        return result

    if found != 'weights' and 'meta' in checkpoint:
        # Its stages tell what the counters count.
        result['meta'] = checkpoint['meta']
    at = place(checkpoint) or Position(0, 0, 0, 0)
    result.update(epoch=at.epoch, global_step=at.global_step, loops=loops(at))
    try:
        result['optimizer_states'] = [_formats.training(checkpoint, name=name)['optimizer']]
    except (KeyError, RuntimeError):
        result.pop('optimizer_states', None)
    else:
        result.setdefault('lr_schedulers', [])
        result.setdefault('callbacks', {})
    return result


def loops(at: Position) -> dict[str, Any]:
    """Return the progress of a Trainer, as of Lightning 2, that is to go on from there."""
    running = at.batches_done > 0
    # Lightning's own, saved at the end of an epoch, make it enter that epoch again and leave out
    # the events of its start. These say that the next one has not begun.
    batch = {
        'total': _count(at.iter),
        'current': _count(at.batches_done),
        'is_last_batch': False,
    }
    epoch = _count(at.epoch + running, processed=at.epoch, completed=at.epoch)
    steps = {'ready': at.global_step, 'completed': at.global_step}
    none = {'ready': 0, 'completed': 0}
    return {
        'fit_loop': {
            'state_dict': {},
            'epoch_progress': {'total': epoch, 'current': dict(epoch)},
            'epoch_loop.state_dict': {'_batches_that_stepped': at.global_step},
            'epoch_loop.batch_progress': batch,
            'epoch_loop.scheduler_progress': {'total': dict(none), 'current': dict(none)},
            # Of these a module uses one.
            'epoch_loop.automatic_optimization.state_dict': {},
            'epoch_loop.automatic_optimization.optim_progress': {
                'optimizer': {
                    'step': {'total': dict(steps), 'current': dict(none)},
                    'zero_grad': {
                        'total': {**steps, 'started': at.global_step},
                        'current': {**none, 'started': 0},
                    },
                }
            },
            'epoch_loop.manual_optimization.state_dict': {},
            'epoch_loop.manual_optimization.optim_step_progress': {
                'total': dict(steps),
                'current': dict(none),
            },
            'epoch_loop.val_loop.state_dict': {},
            'epoch_loop.val_loop.batch_progress': {
                'total': _count(0),
                'current': _count(0),
                'is_last_batch': False,
            },
        },
        # Asked for by Trainer.test(ckpt_path=...) and the like.
        'validate_loop': {},
        'test_loop': {},
        'predict_loop': {},
    }


def _count(ready: int, **others: int) -> dict[str, int]:
    return dict.fromkeys(('ready', 'started', 'processed', 'completed'), ready) | others


def weights_of(checkpoint: Any) -> Any:
    if _formats.kind(checkpoint) == 'weights':
        return checkpoint
    return checkpoint.get('state_dict')


def _chosen(checkpoint: Mapping[str, Any], which: str | None) -> Mapping[str, Any]:
    current = checkpoint.get('current_model_state')
    if which == 'average' and current is None:
        raise ValueError('it has no averaged weights, only those of the training')
    return current if which == 'current' and current is not None else weights_of(checkpoint)


def _bare(weights: Mapping[str, Any], found: str, prefix: str | None) -> dict[str, Any]:
    if prefix is None:
        prefix = wrapper(weights, ATTRIBUTES if found == 'lightning' else ())
    bare = rename(weights, remove=prefix)
    if not bare:
        names = ', '.join(list(weights)[:3])
        raise ValueError(f'no weights have names that begin with {prefix!r}: {names}, ...')
    return bare
