"""Errors out of hooks and out of data while worker processes are at work."""

from _lab import Net, Points, attempt, finish, note, seed, watch
from nncore.engine import Engine, Hook
from torch.utils.data import DataLoader


class Bomb(Hook):
    """Raises at the second time that an event happens."""

    def __init__(self, event):
        super().__init__()
        self._left = 2
        setattr(self, event, self._count)

    def _count(self, engine):
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt('stop')


class Rotten(Points):
    """Raises at one of its items."""

    fault = None

    def __getitem__(self, index):
        if index == self.fault:
            raise ValueError(f'item {index}')
        return super().__getitem__(index)


def run(name, event=None, fault=None, **options):
    seed()
    data = {
        split: DataLoader(Rotten(size, name=split), batch_size=4, num_workers=2, **options)
        for split, size in (('train', 18), ('val', 12))
    }
    data['train'].dataset.fault = fault
    stage = dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1))
    hooks = [Bomb(event)] if event else []
    engine = Engine(Net(), data, stages=stage, hooks=hooks, work_dir=name, logger=name)
    watch(engine)
    error = attempt(engine.launch)
    note('left', kind=repr(error).split('Caught')[0], named='item 13' in str(error))
    finish(name, engine)


run('train', 'before_train_iter')
run('val', 'before_val_iter')
run('item', fault=13)
run('persistent_train', 'before_train_iter', persistent_workers=True)
run('persistent_val', 'before_val_iter', persistent_workers=True)
