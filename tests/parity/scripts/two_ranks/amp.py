"""Mixed precision of two processes: gradients of float32 weights, and of weights in bfloat16."""

import torch
from _pair import Net, begin, configs, finish, main_folder, seed, watch
from nncore.engine import Engine
from nncore.nn import build_model

CASES = dict(
    bare=(lambda: Net(norm=True, dropout=0.1), 'bf16', dict(interval=2)),
    wrapped=(lambda: build_model(Net(norm=True), dist=True), 'bf16', dict()),
    half=(lambda: Net(), 'fp16', dict(coalesce=False)),
    settings=(lambda: Net(), dict(dtype=torch.bfloat16, cache_enabled=False), dict(interval=3)),
)
begin()
for name, (make, amp, options) in CASES.items():
    seed()
    engine = Engine(
        make(),
        configs(),
        stages=dict(
            epochs=2,
            optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
            grad_clip=dict(max_norm=1.0),
            validation=dict(interval=1),
        ),
        hooks=[dict(type='OptimizerHook', **options)],
        work_dir=main_folder(name),
        logger=name,
        amp=amp,
    )
    watch(engine)
    engine.launch()
    finish(name, engine)
