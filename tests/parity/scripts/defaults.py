"""Default stages and hooks, nothing else: what the shortest script gets."""

from _lab import Net, finish, loaders, seed, watch
from nncore.engine import Engine

seed()
engine = Engine(Net(), loaders())
watch(engine)
engine.launch()
finish('default', engine)
