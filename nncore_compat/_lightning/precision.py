"""The step of an optimizer through nncore's gradient scaler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.precision import Precision
from torch.optim import Optimizer

from . import private


class ScaledPrecision(Precision):
    """Steps through the scaler that OptimizerHook owns.

    Unlike the stock mixed precision plugin it never unscales (the hook does, before clipping) and
    never hands a closure to the optimizer, whose ``step`` may take none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scaler: torch.amp.GradScaler | None = None

    def optimizer_step(  # type: ignore[override]
        self,
        optimizer: Optimizer,
        model: LightningModule,
        closure: Callable[[], Any],
        **kwargs: Any,
    ) -> Any:
        """Step, and update the scaler."""
        result = closure()
        private.before_optimizer_step(model.trainer, optimizer)
        if self.scaler is None:
            optimizer.step(**kwargs)
        else:
            self.scaler.step(optimizer, **kwargs)
            self.scaler.update()
        return result
