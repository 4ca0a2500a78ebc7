"""Runs of two processes that are saved and gone on with, and what they come to.

Called by `test_checkpoints.py` with a folder in which a run of one process has been saved.
"""

import os
import sys

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.utils.data import DataLoader, Dataset

from nncore_compat import Engine, Hook, comm, set_random_seed

torch.set_num_threads(1)
BATCH, SAMPLES, INTERVAL = 4, 48, 4
# In two processes, an epoch has six iterations, and a window of gradients is four or two of them.
# In the first window; at the end of the stage; in the first window of the next optimizer, which has
# some of the parameters; between a step and the next one.
MOMENTS = ('iter_3', 'epoch_1', 'iter_8', 'iter_11')


class Points(Dataset):
    """Labelled points that tell which they are."""

    def __init__(self):
        generator = torch.Generator().manual_seed(3)
        self.x = torch.randn(SAMPLES, 6, generator=generator)
        self.y = torch.randint(3, (SAMPLES,), generator=generator)

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        return {'x': self.x[index], 'y': self.y[index], 'index': index}


class Net(nn.Module):
    """Blocks in a ModuleList; noisy ones have dropout, and statistics of their own."""

    def __init__(self, noisy):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(6, 6) for _ in range(2)])
        self.norm = nn.BatchNorm1d(6) if noisy else nn.Identity()
        self.drop = nn.Dropout(0.3 if noisy else 0)
        # Processes have different parts of it.
        self.head = nn.Linear(6, 3)

    def logits(self, x):
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return self.head(self.drop(self.norm(x)))

    def forward(self, data, mode='train', **kwargs):
        logits = self.logits(data['x'])
        loss = nn.functional.cross_entropy(logits, data['y'])
        return {'loss': loss, '_avg_factor': len(logits)}


class Freeze(Hook):
    """Freezes a block when the second stage begins, before its optimizer is made."""

    def after_stage(self, engine):
        if engine.stage == 0:
            engine.model.blocks[0].requires_grad_(False)


class Record(Hook):
    """Keeps what the first iteration begins with, and the samples of all."""

    def __init__(self):
        super().__init__()
        self.rows = []
        self.first = None
        self.forward = None

    def before_train_iter(self, engine):
        if self.first is None:
            optimizer = engine.optimizer.state_dict()
            self.first = {
                'weights': whole(engine.model.state_dict()),
                'optimizer': whole(optimizer),
                'random': torch.get_rng_state(),
                'grads': whole({n: p.grad for n, p in engine.model.named_parameters()}),
                'local': sum(map(held, tensors(optimizer['state']))),
            }

    def after_train_iter(self, engine):
        self.rows.append((engine.epoch, engine.iter, engine.losses['loss'].item()))


def held(tensor):
    """How many numbers of a tensor this process has."""
    return (tensor.to_local() if hasattr(tensor, 'to_local') else tensor).numel()


def tensors(tree):
    """The tensors in nested dicts and lists."""
    if torch.is_tensor(tree):
        return [tree]
    items = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [tensor for item in items for tensor in tensors(item)]


def whole(tree):
    """Nested dicts and lists, with tensors whole on every process."""
    if hasattr(tree, 'full_tensor'):
        return tree.full_tensor()
    if isinstance(tree, dict):
        return {key: whole(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [whole(value) for value in tree]
    return tree.clone() if torch.is_tensor(tree) else tree


def same(one, other):
    """Whether nested data are equal bit by bit, with keys of numbers and text taken for one."""
    if torch.is_tensor(one):
        return torch.is_tensor(other) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def stages():
    return [
        {'epochs': 1, 'optimizer': {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9}},
        {
            'epochs': 2,
            'optimizer': {'type': 'Adam', 'lr': 0.01},
            'grad_clip': {'max_norm': 0.5},
        },
    ]


def make(folder, noisy=True, seed=0, save=None, hooks=(), **trainer):
    """An engine; noisy ones shuffle."""
    set_random_seed(seed)
    return Engine(
        Net(noisy),
        DataLoader(Points(), BATCH, shuffle=noisy),
        stages=stages(),
        hooks=[
            {'type': 'OptimizerHook', 'interval': INTERVAL},
            {'type': 'CheckpointHook', **(save or {})},
            Freeze(),
            *hooks,
        ],
        work_dir=str(folder),
        logger=str(folder),
        trainer=trainer,
    )


def go_on(path, folder, **options):
    """Resume and run to the end; return the engine and what was recorded."""
    record = Record()
    engine = make(folder, seed=5 + comm.get_rank(), hooks=[record], **options)
    engine.resume(path)
    engine.launch()
    return engine, record


def load(path):
    from nncore_compat.utils import get_checkpoint

    return get_checkpoint(path)


def own(checkpoint):
    """What two checkpoints of the same moment have in common."""
    left = dict(checkpoint)
    left['meta'] = {k: v for k, v in checkpoint['meta'].items() if k != 'create_time'}
    section = dict(checkpoint['nncore_compat'])
    section['ranks'] = [dict(rank) for rank in section['ranks']]
    for rank in section['ranks']:
        rank['hooks'] = {k: v for k, v in rank['hooks'].items() if k == 'OptimizerHook'}
        rank['buffer'] = {k: v for k, v in rank['buffer'].items() if not k.endswith('_time')}
    return {**left, 'nncore_compat': section}


STRATEGIES = {
    'auto': ({}, MOMENTS[2:3]),
    'ddp': ({'strategy': 'ddp'}, MOMENTS),
    'fsdp2': ({'strategy': 'fsdp2'}, MOMENTS),
    'fsdp2_sharded': ({'strategy': 'fsdp2_sharded'}, MOMENTS),
    'whole': ({}, MOMENTS[1:3]),
    'parts': ({'save_distributed_checkpoint': True}, MOMENTS[2:3]),
}


def trainer_of(name):
    """New arguments of the Trainer; the last two have Lightning's own class."""
    options = STRATEGIES[name][0]
    if name in ('whole', 'parts'):
        options = {'save_distributed_checkpoint': False, **options}
        strategy = ModelParallelStrategy(
            data_parallel_size=2, tensor_parallel_size=1, **options
        )
        return {'strategy': strategy}
    return options


def exact(out, found):
    """With each strategy, go on from each moment as if nothing had been."""
    for name, (_, moments) in STRATEGIES.items():
        place = os.path.join(out, name)
        save = {'every_n_iters': 1, 'create_symlink': True}
        engine = make(place, save=save, **trainer_of(name))
        engine.launch()
        # Saved less often, which is not to matter.
        make(f'{place}_quiet', save={'interval': 3}, **trainer_of(name)).launch()
        comm.sync()
        final = load(os.path.join(place, 'epoch_3.pth'))
        quiet = load(os.path.join(f'{place}_quiet', 'epoch_3.pth'))
        result = found[name] = {
            'strategy': type(engine.trainer.strategy).__name__,
            'quiet': same(own(quiet), own(final)),
            'exact': {},
            'first': {},
            'local': {},
        }
        for moment in moments:
            path = os.path.join(place, f'{moment}.pth')
            other, record = go_on(path, f'{place}_{moment}', **trainer_of(name))
            comm.sync()
            end = load(os.path.join(other.work_dir, 'epoch_3.pth'))
            result['exact'][moment] = same(own(end), own(final))
            file = load(path)
            result['first'][moment] = moment.startswith('epoch') or (
                # Statistics of batch normalisation are each process's own.
                same(parameters(record.first['weights']), parameters(file['state_dict']))
                and same(record.first['optimizer']['state'], file['optimizer']['state'])
            )
            result['local'][moment] = record.first['local']


def parameters(weights):
    return {key: value for key, value in weights.items() if not key.startswith('norm.')}


def main():
    out = sys.argv[1]
    found = {}
    exact(out, found)
    torch.save(found, os.path.join(out, f'{comm.get_rank()}.pt'))


if __name__ == '__main__':
    main()
