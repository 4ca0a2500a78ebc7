"""Just enough of torchvision for nncore 0.4.7 to be imported; nothing of it is ever called."""

__version__ = '0.28.0'
