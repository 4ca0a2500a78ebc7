"""Shuffled training with a seed, and validation after the one stage's every epoch."""

from _pair import Net, begin, configs, finish, main_folder, seed, watch
from nncore.engine import Engine

begin()
seed()
stage = dict(epochs=3, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1))
engine = Engine(Net(), configs(), stages=stage, work_dir=main_folder('run'), seed=8)
watch(engine)
engine.launch()
finish('order', engine)
