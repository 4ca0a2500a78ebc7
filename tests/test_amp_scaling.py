"""Mixed precision with the gradient scaler of a GPU, against nncore 0.4.7.

On the CPU both are told that there is a GPU, so that they scale there as they would on one.
"""

import json
import os

import pytest
import torch
from oracle import both, needs_nncore

SCRIPT = """
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.use_deterministic_algorithms(True)
if DEVICE == 'cpu':
    torch.cuda.is_available = lambda: True
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False


class Points(Dataset):
    def __init__(self, size):
        generator = torch.Generator().manual_seed(size)
        self.x = torch.randn(size, 8, generator=generator)
        self.y = (self.x.sum(1) > 0).long()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Linear(8, 8)
        self.exact = nn.Linear(8, 8)
        self.last = nn.Linear(8, 2)
        self.batches = 0
        self.seen = []

    def forward(self, data, mode, **kwargs):
        x, y = (part.to(self.last.weight.device) for part in data)
        x = self.shared(torch.relu(self.shared(x)))
        with torch.autocast(DEVICE, enabled=False):
            x = self.exact(x.float())
        out = self.last(x)
        loss = nn.functional.cross_entropy(out, y)
        self.batches += mode == 'train'
        if mode == 'train' and self.batches in (3, 10):
            loss = loss * float('inf')
        self.seen.append((mode, str(out.dtype), repr(loss.item())))
        return dict(loss=loss, _avg_factor=len(y))


class Recorder(E.Hook):
    def __init__(self):
        super().__init__()
        self.values = []

    def after_train_iter(self, engine):
        kept = [(engine.buffer.get(key) or [None])[-1] for key in ('scale', 'grad_norm')]
        scaler = engine.hooks['OptimizerHook'].scaler
        self.values.append((*map(repr, kept), scaler.is_enabled(), scaler.get_scale()))


def stage(optimizer, **kwargs):
    return dict(epochs=1, optimizer=optimizer, validation=dict(interval=1), **kwargs)


SGD = dict(type='SGD', lr=0.1, momentum=0.9)
FUSED = dict(type='AdamW', lr=0.01, fused=True)
CLIP = dict(grad_clip=dict(max_norm=0.1))
STAGES = [stage(SGD, **CLIP), stage(FUSED, **CLIP), stage(FUSED), stage(SGD)]
# No powers of two: those leave no trace, wherever gradients are unscaled.
ODD = dict(init_scale=1e9, growth_factor=1.7, backoff_factor=0.3, growth_interval=2)
CASES = dict(
    fp16=('fp16', {}),
    bf16=('bf16', {}),
    accumulated=('fp16', dict(interval=3)),
    any=(True if DEVICE == 'cuda' else 'fp16', {}),
    uncached=(dict(dtype=torch.float16, cache_enabled=False), {}),
    unscaled=('bf16', dict(grad_scale=False)),
    scaled=(None, dict(grad_scale=True)),
    settings=('fp16', dict(grad_scale=ODD)),
    off=(None, {}),
)
result = {}
for name, (amp, options) in CASES.items():
    recorder, hooks = Recorder(), [dict(type='OptimizerHook', **options)]
    loaders = dict(train=DataLoader(Points(30), 5), val=DataLoader(Points(10), 5))
    engine = E.Engine(
        Net().to(DEVICE), loaders, STAGES, hooks, amp=amp, logger=name
    )
    engine.register_hook(recorder, before='CheckpointHook')
    engine.launch()
    weights = {key: value.cpu() for key, value in engine.model.state_dict().items()}
    result[name] = dict(
        weights={key: value.numpy().tobytes() for key, value in weights.items()},
        seen=engine.model.seen,
        values=recorder.values,
        kind=engine.get_amp_type(),
    )
"""


@needs_nncore
@pytest.mark.parametrize(
    'device',
    [
        'cpu',
        pytest.param(
            'cuda',
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device'),
            ],
        ),
    ],
)
def test_bits_are_nncores(device):
    environment = {
        'NNCORE_COMPAT_QUIRKS': 'all',
        'NNCORE_COMPAT_TRAINER': json.dumps({'accelerator': device}),
        'CUBLAS_WORKSPACE_CONFIG': ':4096:8',
        # One device: nncore takes the first, and so does Lightning.
        'CUDA_VISIBLE_DEVICES': os.environ.get('CUDA_VISIBLE_DEVICES', '0').split(',')[0],
    }
    real, ours = both(f'DEVICE = {device!r}\n{SCRIPT}', **environment)
    for name, reference in real.items():
        for key, value in reference.items():
            assert ours[name][key] == value, (name, key)
    # What it is about has happened: scaling, a step that was skipped, float32 in validation.
    assert {row[2] for row in real['bf16']['values']} == {True}
    assert {row[2] for row in real['unscaled']['values']} == {False}
    assert real['fp16']['values'][2][3] == real['fp16']['values'][1][3] / 2
    assert ('val', 'torch.float32') in {row[:2] for row in real['fp16']['seen']}
    assert ('train', 'torch.float16') in {row[:2] for row in real['fp16']['seen']}
