"""WandbWriter: which calls reach wandb, with which arguments."""

import wandb
from _lab import Net, finish, loaders, note, seed, watch
from nncore.engine import Engine


def record(name):
    return lambda *args, **kwargs: note(name, args=args, kwargs=kwargs)


wandb.init, wandb.log, wandb.finish = record('init'), record('log'), record('finish')
CASES = dict(
    plain=('WandbWriter', None),
    options=(dict(type='WandbWriter', project='p', tags=['a']), dict(config='c', layers=[1, 2])),
)
for name, (writer, meta) in CASES.items():
    seed()
    engine = Engine(
        Net(),
        loaders(),
        stages=dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
        hooks=[dict(type='EventWriterHook', interval=2, writers=['JSONWriter', writer])]
        if isinstance(writer, dict)
        else [dict(type='EventWriterHook', interval=4, writers=[writer])],
        work_dir=f'runs/{name}',
        logger=name,
        meta=meta,
    )
    watch(engine)
    engine.launch()
    finish(name, engine)
