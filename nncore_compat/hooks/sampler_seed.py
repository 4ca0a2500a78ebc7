"""Another order of the samples in every epoch of a distributed run."""

from typing import Any

from ..builder import HOOKS
from .base import Hook


@HOOKS.register()
class SamplerSeedHook(Hook):
    """Tells the sampler which epoch begins; a sampler that takes no epoch is left alone."""

    def before_epoch(self, engine: Any) -> None:
        """Sets the epoch of the sampler."""
        sampler: Any = getattr(engine.data_loader, 'sampler', None)
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(engine.epoch)
