"""Models with sparse gradients, gradients in validation, double precision and other oddities."""

import torch
import torch.nn as nn
import torch.utils.checkpoint
from _lab import Net, Points, digest, finish, loaders, note, seed, watch
from nncore.engine import Engine


class Double(Net):
    """Computes in float64."""

    def __init__(self):
        super().__init__(norm=True)
        self.double()

    def forward(self, data, mode='train', **kwargs):
        return super().forward(dict(data, x=data['x'].double()), mode, **kwargs)


class Sparse(Net):
    """Has an embedding with sparse gradients."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 6, sparse=True)

    def forward(self, data, mode='train', **kwargs):
        rows = (data['x'][:, 0].abs() * 3).long().clamp(max=9)
        return super().forward(dict(data, x=data['x'] + self.table(rows)), mode, **kwargs)


class Penalty(Net):
    """Takes gradients with respect to its input, in validation too."""

    def forward(self, data, mode='train', **kwargs):
        with torch.enable_grad():
            x = data['x'].clone().requires_grad_()
            (slope,) = torch.autograd.grad(self.layers(x).pow(2).sum(), x, create_graph=True)
        note('slope', by=mode, digest=digest(slope), inference=slope.is_inference())
        output = super().forward(data, mode, **kwargs)
        return dict(output, penalty_loss=slope.pow(2).mean())


class Open(Net):
    """Returns `_out` in training as well, and an integer to be averaged."""

    def pack(self, out, y, mode):
        both = torch.cat((out, y[:, None]), dim=1).detach()
        return dict(super().pack(out, y, mode), _out=both, size=len(y), flag=True)


class Again(Net):
    """Recomputes its activations in the backward pass, dropout included."""

    def forward(self, data, mode='train', **kwargs):
        out = torch.utils.checkpoint.checkpoint(self.layers, data['x'], use_reentrant=False)
        return self.pack(out, data['y'], mode)


class Loose(Net):
    """Has parameters that take no part, shared ones, and buffers that count."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(3, 3)
        self.twin = self.layers[4]
        self.register_buffer('calls', torch.zeros((), dtype=torch.long))
        self.register_buffer('passing', torch.zeros(2), persistent=False)

    def pack(self, out, y, mode):
        self.calls += 1
        self.passing = self.passing + len(y)
        return super().pack(out, y, mode)


class Rows(Points):
    """Returns metrics of several kinds."""

    def evaluate(self, blob, logger=None, **kwargs):
        logger.info('judging %d batches', len(blob))
        scores = super().evaluate(blob, logger, **kwargs)
        return dict(accuracy=scores['accuracy'], count=3, tensor=torch.tensor(0.25), on=True)


for kind in (Double, Sparse, Penalty, Open, Again, Loose):
    name = kind.__name__.lower()
    seed()
    data = loaders()
    for split in ('val', 'test'):
        data[split].dataset.__class__ = Rows
    optimizer = dict(type='SGD', lr=1)
    stage = dict(epochs=2, optimizer=optimizer, validation=dict(interval=1))
    if kind is not Sparse:
        stage['grad_clip'] = dict(max_norm=0.5)
    engine = Engine(
        kind(),
        data,
        stages=[stage],
        hooks=[dict(type='OptimizerHook', interval=2)],
        work_dir=name,
        logger=name,
        debug=kind is Sparse,
    )
    watch(engine)
    engine.launch()
    finish(name, engine)
