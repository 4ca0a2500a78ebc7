from .freeze import FreezeHook
from .loss_weight import LossWeightHook

__all__ = ['FreezeHook', 'LossWeightHook']
