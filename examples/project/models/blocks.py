import torch.nn as nn
from nncore.nn import MODELS


@MODELS.register()
class ConvBlock(nn.Sequential):
    """Convolution, normalisation, and half the size."""

    def __init__(self, in_dims, out_dims):
        super().__init__(
            nn.Conv2d(in_dims, out_dims, 3, padding=1),
            nn.BatchNorm2d(out_dims),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
