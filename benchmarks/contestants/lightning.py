"""A Lightning script: bare, or with two values logged to TensorBoard every 50 steps."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from ..clock import Clock
from ..models import build, checksum, length, loader


class Module(LightningModule):
    """The model, with `self.log` of its two values where they are logged."""

    def __init__(self, spec: dict[str, Any], steps: int) -> None:
        super().__init__()
        self.net = build(spec)
        self.spec = spec
        self.steps = steps
        self.kept: list[Any] = []

    def training_step(self, batch: Any, index: int) -> Any:
        output = self.net(batch, mode='train')
        if self.spec.get('log'):
            self.log('loss', output['loss'])
            self.log('acc', output['acc'])
        return output['loss']

    def validation_step(self, batch: Any, index: int) -> None:
        output = self.net(batch, mode='val')
        self.kept.append(output['_out'].cpu())
        if self.spec.get('log'):
            self.log('val_loss', output['loss'])
            self.log('val_acc', output['acc'])

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        if not self.spec.get('schedule'):
            return optimizer
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        return [optimizer], [{'scheduler': schedule, 'interval': 'step'}]


def train(spec: dict[str, Any], clock: Clock | None = None) -> dict[str, float]:
    """Seconds per training iteration."""
    clock = clock or Clock(spec['skip'], spec['iters'], spec['device'])
    batches = loader(spec, length(spec), clock)
    module = Module(spec, len(batches))
    trainer(spec).fit(module, batches)
    return {**clock.per_iteration(), **checksum(module)}


def validate(spec: dict[str, Any]) -> dict[str, float]:
    """Seconds per iteration of the validation after an epoch of one batch."""
    clock = Clock(spec['skip'], spec['iters'], spec['device'])
    trainer(spec).fit(Module(spec, 1), loader(spec, 1), loader(spec, length(spec), clock))
    return clock.per_iteration()


def evaluate(spec: dict[str, Any]) -> dict[str, float]:
    """Seconds per iteration of ``trainer.test``."""
    clock = Clock(spec['skip'], spec['iters'], spec['device'])
    trainer(spec).test(Module(spec, 1), loader(spec, length(spec), clock), verbose=False)
    return clock.per_iteration()


def save(spec: dict[str, Any]) -> dict[str, float]:
    """Seconds that training waits for a checkpoint, of which the newest is kept."""
    clock = Clock(0, 1)
    batches = loader(spec, spec['batches'], clock)
    trainer(spec, enable_checkpointing=True).fit(Module(spec, len(batches)), batches)
    return clock.per_epoch(spec['batches'])


def trainer(spec: dict[str, Any], **options: Any) -> Trainer:
    """A Trainer without bars and summaries; bare, without logger and checkpoints as well."""
    warnings.simplefilter('ignore')
    log = bool(spec.get('log'))
    settings: dict[str, Any] = dict(
        accelerator=spec['device'],
        devices=1,
        max_epochs=spec.get('epochs', 1),
        logger=TensorBoardLogger(os.getcwd()) if log else False,
        enable_checkpointing=log,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=50,
        accumulate_grad_batches=spec.get('interval', 1),
        precision='bf16-mixed' if spec.get('amp') else '32-true',
        default_root_dir=os.getcwd(),
    )
    return Trainer(**{**settings, **options})
