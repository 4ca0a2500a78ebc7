"""Every learning rate policy by epoch and by iter, each with every warm-up by epoch and by iter."""

from _lab import Net, finish, loaders, note, seed
from nncore.engine import Engine, Hook

POLICIES = [
    dict(policy='step', step=[1, 3], gamma=0.5),
    dict(policy='step', step=2),
    dict(policy='cosine'),
    dict(policy='cosine', target_lr=0.03),
    dict(policy='exp', gamma=0.8),
    dict(policy='poly'),
    dict(policy='poly', power=0.9, min_lr=0.01),
    dict(policy='inv', gamma=0.3),
    dict(policy='inv', gamma=0.1, power=2),
]
WARMUPS = [
    dict(type='epoch', policy='linear', steps=2, ratio=0.1),
    dict(type='epoch', policy='exp', steps=1, ratio=0.2),
    dict(type='epoch', policy='constant', steps=3, ratio=0.3),
    dict(type='iter', policy='linear', steps=5, ratio=0.1),
    dict(type='iter', policy='exp', steps=3, ratio=0.01),
    dict(type='iter', policy='constant', steps=20, ratio=0.3),
    None,
]


class Rates(Hook):
    """Records the rates in force while an iteration runs."""

    def _rates(self, engine):
        groups = engine.optimizer.param_groups
        note('lr', epoch=engine.epoch, iter=engine.iter, lr=[g['lr'] for g in groups])

    before_train_epoch = before_train_iter = after_train_iter = after_train_epoch = _rates


def stage(schedule, warmup):
    return dict(
        epochs=4,
        optimizer=dict(type='SGD', lr=0.1),
        **(dict(lr_schedule=schedule) if schedule else {}),
        **(dict(warmup=warmup) if warmup else {}),
    )


schedules = [dict(p, type=kind) for p in POLICIES for kind in ('epoch', 'iter')]
for index, schedule in enumerate([None, *schedules]):
    seed()
    stages = [stage(schedule, warmup) for warmup in WARMUPS]
    engine = Engine(
        Net(hidden=4),
        loaders(batch=2, train=5),
        stages=stages,
        hooks=[Rates()],
        work_dir=f'run/{index}',
        logger=f'lr{index}',
    )
    engine.unregister_hook(['CheckpointHook', 'EventWriterHook'])
    engine.launch()
    kind = f'{schedule["policy"]}_{schedule["type"]}' if schedule else 'none'
    finish(f'{index}_{kind}', engine)
