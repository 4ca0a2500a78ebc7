"""Two stages with different optimizers, a checkpoint after every epoch."""

from _lab import finish
from _two_stages import build

engine = build('whole')
engine.launch()
finish('whole', engine)
