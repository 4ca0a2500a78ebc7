from .blocks import ConvBlock
from .classifier import Classifier

__all__ = ['Classifier', 'ConvBlock']
