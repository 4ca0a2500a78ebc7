"""The hooks, one per module, at the paths where nncore.engine has them."""

from .base import Hook
from .checkpoint import CheckpointHook
from .closure import ClosureHook
from .eval import EvalHook
from .lr_updater import LrUpdaterHook
from .memory import EmptyCacheHook
from .metric import MetricHook
from .optimizer import OptimizerHook
from .precise_bn import PreciseBNHook
from .sampler_seed import SamplerSeedHook
from .timer import TimerHook
from .writer import (
    CommandLineWriter,
    EventWriterHook,
    JSONWriter,
    LightningLoggerWriter,
    TensorboardWriter,
    WandbWriter,
)

# The order of nncore's own list; what is only ours comes last.
__all__ = [  # noqa: RUF022
    'Hook',
    'CheckpointHook',
    'ClosureHook',
    'EvalHook',
    'CommandLineWriter',
    'EventWriterHook',
    'JSONWriter',
    'TensorboardWriter',
    'WandbWriter',
    'LrUpdaterHook',
    'EmptyCacheHook',
    'OptimizerHook',
    'PreciseBNHook',
    'SamplerSeedHook',
    'TimerHook',
    'MetricHook',
    'LightningLoggerWriter',
]
