"""Parameters frozen and set free before launch, between stages and in mid-epoch."""

import torch
from _pair import Net, begin, configs, finish, main_folder, note, seed, watch
from nncore.engine import Engine, Hook
from nncore.nn import build_model


class Freeze(Hook):
    """Trains the head in the first stage, all in the second, the first layer in the third."""

    def before_launch(self, engine):
        layers = getattr(engine.model, 'module', engine.model).layers
        for p in layers[0].parameters():
            p.requires_grad = False

    def after_stage(self, engine):
        for i, p in enumerate(engine.model.parameters()):
            p.requires_grad = engine.stage == 0 or i < 2

    def before_stage(self, engine):
        note('groups', sizes=[len(g['params']) for g in engine.optimizer.param_groups])

    def before_train_iter(self, engine):
        # One of the parameters the optimizer has rests for two iterations.
        last = list(engine.model.parameters())[-1]
        if engine.stage == 1:
            last.requires_grad = engine.iter_in_epoch != 1


class Half(Net):
    """Uses one of two heads, in turn."""

    def __init__(self):
        super().__init__(norm=True)
        self.heads = torch.nn.ModuleList([torch.nn.Linear(3, 3) for _ in range(3)])
        self.count = 0

    def pack(self, out, y, mode):
        self.count += 1
        return super().pack(self.heads[self.count % 2](out), y, mode)


STAGES = [
    dict(epochs=1, optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
    dict(epochs=2, optimizer=dict(type='Adam', lr=0.01), validation=dict(interval=1)),
    dict(epochs=1, optimizer=dict(type='RMSprop', lr=0.001), grad_clip=dict(max_norm=1.0)),
]
begin()
for name, make in dict(bare=Half, wrapped=lambda: build_model(Half(), dist=True)).items():
    seed()
    engine = Engine(
        make(),
        configs(),
        stages=STAGES,
        hooks=[Freeze(), dict(type='OptimizerHook', interval=2)],
        work_dir=main_folder(name),
        logger=name,
    )
    watch(engine)
    engine.launch()
    finish(name, engine)
