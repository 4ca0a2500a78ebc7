"""Datasets whose set_state changes what they yield, and how many; one object behind all loaders."""

import torch
from _lab import Net, Points, finish, note, seed, watch
from nncore.engine import Engine
from torch.utils.data import DataLoader


class Moody(Points):
    """Shifts its points by state."""

    state = 'new'

    def __getitem__(self, index):
        item = super().__getitem__(index)
        return dict(item, x=item['x'] + dict(new=9, train=0, val=1, test=2)[self.state])


class Elastic(Moody):
    """Has another length in every state."""

    def __len__(self):
        return dict(new=20, train=13, val=6, test=9)[self.state]


CASES = dict(
    moody=(Moody, 0, {}),
    moody_workers=(Moody, 2, {}),
    moody_persistent=(Moody, 2, dict(persistent_workers=True)),
    elastic=(Elastic, 0, {}),
    elastic_workers=(Elastic, 2, {}),
)
for name, (kind, workers, options) in CASES.items():
    seed()
    shared = kind(20)
    data = {
        split: DataLoader(
            shared, batch_size=4, shuffle=split == 'train', num_workers=workers, **options
        )
        for split in ('train', 'val', 'test')
    }
    stage = dict(
        epochs=3,
        optimizer=dict(type='SGD', lr=0.1),
        lr_schedule=dict(type='iter', policy='poly'),
        validation=dict(interval=1),
    )
    engine = Engine(
        Net(dropout=0.2),
        data,
        stages=[stage, dict(stage, epochs=2)],
        hooks=[dict(type='OptimizerHook', interval=3), dict(type='EvalHook', run_test=True)],
        work_dir=name,
        logger=name,
    )
    note('totals', totals=[engine.max_iters, engine.max_epochs])
    watch(engine)
    engine.launch()
    note('generator', state=torch.initial_seed())
    finish(name, engine)
