"""ClosureHook with one function, with several, and two that replace each other."""

from _lab import Net, finish, loaders, note, seed, watch
from nncore.engine import ClosureHook, Engine


def tell(word):
    return lambda engine: note(word, epoch=engine.epoch, iter=engine.iter)


def build(name, hooks):
    return Engine(
        Net(),
        loaders(),
        stages=dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
        hooks=hooks,
        work_dir=name,
        logger=name,
    )


CASES = dict(
    one=[ClosureHook('before_train_iter', tell('one'))],
    config=[dict(type='ClosureHook', name='before_stage', func=tell('config'))],
    several=[
        ClosureHook(
            ['before_launch', 'after_val_epoch', 'after_train_iter', 'after_launch'],
            [tell('launch'), tell('validated'), tell('trained'), tell('done')],
        )
    ],
    general=[ClosureHook('before_epoch', tell('epoch'))],
    replaced=[ClosureHook('after_stage', tell('gone')), ClosureHook('after_stage', tell('kept'))],
)
for name, hooks in CASES.items():
    seed()
    engine = build(name, hooks)
    watch(engine)
    engine.launch()
    finish(name, engine)
