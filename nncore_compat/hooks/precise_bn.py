"""Exact statistics for the batch normalisation layers."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from .._batches import batches
from .._display import begin_task
from ..builder import HOOKS
from ._checks import check_count
from .base import Hook

if TYPE_CHECKING:
    from ..engine import Engine


@HOOKS.register()
class PreciseBNHook(Hook):
    """Replaces the moving averages of batch normalisation by true averages over training batches.

    While the model learns, the moving averages mix statistics of different weights. Here the
    weights stand still, and means and variances of the batches are averaged, each batch counting
    the same (Precise BN, section 3 of arXiv:2105.07576). Runs after the last epoch in any case.

    Args:
        interval: Runs after every n-th epoch.
        num_iters: How many batches to average, at most one pass over the training loader.

    Raises:
        ValueError: When there is nothing to average.

    Examples:
        >>> Engine(model, loaders, stages=stages, hooks=[PreciseBNHook(num_iters=100)]).launch()
    """

    def __init__(self, interval: int = 1, num_iters: int = 200) -> None:
        super().__init__()
        self._interval = check_count(interval, 'PreciseBNHook.interval', minimum=None)
        self._num_iters = check_count(num_iters, 'PreciseBNHook.num_iters')

    def after_train_epoch(self, engine: Engine) -> None:
        """Recomputes the statistics of the layers in training mode."""
        if not self.every_n_epochs(engine, self._interval) and not self.last_epoch(engine):
            return

        layers = [
            module
            for module in engine.model.modules()
            if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
        ]
        if layers:
            engine.logger.info('Computing Precise BN...')
            _average(engine, layers, min(self._num_iters, len(engine.data_loader)))


def _average(engine: Engine, layers: list[Any], num_iters: int) -> None:
    means = [torch.zeros_like(layer.running_mean) for layer in layers]
    variances = [torch.zeros_like(layer.running_var) for layer in layers]
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 1.0  # the moving averages become those of the last batch alone

        with begin_task('Precise BN', num_iters) as task:
            for count, batch in enumerate(islice(batches(engine.data_loader), num_iters), start=1):
                with torch.no_grad():
                    engine.model(batch, mode=engine.mode, **engine.kwargs)
                for layer, mean, variance in zip(layers, means, variances, strict=True):
                    mean += (layer.running_mean - mean) / count
                    variance += (layer.running_var - variance) / count
                task.update()

        for layer, mean, variance in zip(layers, means, variances, strict=True):
            layer.running_mean = mean
            layer.running_var = variance
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
