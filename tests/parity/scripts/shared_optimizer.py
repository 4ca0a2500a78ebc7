"""One optimizer object in two stages, with another between: it keeps its first base_lr."""

import torch
from _lab import Net, finish, loaders, seed, watch
from nncore.engine import Engine

seed()
model = Net()
shared = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5)
exp = dict(type='iter', policy='exp', gamma=0.9)
stages = [
    dict(epochs=1, optimizer=shared, lr_schedule=exp),
    dict(epochs=1, optimizer=dict(type='Adagrad', lr=0.05)),
    dict(epochs=2, optimizer=shared, lr_schedule=exp),
]
engine = Engine(model, loaders(), stages=stages, work_dir='run', logger='shared')
watch(engine)
engine.launch()
finish('shared', engine)
