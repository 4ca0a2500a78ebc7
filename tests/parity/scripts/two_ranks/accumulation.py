"""Accumulation with a remainder, and the ways in which gradients travel."""

import torch
from _pair import Net, begin, configs, finish, main_folder, seed, watch
from nncore.engine import Engine
from nncore.nn import build_model


class Mixed(Net):
    """Parameters of two types, more than a megabyte if it is wide, and one without a gradient."""

    def __init__(self, width):
        super().__init__(norm=True)
        self.unused = torch.nn.Parameter(torch.ones(3))
        self.precise = torch.nn.Linear(6, 3).double()
        self.wide = torch.nn.Sequential(torch.nn.Linear(6, width), torch.nn.Linear(width, width))
        self.wider = torch.nn.Linear(width, 3)

    def pack(self, out, y, mode):
        return super().pack(out + self.extra, y, mode)

    def forward(self, data, mode='train', **kwargs):
        wide = self.wider(self.wide(data['x']))
        self.extra = 0.1 * wide + self.precise(data['x'].double()).float()
        return super().forward(data, mode, **kwargs)


CLIP = dict(max_norm=0.1, norm_type=2)
CASES = dict(
    two=dict(interval=2),
    three=dict(interval=3),
    clipped=dict(interval=3, clip=CLIP),
    wrapped=dict(interval=3, clip=CLIP),
    never_due=dict(interval=0),
    apart=dict(interval=2, coalesce=False, clip=CLIP),
    buckets=dict(bucket_size_mb=1),
    apart_mixed=dict(coalesce=False, interval=2),
    mixed=dict(interval=2, clip=CLIP),
)
begin()
for name, case in CASES.items():
    seed()
    large = 'mixed' in name or name == 'buckets'
    model = Mixed(520 if name == 'buckets' else 20) if large else Net(norm=True)
    if name == 'wrapped':
        model = build_model(model, dist=True)
    stage = dict(epochs=1, optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-3))
    if 'clip' in case:
        stage['grad_clip'] = case.pop('clip')
    second = dict(stage, optimizer=dict(type='AdamW', lr=0.01))
    engine = Engine(
        model,
        configs(train=22 if large else 38),
        stages=[stage] if large else [stage, second],
        hooks=[dict(type='OptimizerHook', **case)],
        work_dir=main_folder(name),
        logger=name,
    )
    watch(engine)
    engine.launch()
    finish(name, engine)
