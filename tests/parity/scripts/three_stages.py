"""Three stages, three optimizers, the last one an object with named groups."""

import torch
from _lab import Net, finish, loaders, seed, watch
from nncore.engine import Engine

seed()
model = Net(dropout=0.2)
last = torch.optim.RMSprop(
    [
        dict(params=model.layers[0].parameters(), lr=0.01, name='first'),
        dict(params=model.layers[4].parameters(), name='head'),
    ],
    lr=0.00002,
)
stages = [
    dict(
        epochs=2,
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True),
        warmup=dict(type='iter', policy='linear', steps=4, ratio=0.1),
        validation=dict(interval=1),
    ),
    dict(
        epochs=3,
        optimizer=dict(type='Adam', lr=0.01),
        lr_schedule=dict(type='epoch', policy='step', step=[1, 2], gamma=0.5),
        grad_clip=dict(max_norm=0.5),
        validation=dict(interval=2),
    ),
    dict(
        epochs=2,
        optimizer=last,
        lr_schedule=dict(type='iter', policy='cosine', target_lr=0.000001),
        validation=dict(interval=1),
    ),
]
engine = Engine(
    model,
    loaders(),
    stages=stages,
    hooks=[dict(type='EventWriterHook', interval=4)],
    work_dir='run',
    logger='three',
)
watch(engine)
engine.launch()
finish('three', engine)
