"""Resuming as a launch was asked to; `auto` finds the newest checkpoint that can be read."""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import _elastic, _files, _options, _resume
from ._options import AUTO
from .comm import broadcast, is_main_process
from .hooks._records import Records
from .utils import get_checkpoint

if TYPE_CHECKING:
    from .engine import Engine

_NAME = re.compile(r'(epoch|iter)_\d+\.pth')


def choose(engine: Engine, eval: bool | str, resume: Any) -> Any:
    """Return what a launch resumes from, as `source` does; from now on only as the script says."""
    chosen = source(engine, eval, resume)
    # Once: a further launch of this engine is not the one that was interrupted.
    engine._resume_answered = engine._resume_answered or not eval
    return chosen


def source(engine: Engine, eval: bool | str, resume: Any) -> Any:
    """Return what a launch resumes from: as the command line says, else as the script says.

    Args:
        engine: The engine.
        eval: What ``launch`` was given.
        resume: What ``launch`` was given.

    Returns:
        'auto', a checkpoint, or None.

    Raises:
        ValueError: There is nothing to resume, because no training is launched.
        TypeError: It is nothing to resume from.
    """
    if resume is not None and eval:
        raise ValueError(
            f'launch(eval={eval!r}, resume={resume!r}): an evaluation is not resumed. '
            'Use load_checkpoint for the weights'
        )
    if not isinstance(resume, (str, os.PathLike, Mapping, type(None))):
        raise TypeError(
            f"launch: resume must be '{AUTO}', a checkpoint, its file or URL, but got {resume!r}"
        )
    if eval or engine._resume_answered:
        return resume
    return _options.resumes_from() or resume


def begin(engine: Engine) -> None:
    """Resume, if the launch was asked to, and get the folder of checkpoints ready.

    Args:
        engine: The engine, about to train.
    """
    folder = checkpoint_folder(engine)
    if is_main_process():
        _files.sweep(folder)
    source, restarts = engine._resume_from, _elastic.restarts()
    auto = isinstance(source, str) and source == AUTO
    engine._records = Records(auto or bool(restarts)) if auto or restarts is not None else None
    if not auto and source is not None:
        engine.resume(source)
    if restarts == 0 and is_main_process():
        _elastic.mark(folder, checkpoints(folder))
    if auto:
        _resume_newest(engine, folder)
    elif restarts:
        _resume_own(engine, folder, restarts)


def checkpoint_folder(engine: Engine) -> str:
    """Return the folder that CheckpointHook saves to."""
    hook: Any = engine.hooks.get('CheckpointHook')
    return os.path.expanduser(engine.work_dir) if hook is None else hook.folder(engine)


def _resume_newest(engine: Engine, folder: str) -> None:
    # Others may have no work_dir, and only the main process sees to the records.
    if not broadcast(is_fixed(engine, folder)):
        engine.logger.warning(unfound(engine))
        return
    found = broadcast(newest(engine.logger, folder) if is_main_process() else None)
    if found is None:
        engine.logger.info(f'resume={AUTO!r}: no checkpoint in {folder}, beginning anew')
    else:
        _go_on(engine, found[0], f'resume={AUTO!r}')


def is_fixed(engine: Engine, folder: str) -> bool:
    """Tell whether the folder of checkpoints is the same at each start."""
    return engine._named_work_dir or folder != os.path.expanduser(engine.work_dir)


def unfound(engine: Engine) -> str:
    """Say why nothing is found in a folder that is another one at each start."""
    return (
        f'resume={AUTO!r}: the script gives no work_dir, so that each start has one of its own '
        f'({engine.work_dir}) and finds nothing. Give Engine(work_dir=...) a fixed one'
    )


def _resume_own(engine: Engine, folder: str, restarts: int) -> None:
    """Resume from the newest checkpoint of this very run, if the script is not further than that.

    Args:
        engine: The engine.
        folder: The folder of its checkpoints.
        restarts: How often torchrun has started the processes again.
    """
    found = None
    if is_main_process():
        earlier = _elastic.marked(folder)
        found = None if earlier is None else newest(engine.logger, folder, earlier)
    found = broadcast(found)
    if found is None:
        engine.logger.warning(
            f'Restart {restarts}: no checkpoint of this run in {folder}, beginning anew'
        )
    elif found[1] > engine.iter:
        _go_on(engine, found[0], f'Restart {restarts}')


def _go_on(engine: Engine, path: str, why: str) -> None:
    engine.logger.info(f'{why}: going on from {path}')
    if engine._records is not None:
        engine._records.origin = os.path.basename(path)
    engine.resume(path)


def checkpoints(folder: str) -> dict[str, int]:
    """Return the checkpoints of runs in a folder: name to time of writing."""
    found = {}
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        if _NAME.fullmatch(name):
            try:
                found[name] = os.stat(os.path.join(folder, name)).st_mtime_ns
            except FileNotFoundError:
                # Deleted meanwhile, or a link that leads nowhere.
                continue
    return found


def newest(
    logger: logging.Logger, folder: str, ignored: Mapping[str, int] | None = None
) -> tuple[str, int] | None:
    """Find the newest checkpoint that can be resumed from.

    Args:
        logger: Who is told of damaged ones.
        folder: Where to look.
        ignored: Checkpoints to leave alone, with their times.

    Returns:
        Its path and iteration, if there is one.
    """
    times = checkpoints(folder)
    for name, time in (ignored or {}).items():
        if times.get(name) == time:
            del times[name]
    ordered = sorted(times, key=lambda name: times[name], reverse=True)
    # Copies of a folder may all bear one time.
    for _, names in itertools.groupby(ordered, key=lambda name: times[name]):
        paths = [os.path.abspath(os.path.join(folder, name)) for name in names]
        valid = [(path, done) for path in paths if (done := _iteration(logger, path)) is not None]
        if valid:
            return max(valid, key=lambda one: one[1])
    return None


def _iteration(logger: logging.Logger, path: str) -> int | None:
    """Return the iteration that a checkpoint was saved at; None if it cannot be resumed from."""
    try:
        checkpoint = get_checkpoint(path, map_location='cpu')
        _resume.readable(checkpoint, path)
    except (OSError, RuntimeError, KeyError) as error:
        reason = error.args[0] if isinstance(error, KeyError) else error
        logger.warning(f'Passing over {path}: {reason}')
        return None
    return checkpoint['meta']['iter']
