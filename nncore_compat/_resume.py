"""Going on where a checkpoint was saved."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _content, _formats, _phases, _plain, _recompiled, _snapshot, _stages, quirks
from ._errors import located
from ._state_dict import inner
from .utils import get_checkpoint

if TYPE_CHECKING:
    from .engine import Engine


class Resumption(NamedTuple):
    """What a checkpoint says of the run that it was saved in, fit for an engine."""

    name: str
    checkpoint: dict[str, Any]
    # What is under `_snapshot.KEY`, if it is to go on exactly.
    section: dict[str, Any] | None
    # That of the stage that was running, with its state.
    optimizer: Any
    # The stage that is next by the counters, and the one in which the run goes on: an epoch whose
    # end had been saved may be to be validated yet.
    stage: int
    goes_on_in: int
    epoch: int
    iter: int


def resume(
    engine: Engine,
    source: dict[str, Any] | str | os.PathLike[str],
    exact: bool = True,
    **kwargs: Any,
) -> None:
    """Load weights, counters and the optimizer of the stage that was running.

    Args:
        engine: The engine.
        source: A checkpoint, its file name or URL.
        exact: Whether the next launch is to go on exactly as the run that was interrupted, where
            the checkpoint knows all that this takes.
        **kwargs: ``weights_only`` of ``utils.get_checkpoint``, and more arguments of
            ``utils.load_checkpoint``.

    Raises:
        FileNotFoundError: There is no such file.
        KeyError: The checkpoint has no optimizer.
        RuntimeError: It is no checkpoint of a training run.
    """
    trusted = {key: kwargs.pop(key) for key in ('weights_only',) if key in kwargs}
    found = read(engine, source, exact, engine.logger, **trusted)
    checkpoint, section = found.checkpoint, found.section
    _snapshot.load_weights(engine, checkpoint, section, **kwargs)

    if found.optimizer is not None:
        engine.optimizer = found.optimizer
    engine._resuming = checkpoint if section else None
    if section and _snapshot.FOLDER in checkpoint:
        # Read again at the launch, each process its part.
        engine._resuming = {k: v for k, v in checkpoint.items() if k != 'state_dict'}
    engine._resume_options = kwargs
    engine._resumed_from = _place(source, found.name)
    engine._stage, engine._epoch = found.stage, found.epoch
    engine._iter = engine._start_iter = found.iter
    if section:
        message = 'going on exactly where the run had stopped'
        quirks.met('inexact-resume', engine, message, ahead=True)
    engine.logger.info(
        f'Resumed stage {min(found.goes_on_in + 1, engine.max_stages)}, '
        f'epoch {engine.epoch}, iter {engine.iter}'
    )


def read(
    engine: Engine,
    source: dict[str, Any] | str | os.PathLike[str],
    exact: bool,
    logger: Any,
    **trusted: Any,
) -> Resumption:
    """Read what to go on from, and refuse what cannot be: the engine stays as it is.

    Args:
        engine: The engine.
        source: A checkpoint, its file name or URL.
        exact: As for :func:`resume`.
        logger: Who is told of what does not fit.
        **trusted: ``weights_only`` of ``utils.get_checkpoint``.

    Raises:
        FileNotFoundError, KeyError, RuntimeError: As for :func:`resume`.
    """
    checkpoint: Any = source
    exact = exact and not quirks.active('inexact-resume')
    name = 'the given checkpoint'
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        if exact and engine._run.shards and os.path.isdir(name):
            checkpoint = _without_parts(name, **trusted)
        else:
            checkpoint = get_checkpoint(name, map_location=engine._model_device, **trusted)
    given = checkpoint
    checkpoint = readable(given, name, inner(engine.model).state_dict())
    if _formats.kind(given) != 'ours' and _formats.position(given, name).batches_done:
        logger.warning(f'{name} was saved within an epoch, which begins anew')
    meta = checkpoint['meta']
    section = checkpoint.get(_snapshot.KEY) if exact else None
    if section:
        _content.check_section(section, meta['epoch'], name)

    stages = _plain.described(engine.stages)
    # Lightning knows of none.
    if meta['stages'] is not None and stages != meta['stages']:
        logger.warning(
            'Stages in the engine and checkpoint are mismatched:'
            f'\n\nCurrent stages: {stages}\n\nCheckpoint stages: {meta["stages"]}\n'
        )
    stage, in_stage = _stages.locate(engine.stages, meta['epoch'])
    if section:
        # What was saved is the optimizer of the epoch that was running.
        running, in_stage = _stages.locate(engine.stages, section['epoch'])[0], 1
        section = section if running < engine.max_stages else None
    optimizer = None
    if section or stage < engine.max_stages:
        running = running if section else stage
        optimizer = _phases.new_optimizer(engine, running)
        # At the start of a stage, what was saved belongs to the optimizer of the stage before.
        if in_stage > 0:
            with located(f'{name}, optimizer of stages[{running}]'):
                _snapshot.load_optimizer(engine, optimizer, checkpoint, section)
            _content.check_optimizer(optimizer, name)
    goes_on_in = running if section else stage
    return Resumption(
        name, checkpoint, section, optimizer, stage, goes_on_in, meta['epoch'], meta['iter']
    )


def _place(source: Any, name: str) -> str:
    """Return what is resumed from in words that hold when the script has changed folder."""
    is_file = isinstance(source, (str, os.PathLike)) and '://' not in name
    return os.path.abspath(os.path.expanduser(name)) if is_file else name


def _without_parts(folder: str, weights_only: bool = True) -> Any:
    """Read a folder, without what each process will have a part of; the weights are needed now."""
    from . import _sharded

    if not _sharded.is_sharded(folder):
        return get_checkpoint(folder, weights_only=weights_only)
    checkpoint = _sharded.read(folder, weights_only, only=lambda key: key == 'state_dict')
    later = _formats.kind(checkpoint) == 'ours' and 'current_model_state' not in checkpoint
    if not later:
        return _sharded.read(folder, weights_only)
    return {**checkpoint, _snapshot.FOLDER: (folder, weights_only)}


def readable(checkpoint: Any, name: str, weights: Iterable[str] | None = None) -> dict[str, Any]:
    """Return a training checkpoint of whatever origin in the form of ours or of nncore's.

    Args:
        checkpoint: The checkpoint.
        name: What to call it.
        weights: The names of the model's weights.

    Raises:
        KeyError: It has no optimizer.
        RuntimeError: It is no checkpoint of a training run.
    """
    own = checkpoint.get(_snapshot.KEY) if isinstance(checkpoint, Mapping) else None
    if own and not isinstance(own, Mapping):
        _content.check_section(own, 0, name)
    read = _formats.training(checkpoint, weights, name)
    if _formats.kind(checkpoint) != 'ours':
        return read
    return _recompiled.follow(checkpoint, _snapshot.KEY, weights)
