"""Checkpoints after epochs."""

import os
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from .. import comm
from ..builder import HOOKS
from ..comm import main_only
from ..utils import collect_checkpoint, is_sharded, write_checkpoint
from ._checks import check_count
from .base import Hook


@HOOKS.register()
class CheckpointHook(Hook):
    """Saves `epoch_<n>.pth` after every n-th epoch and after the last.

    When training is stopped before its time, the last epoch that ran to its end is saved too,
    unless another one has begun since.

    Args:
        interval: Saves after every n-th epoch.
        save_optimizer: Whether the optimizer's state is saved as well.
        create_symlink: Whether `latest.pth` points to the newest file (not on Windows).
        out: The folder. Default: the engine's `work_dir`.
    """

    def __init__(
        self,
        interval: int = 1,
        save_optimizer: bool = True,
        create_symlink: bool = False,
        out: str | None = None,
    ) -> None:
        super().__init__()
        self._interval = check_count(interval, 'CheckpointHook.interval', minimum=None)
        self._save_optimizer = save_optimizer
        self._create_symlink = create_symlink
        self._out = out
        # The iteration at the end of an epoch that was not saved.
        self._passed: int | None = None

    @main_only
    def before_launch(self, engine: Any) -> None:
        """Makes the folder."""
        self._out = self.folder(engine)
        os.makedirs(self._out, exist_ok=True)

    def folder(self, engine: Any) -> str:
        """Where the checkpoints go."""
        return os.path.expanduser(engine.work_dir if self._out is None else self._out)

    def after_train_epoch(self, engine: Any) -> None:
        """Saves the checkpoint, when it is time."""
        due = self.last_epoch(engine) or self.every_n_epochs(engine, self._interval)
        self._passed = None if due else engine.iter
        if due:
            self._save(engine, engine.epoch + 1)

    def after_launch(self, engine: Any) -> None:
        """Saves the checkpoint that would have come later, when training was stopped."""
        if engine._stopped and self._passed == engine.iter:
            self._save(engine, engine.epoch)

    def _save(self, engine: Any, epoch: int) -> None:
        # The other processes only give their part of a sharded model.
        states = engine._gather_states()
        if not comm.is_main_process() and states is None and not is_sharded(engine.model):
            return
        checkpoint = collect_checkpoint(
            engine.model,
            engine.optimizer if self._save_optimizer else None,
            {'epoch': epoch, 'iter': engine.iter, 'stages': plain(engine.stages)},
            states,
        )
        if not comm.is_main_process():
            return
        name = f'epoch_{epoch}.pth'
        path = os.path.join(self._out or '', name)
        engine.logger.info(f'Saving checkpoint to {path}...')
        write_checkpoint(checkpoint, path)
        if self._create_symlink:
            _point(os.path.join(self._out or '', 'latest.pth'), name)


def plain(value: Any) -> Any:
    """Returns a config as data that `torch.load(weights_only=True)` accepts."""
    if isinstance(value, torch.optim.Optimizer):
        return {'type': type(value).__name__, **plain(value.defaults)}
    if hasattr(value, 'to_dict'):
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or type(value) in (bool, int, float, str, torch.Tensor, torch.dtype):
        return value
    return repr(value)


def _point(link: str, target: str) -> None:
    """Makes a symbolic link, in place of an older one without a moment between them."""
    if platform.system() == 'Windows':
        return
    new = f'{link}.{os.getpid()}.tmp'
    os.symlink(target, new)
    os.replace(new, link)
