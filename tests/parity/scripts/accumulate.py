"""Gradient accumulation with a remainder in every epoch, with and without clipping."""

from _lab import Net, finish, loaders, seed, watch
from nncore.engine import Engine

CASES = dict(
    three=dict(interval=3),
    clipped=dict(interval=4, clip=dict(max_norm=0.1, norm_type=2)),
    more_than_an_epoch=dict(interval=9),
    every=dict(interval=1),
    never_due=dict(interval=0),
)
for name, case in CASES.items():
    seed()
    stage = dict(epochs=2, optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-3))
    if 'clip' in case:
        stage['grad_clip'] = case['clip']
    engine = Engine(
        Net(norm=True),
        loaders(train=27),
        stages=[stage, dict(stage, optimizer=dict(type='AdamW', lr=0.01))],
        hooks=[dict(type='OptimizerHook', interval=case['interval'])],
        work_dir=name,
        logger=name,
    )
    watch(engine)
    engine.launch()
    finish(name, engine)
