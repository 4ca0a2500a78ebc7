"""EvalHook: intervals, the test split, best values; datasets that cannot evaluate."""

from _lab import Net, Points, finish, loaders, note, seed, watch
from nncore.engine import Engine
from torch.utils.data import DataLoader


class Plain(Points):
    """Cannot evaluate."""

    evaluate = None

    def __getattribute__(self, name):
        if name == 'evaluate':
            raise AttributeError(name)
        return super().__getattribute__(name)


CASES = dict(
    every=dict(),
    second=dict(interval=2),
    third=dict(interval=3),
    never=dict(interval=0),
    test=dict(run_test=True),
    best=dict(high_keys=['accuracy', 'absent'], low_keys=['misses']),
    best_on_test=dict(run_test=True, interval=2, high_keys=['accuracy'], low_keys=['misses']),
    plain=dict(),
)
for name, options in CASES.items():
    seed()
    data = loaders(train=12, val=7, test=10)
    if name == 'plain':
        data['test'] = DataLoader(Plain(6, name='test'), batch_size=4)
    engine = Engine(
        Net(),
        data,
        stages=dict(epochs=5, optimizer=dict(type='SGD', lr=0.5), validation=dict(interval=1)),
        hooks=[dict(type='EvalHook', **options)],
        work_dir=name,
        logger=name,
    )
    watch(engine)
    engine.launch()
    note('best', values=[engine.hooks['EvalHook']._high_keys, engine.hooks['EvalHook']._low_keys])
    finish(name, engine)
