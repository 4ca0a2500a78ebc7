"""A buffer that is too small for an epoch: the oldest values go, with a warning each."""

from _lab import Net, finish, loaders, seed, watch
from nncore.engine import Engine

for name, size in dict(small=3, one=1, roomy=1000).items():
    seed()
    engine = Engine(
        Net(),
        loaders(train=18, val=12),
        stages=dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
        buffer_size=size,
        work_dir=name,
        logger=name,
        meta=dict(purpose='limits'),
    )
    watch(engine)
    engine.launch()
    finish(name, engine)
