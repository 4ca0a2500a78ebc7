"""The shortest script of two processes: default stages and hooks, default folder and logger."""

from _pair import Net, begin, finish, seed, watch
from _pair import configs as loaders
from nncore.engine import Engine, is_main_process

begin()
seed()
# In order, so that it is the same whether or not SamplerSeedHook sets epochs.
engine = Engine(Net(), loaders(shuffle=False), work_dir=None if is_main_process() else 'none')
watch(engine)
engine.launch()
finish('default', engine)
