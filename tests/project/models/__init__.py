from .encoder import ConvEncoder
from .loss import LocalizationLoss, SmoothedBCELoss
from .model import Localizer

__all__ = ['ConvEncoder', 'LocalizationLoss', 'Localizer', 'SmoothedBCELoss']
