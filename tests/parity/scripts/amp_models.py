"""Models that mixed precision is delicate in, and overflow that nothing catches."""

import torch
import torch.nn.functional as F
from _lab import Net, finish, loaders, note, seed, watch
from nncore.engine import Engine
from torch import nn


class Shared(Net):
    """Uses one layer twice, so that autocast's cache of converted weights matters."""

    def __init__(self):
        super().__init__()
        self.twice = nn.Linear(6, 6)

    def forward(self, data, mode, **kwargs):
        x = self.twice(torch.relu(self.twice(data['x'])))
        return super().forward(dict(data, x=x.float()), mode, **kwargs)


class Local(Net):
    """Has a block in float32, within the engine's autocast."""

    def __init__(self):
        super().__init__()
        self.exact = nn.Linear(6, 6)

    def forward(self, data, mode, **kwargs):
        x = self.exact(data['x'])
        with torch.autocast('cpu', enabled=False):
            x = self.exact(x.float())
            note('block', by=mode, dtype=str(x.dtype))
        return super().forward(dict(data, x=x), mode, **kwargs)


class Tied(nn.Module):
    """Encodes and decodes with the same weights; has two losses, without a sum of them."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.up.weight = self.down.weight

    def forward(self, data, mode, **kwargs):
        out = self.up(self.down(data['x']))
        note('forward', by=mode, dtype=str(out.dtype), out=[out.float().sum().item()])
        loss = F.mse_loss(out, data['x'].to(out.dtype))
        result = dict(_avg_factor=len(out), first_loss=loss, second_loss=out.abs().mean())
        return result if mode == 'train' else dict(result, _out=torch.cat((out.float(),) * 2, 1))


class Overflowing(Net):
    """Its third batch is beyond float16: the loss is Inf, and so are gradients."""

    def forward(self, data, mode, **kwargs):
        self.batches = getattr(self, 'batches', 0) + (mode == 'train')
        factor = 1e6 if self.batches == 3 else 1.0
        return super().forward(dict(data, x=data['x'] * factor), mode, **kwargs)


SGD, ADAM = dict(type='SGD', lr=0.1, momentum=0.9), dict(type='Adam', lr=0.01)
STAGES = [
    dict(epochs=2, optimizer=SGD, grad_clip=dict(max_norm=0.1, norm_type=1)),
    dict(
        epochs=1,
        optimizer=ADAM,
        grad_clip=dict(max_norm=0.05, norm_type='inf'),
        validation=dict(interval=1),
    ),
    dict(epochs=2, optimizer=SGD, validation=dict(interval=1)),
]
BF16, FP16 = torch.bfloat16, torch.float16
CASES = dict(
    shared_bf16=(Shared, 'bf16', 1, False),
    shared_fp16=(Shared, 'fp16', 2, False),
    shared_uncached=(Shared, dict(dtype=FP16, cache_enabled=False), 3, False),
    shared_off=(Shared, dict(enabled=False, dtype=BF16, cache_enabled=False), 1, False),
    local_bf16=(Local, 'bfloat16', 1, True),
    local_fp16=(Local, 'float16', 0, False),
    tied_bf16=(Tied, dict(dtype=BF16), 2, False),
    tied_fp16=(Tied, dict(dtype=FP16, enabled=True), 1, True),
    overflow_fp16=(Overflowing, 'fp16', 1, True),
    overflow_bf16=(Overflowing, 'bf16', 2, True),
)
for name, (model, amp, interval, debug) in CASES.items():
    seed()
    engine = Engine(
        model(),
        loaders(),
        stages=STAGES,
        hooks=[dict(type='OptimizerHook', interval=interval)],
        work_dir=name,
        logger=name,
        amp=amp,
        debug=debug,
    )
    watch(engine)
    engine.launch()
    finish(name, engine)
