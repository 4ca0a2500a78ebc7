"""launch() called again: after the end, after an interruption, and from the start."""

from _lab import Net, attempt, finish, loaders, note, seed, watch
from nncore.engine import ClosureHook, Engine

STAGES = [
    dict(epochs=2, optimizer=dict(type='SGD', lr=0.1, momentum=0.9), validation=dict(interval=1)),
    dict(
        epochs=3,
        optimizer=dict(type='Adam', lr=0.01),
        lr_schedule=dict(type='epoch', policy='cosine'),
    ),
]


class Once:
    """Raises at one moment, the first time only."""

    def __init__(self, epoch):
        self.epoch = epoch
        self.done = False

    def __call__(self, engine):
        if engine.epoch == self.epoch and not self.done:
            self.done = True
            raise KeyboardInterrupt


def build(name, event=None, epoch=None):
    seed()
    hooks = [ClosureHook(event, Once(epoch))] if event else []
    return watch(Engine(Net(), loaders(), stages=STAGES, hooks=hooks, work_dir=name, logger=name))


CASES = dict(
    finished=(),
    between_epochs=('before_train_epoch', 1),
    between_stages=('before_stage', 2),
    second_stage=('before_train_epoch', 3),
    after_save=('after_train_epoch', 3),
)
for name, where in CASES.items():
    engine = build(name, *where)
    first = attempt(engine.launch, round=1)
    note('between', stage=engine.stage, epoch=engine.epoch, kwargs=engine.kwargs)
    second = attempt(engine.launch, round=2)
    finish(name, engine)
