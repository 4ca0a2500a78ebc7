"""What hooks read of an engine, answered by a Trainer that knows nothing of engines."""

from __future__ import annotations

import logging
import math
import numbers
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.data import extract_batch_size
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from .. import _evaluation
from .._logging import get_logger
from .._remember import remember
from .._state import State
from ..buffer import Buffer
from ..hooks.base import Hook

AMP_TYPES = {'16-mixed': 'fp16', 'bf16-mixed': 'bf16'}


class View(State):
    """A fit of a Trainer as the one stage of an engine, with nncore's counting, to be read only.

    Args:
        trainer: The Trainer, set up for a fit.
        module: What it fits.
        hooks: The hooks that share this view, by name.

    Raises:
        ValueError: The Trainer's settings leave open how long it trains.
    """

    debug = False
    meta = None

    def __init__(
        self, trainer: Trainer, module: LightningModule, hooks: OrderedDict[str, Hook]
    ) -> None:
        self.trainer = trainer
        self.model = module
        self.hooks = hooks
        self.logger: logging.Logger = get_logger('nncore_compat')
        # On all processes: it is sent from the first to the others.
        self.work_dir = trainer.log_dir or trainer.default_root_dir
        self._kwargs: dict[str, Any] = {}
        self._seen: dict[str, torch.Tensor] = {}
        self.is_epoch_open = False
        self.buffer = Buffer(logger=self.logger)
        self.data_loaders: dict[str, Any] = {}
        if trainer.max_epochs == -1 and trainer.max_steps == -1:
            raise ValueError(
                'Trainer(max_epochs=-1) never ends, and hooks of nncore count to the end: '
                'give max_epochs or max_steps'
            )

    def begin(self) -> None:
        """Count from where the Trainer starts, or was resumed."""
        self._look_at_loaders()
        trainer, length = self.trainer, len(self.data_loaders['train'])
        limits = [trainer.max_epochs] if trainer.max_epochs not in (None, -1) else []
        if trainer.max_steps != -1:
            # A step takes several batches where gradients are accumulated.
            steps = math.ceil(length / trainer.accumulate_grad_batches)
            limits.append(math.ceil(trainer.max_steps / steps))
        optimizer = trainer.optimizers[0] if trainer.optimizers else None
        self.stages = [
            {
                'epochs': min(limits),
                'optimizer': optimizer,
                'validation': {'interval': trainer.check_val_every_n_epoch or 1},
            }
        ]
        self.reset_states()
        self._epoch = trainer.current_epoch
        self._iter = self._start_iter = self._epoch * length

    def enter(self, mode: str) -> None:
        """Turn to training or to validation."""
        self._look_at_loaders()
        # The averages of the training epoch before, which come after its end.
        self._forget_logged()
        self._mode = mode
        self.data_loader = self.data_loaders[mode]
        if mode == 'val':
            self.buffer.pop('_out', None)
        else:
            self._epoch = self.trainer.current_epoch
            self.is_epoch_open = True

    def at(self, batch_idx: int) -> None:
        """Count to a training batch, which may come after a validation within the epoch."""
        if self._mode != 'train':
            self._mode, self.data_loader = 'train', self.data_loaders['train']
        self._iter = self._epoch * len(self.data_loader) + batch_idx

    def remember(self, output: Any, batch: Any) -> None:
        """Put what a step returned and logged into the buffer.

        Args:
            output: What the step returned.
            batch: The batch, for the number of samples in it.
        """
        if torch.is_tensor(output):
            output = {'loss': output}
        values: dict[str, Any] = {}
        if isinstance(output, Mapping):
            values.update((k, v) for k, v in output.items() if k[:1] == '_' or _is_scalar(v))
        values = {**values, **dict(self._logged()), **values}
        self.losses = {key: value for key, value in values.items() if 'loss' in key}
        if '_avg_factor' not in values:
            values['_avg_factor'] = _count(batch)
        self._keep(values)

    def remember_logged(self) -> None:
        """Put the averages that Lightning has made of a validation into the buffer."""
        self._keep(dict(self._logged()))

    def _forget_logged(self) -> None:
        for _ in self._logged():
            pass

    def close_epoch(self) -> None:
        """Count the epoch as done, before Lightning does."""
        self._epoch += 1
        self.is_epoch_open = False

    def end(self) -> None:
        """Count the stage as done."""
        self._stage += 1

    @property
    def optimizer(self) -> torch.optim.Optimizer:  # type: ignore[override]
        """The first optimizer of the module."""
        return self.trainer.optimizers[0]

    @property
    def lightning_module(self) -> LightningModule:
        """What the Trainer fits."""
        return self.model

    def get_amp_type(self) -> str | None:
        """Return ``'fp16'`` or ``'bf16'``, None when mixed precision is off."""
        return AMP_TYPES.get(str(self.trainer.precision))

    def evaluate(self) -> dict[str, Any]:
        """Let the dataset evaluate the outputs (``_out``) that the steps returned."""
        return _evaluation.evaluate(self)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        message = f'there is no engine.{name} here'
        if not name.startswith('__'):
            message += (
                ': the hook runs in a Trainer of Lightning, which is engine.trainer, and trains '
                'engine.model'
            )
        raise AttributeError(message)

    def _look_at_loaders(self) -> None:
        trainer = self.trainer
        found = {'train': Batches('train', trainer.train_dataloader, trainer.num_training_batches)}
        if trainer.val_dataloaders is not None:
            count = sum(trainer.num_val_batches)
            found['val'] = found['test'] = Batches('val', trainer.val_dataloaders, count)
        self.data_loaders.clear()
        self.data_loaders.update(found)

    def _logged(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield what was logged since the last time.

        Lightning keeps the values of earlier batches and epochs beside the new ones. Each new one
        is a new tensor, and the last ones are held here, so that none can have their place.
        """
        metrics = dict(self.trainer.callback_metrics)
        for key, value in metrics.items():
            last = self._seen.get(key)
            if last is not None and last.data_ptr() == value.data_ptr():
                continue
            self._seen[key] = value
            name, _, kind = key.rpartition('_')
            # Lightning gives what is logged by step and by epoch under two names.
            if _is_scalar(value) and not (kind in ('step', 'epoch') and name in metrics):
                yield key, value

    def _keep(self, values: Mapping[str, Any]) -> None:
        remember(self.buffer, values)


class Batches:
    """The loaders of a split, as long as Lightning runs them.

    Args:
        split: Its name.
        loaders: A loader, or a collection of them.
        count: Number of batches.

    Raises:
        ValueError: There is no end to them.
    """

    def __init__(self, split: str, loaders: Any, count: float) -> None:
        if math.isinf(count):
            raise ValueError(
                f'the {split} loader has no length, which hooks of nncore count with: set '
                f'Trainer(limit_{split}_batches=<whole number>)'
            )
        if isinstance(loaders, (list, tuple)) and len(loaders) == 1:
            loaders = loaders[0]
        self._split = split
        self._loaders = loaders
        self._count = int(count)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loaders)

    def __getattr__(self, name: str) -> Any:
        if isinstance(self._loaders, (list, tuple, dict)) and not name.startswith('__'):
            raise AttributeError(
                f'there is no {name} to ask for: the {self._split} split has '
                f'{len(self._loaders)} loaders, and hooks of nncore know one'
            )
        return getattr(self._loaders, name)


def _is_scalar(value: Any) -> bool:
    if torch.is_tensor(value):
        return value.numel() == 1
    return isinstance(value, numbers.Number)


def _count(batch: Any) -> int:
    try:
        return extract_batch_size(batch)
    except (MisconfigurationException, RecursionError):
        return 1
