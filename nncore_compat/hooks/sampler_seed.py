"""Another order of the samples in every epoch of a distributed run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..builder import HOOKS
from .base import Hook

if TYPE_CHECKING:
    from ..engine import Engine


@HOOKS.register()
class SamplerSeedHook(Hook):
    """Tells the sampler which epoch begins; a sampler that takes no epoch is left alone.

    The engine registers it by itself where there are several processes.

    Args:
        name: What the engine knows the hook by. Default: the name of the class.

    Examples:
        >>> engine.register_hook('SamplerSeedHook', before='OptimizerHook')
    """

    def before_epoch(self, engine: Engine) -> None:
        """Sets the epoch of the sampler."""
        sampler: Any = getattr(engine.data_loader, 'sampler', None)
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(engine.epoch)
