"""A run of two stages, and its continuation from every checkpoint in a folder."""

from _lab import Net, finish, loaders, resume, seed, watch
from nncore.engine import Engine

STAGES = [
    dict(
        epochs=2,
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
        warmup=dict(type='iter', policy='exp', steps=4, ratio=0.1),
        validation=dict(interval=1),
    ),
    dict(
        epochs=3,
        optimizer=dict(type='Adam', lr=0.01, weight_decay=0.001),
        lr_schedule=dict(type='epoch', policy='poly'),
        grad_clip=dict(max_norm=1.0),
        validation=dict(interval=1),
    ),
]


def build(name):
    """A watched engine with its own folder and log."""
    seed()
    model = Net(norm=True, dropout=0.1)
    hooks = [dict(type='OptimizerHook', interval=2)]
    return watch(Engine(model, loaders(), stages=STAGES, hooks=hooks, work_dir=name, logger=name))


def go_on(folder):
    """Resume from each epoch in a folder and train to the end."""
    for epoch in range(1, 6):
        name = f'from_{epoch}'
        engine = build(name)
        resume(engine, f'{folder}/epoch_{epoch}.pth')
        engine.launch()
        finish(name, engine)
