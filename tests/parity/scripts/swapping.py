"""Hooks that put another loader, optimizer or model in place while a run goes on."""

import copy

import torch
from _lab import Net, Points, finish, loaders, note, seed, watch
from nncore.engine import Engine, Hook
from torch.utils.data import DataLoader


class SwapLoader(Hook):
    """Larger batches, more data with every epoch, other validation data in the second stage."""

    def before_train_epoch(self, engine):
        note('loader', size=len(engine.data_loader))

    def after_train_epoch(self, engine):
        data = Points(27 + engine.epoch, seed=engine.epoch, name=f'train{engine.epoch}')
        engine.data_loaders['train'] = DataLoader(data, batch_size=5, shuffle=True)

    def after_stage(self, engine):
        engine.data_loaders['val'] = DataLoader(Points(6, name='other'), batch_size=2)


class SwapOptimizer(Hook):
    """Two groups with rates of their own instead of the one that was configured."""

    def before_stage(self, engine):
        layers = engine.model.layers
        groups = [
            dict(params=layers[0].parameters(), lr=0.05, name='body'),
            dict(params=layers[4].parameters(), lr=0.5, name='head'),
        ]
        engine.optimizer = torch.optim.SGD(groups, momentum=0.9)


class Average(Hook):
    """Validates with averaged weights and trains with the plain ones."""

    def before_launch(self, engine):
        self.average = copy.deepcopy(engine.model)

    def after_train_iter(self, engine):
        with torch.no_grad():
            for a, p in zip(self.average.parameters(), engine.model.parameters(), strict=True):
                a.lerp_(p, 0.1)

    def before_val_epoch(self, engine):
        self.kept, engine.model = engine.model, self.average
        engine.model.eval()

    def after_val_epoch(self, engine):
        engine.model = self.kept


class Wrap(Hook):
    """Puts the model into another module at launch."""

    def before_launch(self, engine):
        inner = engine.model

        class Outer(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = inner

            def forward(self, data, **kwargs):
                note('outer', mode=kwargs['mode'])
                return self.inner(data, **kwargs)

        engine.model = Outer()


CASES = dict(loader=SwapLoader, optimizer=SwapOptimizer, average=Average, wrap=Wrap)
for name, hook in CASES.items():
    seed()
    stage = dict(
        epochs=2,
        optimizer=dict(type='SGD', lr=0.1),
        lr_schedule=dict(type='iter', policy='inv', gamma=0.1),
        validation=dict(interval=1),
    )
    engine = Engine(
        Net(norm=True),
        loaders(),
        stages=[stage, dict(stage, optimizer=dict(type='Adam', lr=0.01))],
        work_dir=name,
        logger=name,
    )
    engine.register_hook(hook(), before='LrUpdaterHook' if name == 'optimizer' else None)
    watch(engine)
    engine.launch()
    finish(name, engine)
