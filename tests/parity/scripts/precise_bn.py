"""PreciseBNHook: it draws from the loader once more, and leaves new statistics."""

from _lab import Net, finish, loaders, seed, watch
from nncore.engine import Engine

CASES = dict(
    every=dict(),
    some=dict(interval=2, num_iters=3),
    before_checkpoint=dict(num_iters=2),
    no_norm=dict(),
)
for name, options in CASES.items():
    seed()
    engine = Engine(
        Net(norm=name != 'no_norm', dropout=0.2),
        loaders(),
        stages=dict(epochs=3, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
        work_dir=name,
        logger=name,
    )
    before = 'CheckpointHook' if name == 'before_checkpoint' else None
    engine.register_hook(dict(type='PreciseBNHook', **options), before=before)
    watch(engine)
    engine.launch(flavour='plain')
    finish(name, engine)
