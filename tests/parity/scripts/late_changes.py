"""Hooks that change, while a run begins, what is to come: stages, loaders, where to resume."""

from _lab import Net, Points, finish, loaders, seed, watch
from nncore.engine import Engine, Hook
from torch.utils.data import DataLoader

SGD = dict(type='SGD', lr=0.1, momentum=0.9)


class Shorten(Hook):
    """Fewer epochs for the stage that begins, and for the one after it."""

    def before_stage(self, engine):
        engine.cur_stage['epochs'] = 2
        if engine.stage == 0:
            engine.stages[1]['epochs'] = 3


class Swap(Hook):
    """Other loaders, for one epoch each."""

    def before_train_epoch(self, engine):
        engine.data_loader = DataLoader(Points(9, name='train'), batch_size=2)

    def before_val_epoch(self, engine):
        engine.data_loader = DataLoader(Points(7, name='val'), batch_size=2)


class Resume(Hook):
    """Goes on where an earlier run was."""

    def before_launch(self, engine):
        engine.resume('whole/epoch_2.pth')


def run(name, stages, *hooks):
    seed()
    engine = Engine(Net(), loaders(), stages=stages, hooks=list(hooks), work_dir=name, logger=name)
    watch(engine)
    engine.launch()
    finish(name, engine)


def stage(epochs):
    return dict(epochs=epochs, optimizer=SGD, validation=dict(interval=1))


run('shorten', [stage(4), stage(4)], Shorten())
run('swap', stage(2), Swap())
run('whole', stage(4))
run('resume', stage(4), Resume())
