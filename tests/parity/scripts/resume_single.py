"""Resume a single-stage run from every epoch but the last."""

from _lab import Net, finish, loaders, note, seed, watch
from nncore.engine import Engine


def build(name, epochs=4):
    seed()
    stage = dict(
        epochs=epochs,
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
        lr_schedule=dict(type='iter', policy='cosine'),
        warmup=dict(type='iter', policy='linear', steps=9, ratio=0.1),
        validation=dict(interval=2),
    )
    engine = Engine(
        Net(norm=True, dropout=0.1),
        loaders(),
        stages=[stage],
        hooks=[dict(type='EvalHook', high_keys=['accuracy'])],
        work_dir=name,
        logger=name,
    )
    return watch(engine)


engine = build('whole')
engine.launch()
finish('whole', engine)
for epoch in (1, 2, 3):
    name = f'from_{epoch}'
    engine = build(name)
    engine.resume(f'whole/epoch_{epoch}.pth')
    note('resumed', stage=engine.stage, epoch=engine.epoch, start=engine.start_iter)
    engine.launch()
    finish(name, engine)
engine = build('longer', epochs=6)
engine.resume('whole/epoch_3.pth', strict=True)
engine.launch()
finish('longer', engine)
