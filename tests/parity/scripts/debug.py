"""debug=True: NaN and Inf in losses and in gradients are reported, and nothing else changes."""

import torch
from _lab import Net, finish, loaders, seed, watch
from nncore.engine import Engine


class Sick(Net):
    """Goes wrong in some of its calls."""

    calls = 0

    def pack(self, out, y, mode):
        result = super().pack(out, y, mode)
        self.calls += mode == 'train'
        if mode == 'train' and self.calls == 2:
            result['side'] = torch.tensor(float('nan'))
        if mode == 'train' and self.calls == 3:
            result['loss'] = result['loss'] / 0
        if mode == 'train' and self.calls == 5:
            result['loss'] = result['loss'] * float('nan')
        return result


seed()
engine = Engine(
    Sick(),
    loaders(),
    stages=dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
    hooks=[dict(type='EventWriterHook', interval=3)],
    work_dir='run',
    logger='debug',
    debug=True,
)
engine.unregister_hook('EvalHook')
watch(engine)
engine.launch()
finish('debug', engine)
