"""Batches of DataContainers: unwrapped for a model that came wrapped, handed on to a bare one."""

import torch
from _lab import Net, Points, finish, note, seed, watch
from nncore.engine import Engine
from nncore.nn import build_model
from nncore.parallel import DataContainer, collate
from torch.utils.data import DataLoader


class Boxed(Points):
    """Every field in a container: stacked, padded, listed, kept on the CPU."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        return dict(
            x=DataContainer(item['x']),
            y=DataContainer(item['y'], pad_dims=None),
            ragged=DataContainer(torch.ones(index % 3 + 1), pad_value=-1, pad_dims=1),
            listed=DataContainer(torch.full((index % 2 + 1,), 2.0), stack=False),
            meta=DataContainer(dict(index=index), cpu_only=True),
            plain=float(index),
        )


class Scattered(Net):
    """Expects what the wrapper makes of the containers."""

    def forward(self, data, mode='train', **kwargs):
        note(
            'scattered',
            types={k: type(v).__name__ for k, v in data.items()},
            ragged=data['ragged'].tolist(),
            listed=[v.tolist() for v in data['listed']],
            meta=data['meta'],
            plain=data['plain'].tolist(),
            kwargs=sorted(kwargs),
        )
        return super().forward(data, mode, **kwargs)


class Opener(Net):
    """Gets the containers themselves."""

    def forward(self, data, mode='train', **kwargs):
        note('containers', types={k: type(v).__name__ for k, v in data.items()})
        opened = dict(x=data['x'].data[0], y=data['y'].data[0])
        return super().forward(opened, mode, **kwargs)


def data():
    return {
        split: DataLoader(
            Boxed(size, name=split), batch_size=4, shuffle=split == 'train', collate_fn=collate
        )
        for split, size in (('train', 14), ('val', 6), ('test', 5))
    }


stages = [
    dict(
        epochs=1,
        optimizer=dict(type='SGD', lr=0.1),
        grad_clip=dict(max_norm=1.0),
        validation=dict(interval=1),
    ),
    dict(epochs=1, optimizer=dict(type='Adam', lr=0.01), validation=dict(interval=1)),
]
CASES = dict(
    wrapped=lambda: build_model(Scattered(norm=True), dist=False),
    bare=lambda: build_model(Opener(norm=True)),
)
for name, make in CASES.items():
    seed()
    hooks = [dict(type='EvalHook', run_test=True), 'PreciseBNHook']
    engine = Engine(make(), data(), stages=stages, hooks=hooks, work_dir=name, logger=name)
    note('model', type=type(engine.model).__name__)
    watch(engine)
    engine.launch(scale=2)
    note('parameters', names=[n for n, _ in engine.model.named_parameters()])
    finish(name, engine)

seed()
engine = Engine(
    build_model(Scattered(), dist=False), data(), stages=stages, work_dir='again', logger='again'
)
engine.load_checkpoint('wrapped/epoch_1.pth')
note('evaluated', result=engine.launch(eval=True))
finish('again', engine)
