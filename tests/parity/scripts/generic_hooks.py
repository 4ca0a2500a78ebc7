"""Hooks that define only the general events: before_epoch, after_iter and so on."""

from _lab import Net, finish, loaders, note, seed, watch
from nncore.engine import Engine, Hook

GENERAL = ('before_epoch', 'after_epoch', 'before_iter', 'after_iter')


def hook(name, *events):
    """A hook that defines nothing but these events."""

    def method(event):
        return lambda self, engine: note(
            event, by=name, epoch=engine.epoch, iter=engine.iter, mode=engine.mode
        )

    return type(name, (Hook,), {event: method(event) for event in events})()


seed()
engine = Engine(
    Net(),
    loaders(),
    stages=[
        dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
        dict(epochs=1, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
    ],
    hooks=[
        *(hook(event, event) for event in GENERAL),
        hook('all_four', *GENERAL),
        hook('mixed', 'before_epoch', 'before_train_epoch', 'after_iter', 'after_val_iter'),
        hook('specific', 'before_val_epoch', 'after_train_iter'),
    ],
    work_dir='run',
    logger='generic',
)
watch(engine)
engine.launch()
finish('generic', engine)
