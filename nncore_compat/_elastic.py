"""Going on after torchrun has restarted the processes (``--max-restarts``)."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from .comm import broadcast, is_main_process

if TYPE_CHECKING:
    from .engine import Engine

MARK = '.torchelastic.json'


def resume(engine: Engine) -> None:
    """Resume from the last checkpoint of this very run, if a restart has interrupted it.

    Args:
        engine: The engine, about to be launched. One that the script has resumed further than
            that is left alone.
    """
    if int(os.environ.get('TORCHELASTIC_MAX_RESTARTS', 0)) < 1:
        return
    hook: Any = engine.hooks.get('CheckpointHook')
    folder = engine.work_dir if hook is None else hook.folder(engine)
    restarts = int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0))
    if restarts == 0:
        if is_main_process():
            _mark(folder)
        return
    # The others may have no work_dir.
    found = broadcast(_last(folder) if is_main_process() else None)
    if found is None:
        engine.logger.warning(
            f'Restart {restarts}: no checkpoint of this run in {folder}, beginning anew'
        )
    elif found[0] > engine.epoch:
        engine.logger.info(f'Restart {restarts}: going on from {found[1]}')
        engine.resume(found[1])


def _checkpoints(folder: str) -> dict[str, list[int]]:
    """The checkpoints in a folder: file name to epoch and time of writing."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    epochs = {name: re.fullmatch(r'epoch_(\d+)\.pth', name) for name in names}
    return {
        name: [int(match[1]), os.stat(os.path.join(folder, name)).st_mtime_ns]
        for name, match in epochs.items()
        if match
    }


def _mark(folder: str) -> None:
    """Note which checkpoints are there before the run, so that they are not taken for its own."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, MARK), 'w') as file:
        json.dump(_checkpoints(folder), file)


def _last(folder: str) -> tuple[int, str] | None:
    try:
        with open(os.path.join(folder, MARK)) as file:
            before = json.load(file)
    except FileNotFoundError:
        return None
    new = [
        (epoch, os.path.join(folder, name))
        for name, (epoch, time) in _checkpoints(folder).items()
        if before.get(name) != [epoch, time]
    ]
    return max(new, default=None)
