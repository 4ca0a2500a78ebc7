"""Models, datasets, optimizers and loaders built from configs and from nncore's registries."""

import random

import nncore
import numpy as np
import torch
from _lab import Net, Points, finish, note, seed, watch
from nncore.dataset import DATASETS
from nncore.engine import HOOKS, Engine, Hook, build_dataloader, build_hook
from nncore.nn import LOSSES, MODELS, build_loss
from nncore.optim import OPTIMIZERS


@LOSSES.register()
class Margin(torch.nn.Module):
    """A loss that is found by name."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, out, y):
        return torch.nn.functional.multi_margin_loss(out, y) * self.weight


@MODELS.register()
class Classifier(Net):
    """A model with a loss from a config."""

    def __init__(self, loss=None, **kwargs):
        super().__init__(**kwargs)
        self.loss = build_loss(loss or dict(type='Margin', weight=1.0))

    def pack(self, out, y, mode):
        return dict(super().pack(out, y, mode), loss=self.loss(out, y))


@DATASETS.register()
class Noisy(Points):
    """Points with noise from the generators that a worker seeds."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        return dict(item, x=item['x'] + random.random() + float(np.random.rand()))


@OPTIMIZERS.register()
class Plain(torch.optim.Optimizer):
    """Gradient descent of the user's own; its step takes no closure."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, dict(lr=lr))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group['params']:
                if p.grad is not None:
                    self.state[p]['steps'] = self.state[p].get('steps', 0) + 1
                    p.sub_(p.grad, alpha=group['lr'])


@HOOKS.register()
class Greeter(Hook):
    """Says when it begins."""

    def before_launch(self, engine):
        engine.logger.info('Hello')


def split(name, size, **loader):
    return dict(type='Noisy', size=size, name=name, loader=dict(batch_size=4, **loader))


data = dict(
    train=split('train', 18, shuffle=True),
    val=split('val', 7),
    test=split('test', 6, num_workers=2),
)
stages = [
    dict(epochs=1, optimizer=dict(type='Plain', lr=0.05), validation=dict(interval=1)),
    dict(epochs=2, optimizer=dict(type='Lamb', lr=0.01), validation=dict(interval=1)),
    dict(epochs=1, optimizer=dict(type='SGD', lr=0.01)),
]
settings = nncore.CfgNode(
    model=dict(type='Classifier', hidden=5, dropout=0.2, loss=dict(type='Margin', weight=2.0)),
    data=data,
    stages=stages,
    hooks=['Greeter', dict(type='EvalHook', run_test=True)],
)
CASES = dict(
    dicts=dict(
        model=dict(type='Classifier', hidden=5),
        data_loaders=data,
        stages=stages,
        hooks=['Greeter'],
        seed=11,
    ),
    config=dict(
        model=settings.model,
        data_loaders=settings.data,
        stages=settings.stages,
        hooks=settings.hooks,
        seed=None,
    ),
    workers=dict(
        model='Classifier',
        data_loaders=dict(
            train=split('train', 18, shuffle=True, num_workers=2), val=split('val', 5)
        ),
        stages=stages[:2],
        seed=5,
    ),
    repeated=dict(
        model=dict(type='Classifier'),
        data_loaders=dict(
            train=dict(
                type='RepeatDataset',
                dataset=dict(type='Points', size=5),
                times=3,
                loader=dict(batch_size=4, shuffle=True),
            ),
            val=split('val', 5),
        ),
        stages=stages[1:],
        hidden=3,
    ),
)
DATASETS.register(Points)
for name, options in CASES.items():
    seed()
    engine = Engine(work_dir=name, logger=name, **options)
    note(
        'built', model=repr(engine.model), data={k: len(v) for k, v in engine.data_loaders.items()}
    )
    watch(engine)
    engine.launch()
    finish(name, engine)

loader = build_dataloader(split('extra', 6, drop_last=True), seed=3)
note('loader', size=len(loader), batches=[len(b['y']) for b in loader])
note('hook', text=repr(build_hook('Greeter')), other=repr(build_hook(dict(type='TimerHook'))))
note('untouched', data=data, stages=stages)
finish('built')
