"""Loaders that end sooner or later than their length says."""

from _lab import Net, Points, finish, note, seed, watch
from nncore.engine import Engine
from torch.utils.data import DataLoader, IterableDataset


class Stream(IterableDataset):
    """Promises a length and keeps to another."""

    def __init__(self, name, promised, kept):
        self.points = Points(20, name=name)
        self.promised = promised
        self.kept = kept

    def set_state(self, state):
        note('set_state', by=self.points.name, state=state)

    def __len__(self):
        return self.promised

    def __iter__(self):
        return (self.points[i] for i in range(self.kept))


CASES = dict(
    train_short=((12, 8), (4, 4)),
    train_long=((8, 12), (4, 4)),
    val_short=((8, 8), (8, 4)),
    val_long=((8, 8), (4, 8)),
    train_empty=((8, 0), (4, 4)),
    val_empty=((8, 8), (4, 0)),
)
for name, sizes in CASES.items():
    seed()
    data = {
        split: DataLoader(Stream(split, *size), batch_size=4)
        for split, size in zip(('train', 'val'), sizes, strict=True)
    }
    stage = dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1))
    engine = Engine(
        Net(),
        data,
        stages=[stage, dict(stage, epochs=1)],
        hooks=[dict(type='OptimizerHook', interval=2)],
        work_dir=name,
        logger=name,
    )
    engine.unregister_hook(['EvalHook', 'EventWriterHook'])
    watch(engine)
    engine.launch()
    finish(name, engine)
