"""Mixed precision on the CPU, as a name and as a dict; validation stays in float32."""

import logging

import torch
from _lab import Net, attempt, finish, loaders, seed, watch
from nncore.engine import Engine

CASES = dict(
    bf16='bf16',
    bfloat16='bfloat16',
    fp16='fp16',
    settings=dict(dtype=torch.bfloat16, cache_enabled=False),
    off=dict(enabled=False, dtype=torch.bfloat16),
    named_none='none',
    false=False,
)
for name, amp in CASES.items():
    seed()
    engine = Engine(
        Net(norm=True, dropout=0.1),
        loaders(),
        stages=dict(
            epochs=2,
            optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
            grad_clip=dict(max_norm=1.0),
            validation=dict(interval=1),
        ),
        hooks=[dict(type='OptimizerHook', interval=2, grad_scale=False if name == 'off' else None)],
        work_dir=name,
        logger=name,
        amp=amp,
    )
    watch(engine)
    engine.launch()
    finish(name, engine)
error = attempt(Engine, Net(), loaders(), logger=logging.getLogger('wrong'), amp='fp8')
finish('wrong')
