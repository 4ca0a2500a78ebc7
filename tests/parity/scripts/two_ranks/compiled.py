"""Compiled models over two processes, bare and wrapped, and a model in another memory format."""

import torch
import torch.nn as nn
from _pair import begin, configs, digest, finish, main_folder, note, seed, watch
from _traceable import Compilable, begin_counting, note_graphs, whole
from nncore.engine import Engine, Hook
from nncore.nn import build_model


class Images(Compilable):
    """Has a convolution whose weights lie in memory with the channels last."""

    def __init__(self):
        super().__init__(dims=8, norm=True)
        self.conv = nn.Conv2d(2, 8, 2)
        self.to(memory_format=torch.channels_last)

    def forward(self, data, mode='train', **kwargs):
        images = data['x'].reshape(-1, 2, 1, 3).expand(-1, -1, 2, -1)
        images = images.contiguous(memory_format=torch.channels_last)
        x = self.conv(images).mean((2, 3))
        return super().forward(dict(data, x=x), mode, **kwargs)


class Layout(Hook):
    """Records how weights and gradients lie in memory when the optimizer steps."""

    def before_stage(self, engine):
        def record(optimizer, *_):
            for param in optimizer.param_groups[0]['params']:
                grad = param.grad
                note('layout', param=param.stride(), grad=grad.stride(), value=digest(grad))

        engine.optimizer.register_step_pre_hook(record)


CASES = dict(
    bare=lambda: whole(net()),
    wrapped=lambda: build_model(whole(net()), dist=True),
    around=lambda: whole(build_model(net(), dist=True)),
    images=Images,
    compiled_images=lambda: whole(Images()),
)


def net():
    return Compilable(norm=True, dropout=0.2)


begin()
for name, make in CASES.items():
    seed()
    begin_counting()
    engine = Engine(
        make(),
        configs(train=24, val=8),
        stages=dict(
            epochs=1,
            optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
            validation=dict(interval=1),
        ),
        hooks=[dict(type='OptimizerHook', interval=2), Layout()],
        work_dir=main_folder(name),
        logger=name,
    )
    watch(engine)
    engine.launch()
    note_graphs()
    finish(name, engine)
