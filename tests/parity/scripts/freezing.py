"""Hooks that freeze parameters before launch and set them free between stages."""

from _lab import Net, finish, loaders, note, seed, watch
from nncore.engine import Engine, Hook


class Freeze(Hook):
    """Trains the head alone in the first stage, all in the second, the first layer in the third."""

    def before_launch(self, engine):
        note('optimizer', exists=getattr(engine, 'optimizer', None) is not None)
        for p in engine.model.layers[0].parameters():
            p.requires_grad = False

    def after_stage(self, engine):
        for i, p in enumerate(engine.model.parameters()):
            p.requires_grad = engine.stage == 0 or i < 2

    def before_stage(self, engine):
        note('groups', sizes=[len(g['params']) for g in engine.optimizer.param_groups])


seed()
engine = Engine(
    Net(norm=True),
    loaders(),
    stages=[
        dict(epochs=1, optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        dict(epochs=2, optimizer=dict(type='Adam', lr=0.01), validation=dict(interval=1)),
        dict(epochs=1, optimizer=dict(type='RMSprop', lr=0.001)),
    ],
    hooks=[Freeze()],
    work_dir='run',
    logger='freezing',
)
watch(engine)
engine.launch()
finish('freezing', engine)
