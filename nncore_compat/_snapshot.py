"""What an exact resume needs beyond weights, optimizer and counters: collected and restored."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from . import (
    __version__,
    _batches,
    _buffer_state,
    _gradient_state,
    _optimizer_state,
    _plain,
    _random,
    comm,
)
from ._state_dict import inner
from .hooks.base import Hook
from .utils import load_checkpoint

if TYPE_CHECKING:
    from .engine import Engine

KEY = 'nncore_compat'
FORMAT = 1
# Where the rest of a checkpoint is that was read but for what each process has a part of.
FOLDER = 'folder'


def collect(
    engine: Engine, batches_done: int, averaged: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what goes into a checkpoint under ``KEY``; all processes take part.

    Args:
        engine: The engine.
        batches_done: Batches of the running epoch that are done.
        averaged: Averages of the weights over the run, if a callback keeps them.

    Returns:
        On the main process

        - ``moment``: ``'iter'`` (between two iterations), ``'epoch_end'`` (in after_train_epoch,
          of which ``hook`` has had the last turn; validation and the rest are still to come),
          ``'boundary'`` (after the validation) or ``'ended'`` (after that, in callbacks);
        - ``epoch``, ``batches_done``, ``batches``: the running epoch, from 0, and its iterations;
        - ``parameters``: names of the optimizer's parameters, by group;
        - ``frozen``: names of the parameters that are not trained: a hook of an earlier stage may
          have frozen them;
        - ``gradients``: those that processes have parts of, within a window of accumulation;
        - ``ranks``: for each process its random states, the states of hooks and loaders, buffer
          and metrics, and what of weights, optimizer and gradients is its own.
    """
    own = _own(engine, batches_done, averaged or {})
    within = engine._moment == 'iter'
    return {
        'format': FORMAT,
        'version': __version__,
        'moment': engine._moment,
        'hook': engine._closing,
        'mode': engine.mode,
        'epoch': engine._running_epoch,
        'batches_done': batches_done,
        'batches': len(engine.data_loaders['train']),
        'parameters': _optimizer_state.names(engine.model, engine.optimizer),
        'frozen': [n for n, p in inner(engine.model).named_parameters() if not p.requires_grad],
        'gradients': _gradient_state.collect(inner(engine.model), sharded=True) if within else {},
        'ranks': comm.gather(own),
    }


def _own(engine: Engine, batches_done: int, averaged: Mapping[str, Any]) -> dict[str, Any]:
    """What only this process knows."""
    averages = engine._run.module.averages
    within = engine._moment == 'iter'
    running = batches_done if within else None
    weights = {k: v for k, v in inner(engine.model).state_dict().items() if torch.is_tensor(v)}
    return {
        'random': _random.get_states(),
        'hooks': _hook_states(engine),
        'buffer': _buffer_state.collect(engine.buffer),
        'loaders': _loader_states(engine, running),
        'averages': None if averages is None else averages.state_dict(),
        'weights': _differing(weights),
        'averaged': _differing({k: v for k, v in averaged.items() if torch.is_tensor(v)}),
        'optimizer': _differing(_optimizer_state.tensors(engine.optimizer)),
        'gradients': _gradient_state.collect(inner(engine.model), sharded=False) if within else {},
    }


def restore(engine: Engine, checkpoint: dict[str, Any]) -> None:
    """Put everything back, at the moment when hooks have been told of the running epoch.

    Args:
        engine: The engine. Weights and optimizer too are loaded (again): before_stage and
            before_train_epoch may have changed them.
        checkpoint: As :func:`_resume.resume` has kept it.
    """
    section = checkpoint[KEY]
    if FOLDER in checkpoint:
        from . import _sharded

        parameters = dict(inner(engine.model).named_parameters())
        folder, weights_only = checkpoint[FOLDER]
        checkpoint = _sharded.read(folder, weights_only, like=parameters)
        section = {**section, 'gradients': checkpoint[KEY]['gradients']}
    for name, param in inner(engine.model).named_parameters():
        param.requires_grad_(name not in section['frozen'])
    # What did not exist then goes on as the first one.
    own = own_part(section) or section['ranks'][0]
    options = {**engine._resume_options, 'warning': False}
    load_weights(engine, checkpoint, section, **options)
    load_optimizer(engine, engine.optimizer, checkpoint, section)
    _gradient_state.restore(inner(engine.model), section['gradients'], _gradients(section))
    averages = engine._run.module.averages
    if averages is not None and own['averages'] is not None:
        averages.load_state_dict(own['averages'])
    _buffer_state.restore(engine.buffer, own['buffer'])
    for name, state in own['hooks'].items():
        method = getattr(engine.hooks.get(name), 'load_state_dict', None)
        if isinstance(engine.hooks.get(name), Hook) and callable(method):
            try:
                method(_plain.restored(state))
            except Exception as error:
                raise RuntimeError(
                    f'cannot resume: {name} does not accept its state in the checkpoint, '
                    f'{state!r:.200} ({type(error).__name__}: {error})'
                ) from error
    if same_world(section):
        for split, loader in _distinct(engine.data_loaders):
            if split in own['loaders']:
                state = _plain.restored(own['loaders'][split])
                if split == 'train' and state['done']:
                    state['done'] = section['batches_done']
                _batches.restore(loader, state)
    elif section['moment'] == 'iter':
        # The samples of an epoch are shared out anew: each process leaves out as many as it would
        # have had.
        loader = engine.data_loaders['train']
        _batches.restore(loader, {**_batches.state_of(loader), 'done': section['batches_done']})
    if own_part(section) is not None:
        _random.set_states(own['random'])
    else:
        # Others than the first one has.
        _random.seed_from(own['random'], comm.get_rank())


def same_world(section: dict[str, Any]) -> bool:
    """Tell whether a checkpoint was saved by as many processes as there are now."""
    return len(section['ranks']) == comm.get_world_size()


def own_part(section: dict[str, Any]) -> dict[str, Any] | None:
    """Return this process's part; None if there was no such process when it was saved."""
    ranks = section['ranks']
    return ranks[comm.get_rank()] if comm.get_rank() < len(ranks) else None


def load_weights(
    engine: Engine, checkpoint: dict[str, Any], section: dict[str, Any] | None, **kwargs: Any
) -> None:
    """Load weights, each process its own.

    Args:
        engine: The engine.
        checkpoint: The checkpoint.
        section: What is under ``KEY``, if that is to be heeded.
        **kwargs: Arguments of ``utils.load_checkpoint``.
    """
    # Where a callback averages weights, Lightning puts these in the place of those it trains.
    weights = checkpoint.get('current_model_state', checkpoint['state_dict'])
    differing = own_of(section, 'weights')
    if differing:
        weights = copy.copy(weights)
        weights.update(differing)
    load_checkpoint(engine.model, {'state_dict': weights}, logger=engine.logger, **kwargs)


def load_optimizer(
    engine: Engine, optimizer: Any, checkpoint: dict[str, Any], section: dict[str, Any] | None
) -> None:
    """Load the state of an optimizer, each process its own.

    Args:
        engine: The engine.
        optimizer: An optimizer of the stage that was saved.
        checkpoint: The checkpoint.
        section: What is under ``KEY``, if that is to be heeded.
    """
    names = section['parameters'] if section else None
    _optimizer_state.load(optimizer, checkpoint['optimizer'], engine.model, names)
    differing = own_of(section, 'optimizer')
    for key, tensor in _optimizer_state.tensors(optimizer).items() if differing else ():
        if key in differing:
            tensor.copy_(differing[key])


def _gradients(section: dict[str, Any]) -> list[dict[str, Any]]:
    """Those whose mean this process goes on with."""
    ranks = [part['gradients'] for part in section['ranks']]
    return [ranks[comm.get_rank()]] if same_world(section) else ranks


def own_of(section: dict[str, Any] | None, key: str) -> dict[str, Any]:
    """Return what of some tensors is this process's own, for as many processes as there were."""
    own = own_part(section) if section and same_world(section) else None
    return own[key] if own else {}


def _hook_states(engine: Engine) -> dict[str, Any]:
    states = {}
    for name, hook in engine.hooks.items():
        method = getattr(hook, 'state_dict', None)
        if isinstance(hook, Hook) and callable(method):
            try:
                states[name] = _plain.state(method(), f'the state of {name}')
            except TypeError as error:
                engine._warn_once(f'{error}: it is not saved')
    return states


def _loader_states(engine: Engine, done: int | None) -> dict[str, Any]:
    states = {}
    for split, loader in _distinct(engine.data_loaders):
        state = _batches.state_of(loader, done if split == 'train' else None)
        try:
            states[split] = _plain.state(state, f'the state of the loader for {split}')
        except TypeError as error:
            engine._warn_once(f'{error}: it is not saved')
    return states


def _distinct(loaders: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Each loader once, under the first split that it serves."""
    seen: set[int] = set()
    for split, loader in loaders.items():
        if id(loader) not in seen:
            seen.add(id(loader))
            yield split, loader


def _differing(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those that are not as the main process has them: statistics of batch normalisation, say."""
    if comm.get_world_size() == 1:
        return {}
    whole = {key: value for key, value in tensors.items() if not hasattr(value, 'full_tensor')}
    digests = {key: _digest(value) for key, value in whole.items()}
    first = comm.broadcast(digests)
    return {
        key: value.detach().cpu().clone()
        for key, value in whole.items()
        if first.get(key) != digests[key]
    }


def _digest(tensor: torch.Tensor) -> bytes:
    if not tensor.numel():
        return b''
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha1(data.numpy().data).digest()
