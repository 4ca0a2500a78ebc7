"""Runs of two processes that are saved and gone on with, and what they come to.

Called by `test_checkpoints.py` with a folder in which a run of one process has been saved.
"""

import errno
import os
import pathlib
import shutil
import sys

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint import FileSystemWriter
from torch.utils.data import DataLoader, Dataset

from nncore_compat import Engine, Hook, _sharded, comm, get_checkpoint, set_random_seed

torch.set_num_threads(1)
BATCH, SAMPLES, INTERVAL = 4, 48, 4
# Iterations of an epoch in one process.
LENGTH = SAMPLES // BATCH
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


class Tally(Hook):
    """Counts, in its state, the iterations of this process."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def after_train_iter(self, engine):
        self.count += 1

    def state_dict(self):
        return {'count': self.count}

    def load_state_dict(self, state_dict):
        self.count = state_dict['count']


class Record(Hook):
    """Keeps what the first iteration begins with, and how many there are."""

    def __init__(self):
        super().__init__()
        self.iterations = 0
        self.first = {}

    def before_train_iter(self, engine):
        self.iterations += 1
        if not self.first:
            self.first = {
                'weights': whole(engine.model.state_dict()),
                'optimizer': whole(engine.optimizer.state_dict()['state']),
                'random': torch.get_rng_state(),
                'tally': engine.hooks['Tally'].count,
            }


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
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
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
            Tally(),
            *hooks,
        ],
        work_dir=str(folder),
        logger=str(folder),
        trainer=trainer,
    )


def go_on(path, folder, resume=None, exact=True, **options):
    """Resume and run to the end; return the engine and what was recorded."""
    record = Record()
    engine = make(folder, seed=5 + comm.get_rank(), hooks=[record], **options)
    if not exact:
        # Which the script itself has to see to then.
        engine.model.blocks[0].requires_grad_(False)
    if resume is None:
        engine.resume(path, exact=exact)
    engine.launch(resume=resume)
    return engine, record.first, record.iterations


def by_hand(before, after, epoch, done):
    """Train in plain PyTorch as one or two processes would, then as another number of them.

    Args:
        before: How many processes.
        after: How many they are from some batch on.
        epoch: The epoch of that batch, from 0.
        done: How many iterations of the epoch are done by then.
    """
    torch.manual_seed(0)
    model, data, world, running = Net(noisy=False), Points(), before, 0
    for cfg in stages():
        options = {k: v for k, v in cfg['optimizer'].items() if k != 'type'}
        model.blocks[0].requires_grad_(running == 0)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = getattr(torch.optim, cfg['optimizer']['type'])(trained, **options)
        for _ in range(cfg['epochs']):
            index = window = 0
            while index < LENGTH // world:
                if world == before and (running, index) == (epoch, done):
                    world = after
                    index = index * before // after
                    continue
                for rank in range(world):
                    share = list(range(rank, SAMPLES, world))[index * BATCH : (index + 1) * BATCH]
                    loss = nn.functional.cross_entropy(model.logits(data.x[share]), data.y[share])
                    (loss / world).backward()
                index, window = index + 1, window + 1
                if index % INTERVAL == 0 or index == LENGTH // world:
                    for param in trained:
                        param.grad /= window
                    if 'grad_clip' in cfg:
                        nn.utils.clip_grad_norm_(trained, **cfg['grad_clip'])
                    optimizer.step()
                    optimizer.zero_grad()
                    window = 0
            running += 1
    return model.state_dict()


def far(weights, expected):
    """The largest difference."""
    return max(float((weights[key] - expected[key]).abs().max()) for key in expected)


def common(checkpoint):
    """What two checkpoints of the same moment have in common."""
    left = dict(checkpoint)
    left['meta'] = {k: v for k, v in checkpoint['meta'].items() if k != 'create_time'}
    section = dict(checkpoint['nncore_compat'])
    section['ranks'] = [dict(rank) for rank in section['ranks']]
    for rank in section['ranks']:
        rank['hooks'] = {k: v for k, v in rank['hooks'].items() if k == 'OptimizerHook'}
        rank['buffer'] = {k: v for k, v in rank['buffer'].items() if not k.endswith('_time')}
    return {**left, 'nncore_compat': section}


# Which moments are gone on from; the last two have Lightning's own class.
STRATEGIES = {
    'fsdp2_sharded': MOMENTS,
    'fsdp2': MOMENTS,
    'ddp': MOMENTS[:3],
    'auto': MOMENTS[2:3],
    'whole': MOMENTS[2:],
    'parts': MOMENTS[2:3],
}


def trainer_of(name):
    """Arguments of the Trainer."""
    if name in ('whole', 'parts'):
        strategy = ModelParallelStrategy(
            data_parallel_size=2,
            tensor_parallel_size=1,
            save_distributed_checkpoint=name == 'parts',
        )
        return {'strategy': strategy}
    return {} if name == 'auto' else {'strategy': name}


def exact(name):
    """Go on from each moment as if nothing had been."""
    # Where the script is, as the names of these folders are relative to it.
    trained = make(name, save={'every_n_iters': 1}, **trainer_of(name))
    trained.launch()
    # Saved less often, which is not to matter.
    few = {'keep_last': 2, 'create_symlink': True, 'background': name.startswith('fsdp2')}
    if comm.is_main_process():
        # Of a run before, saved in the other way.
        older = pathlib.Path(f'{name}_few/epoch_2.pth')
        older.parent.mkdir()
        if is_folder(name):
            older.touch()
        else:
            shutil.copytree(FOLDER, older)
    make(f'./{name}_few', save=few, **trainer_of(name)).launch()
    comm.sync()
    final = get_checkpoint(f'{name}/epoch_3.pth')
    found = {
        'strategy': type(trained.trainer.strategy).__name__,
        'few': same(common(get_checkpoint(f'{name}_few/latest.pth')), common(final)),
        'left': sorted(file for file in os.listdir(f'{name}_few') if '.pth' in file),
        'files': os.path.isfile(f'{name}_few/epoch_2.pth'),
        'folder': sorted(os.listdir(f'{name}/epoch_3.pth')) if is_folder(name) else None,
        'keys': sorted(final),
        'exact': {},
        'first': {},
    }
    for moment in STRATEGIES[name]:
        path = f'{name}/{moment}.pth'
        _, first, _ = go_on(path, f'{name}_{moment}', **trainer_of(name))
        comm.sync()
        end = get_checkpoint(f'{name}_{moment}/epoch_3.pth')
        found['exact'][moment] = same(common(end), common(final))
        found['first'][moment] = begins(first, get_checkpoint(path), moment)
    return found, trained


def is_folder(name):
    return os.path.isdir(f'{name}/epoch_3.pth')


# Of the first case.
FOLDER = 'fsdp2_sharded/epoch_2.pth'


def begins(first, file, moment):
    """Whether the first iteration has had what a checkpoint holds, but for statistics."""
    weights = {key: first['weights'][key] for key in first['weights'] if 'running' not in key}
    # An epoch's end is a stage's end here, after which there is a new optimizer.
    states = {} if moment.startswith('epoch') else file['optimizer']['state']
    return same(weights, {key: file['state_dict'][key] for key in weights}) and same(
        first['optimizer'], states
    )


def parts(trained):
    """What a process reads of a folder for a model of which it has a part."""
    like = dict(trained.model.named_parameters())
    folder = 'fsdp2_sharded/iter_11.pth'
    read, complete = _sharded.read(folder, like=like), get_checkpoint(folder)
    states = read['optimizer']['state'].values()
    tensors = [*read['state_dict'].values(), *(s['exp_avg'] for s in states)]
    return {
        'same': all(same(whole(read[key]), complete[key]) for key in ('state_dict', 'optimizer')),
        'local': sum(t.to_local().numel() for t in tensors if hasattr(t, 'to_local')),
    }


def inexact():
    """As nncore resumes, from a folder."""
    path = 'fsdp2_sharded/epoch_2.pth'
    _, first, iterations = go_on(path, 'inexact', exact=False, strategy='fsdp2_sharded')
    return {'iterations': iterations, 'first': begins(first, get_checkpoint(path), 'iter')}


def auto():
    """The newest folder is damaged, so that the one before is taken."""
    if comm.is_main_process():
        for moment in ('iter_8', 'epoch_3'):
            shutil.copytree(f'fsdp2_sharded/{moment}.pth', f'chosen/{moment}.pth')
        os.utime('chosen/iter_8.pth', (0, 0))
        os.truncate('chosen/epoch_3.pth/__1_0.distcp', 100)
    comm.sync()
    _, _, iterations = go_on(None, 'chosen', resume='auto', strategy='fsdp2_sharded')
    comm.sync()
    ends = [get_checkpoint(f'{folder}/epoch_3.pth') for folder in ('chosen', 'fsdp2_sharded')]
    return {'iterations': iterations, 'same': same(*map(common, ends))}


class Full(Hook):
    """In the second epoch, the other process finds its disk full."""

    def before_train_epoch(self, engine):
        def write(*args, **kwargs):
            raise OSError(errno.ENOSPC, 'No space left on device')

        if comm.get_rank() == 1 and engine.epoch == 1:
            self.kept = FileSystemWriter.write_data
            FileSystemWriter.write_data = write

    def after_train_epoch(self, engine):
        if comm.get_rank() == 1 and engine.epoch == 1:
            FileSystemWriter.write_data = self.kept


def full_disk():
    """A folder that cannot be written leaves nothing behind, and is an error on all processes."""
    found = {}
    for on_error in ('warn', 'raise'):
        save = {'on_error': on_error}
        engine = make(on_error, save=save, hooks=[Full()], strategy='fsdp2_sharded')
        try:
            engine.launch()
            found[on_error] = None
        except OSError as error:
            found[on_error] = str(error)
        FileSystemWriter.write_data = WRITE
        comm.sync()
        found[f'{on_error} left'] = sorted(f for f in os.listdir(on_error) if 'epoch' in f)
    return found


WRITE = FileSystemWriter.write_data


def from_one(name):
    """Go on with what one process has saved."""
    found = {}
    for moment, (epoch, done) in ONE.items():
        path = f'one/{moment}.pth'
        engine, first, iterations = go_on(
            path, f'one_{name}_{moment}', noisy=False, **trainer_of(name)
        )
        found[moment] = {
            'iterations': iterations,
            'iter': engine.iter,
            'far': far(whole(engine.model.state_dict()), by_hand(1, 2, epoch, done)),
            'first': begins(first, get_checkpoint(path), moment),
            'tally': first['tally'],
            'random': first['random'],
            'log': pathlib.Path(engine._log_file).read_text() if comm.is_main_process() else '',
        }
    # For one process to go on with.
    make(f'two_{name}', noisy=False, save={'every_n_iters': 1}, **trainer_of(name)).launch()
    return found


# Moments of one process: 12 iterations in an epoch; and of two.
ONE = {'iter_6': (0, 6), 'epoch_1': (1, 0), 'iter_18': (1, 6)}
TWO = {'iter_3': (0, 3), 'epoch_1': (1, 0), 'iter_9': (1, 3)}


def main():
    os.chdir(sys.argv[1])
    results = {'exact': {}, 'one': {}}
    for name in STRATEGIES:
        results['exact'][name], trained = exact(name)
        if name == 'fsdp2_sharded':
            results['parts'] = parts(trained)
    results['inexact'] = inexact()
    results['auto'] = auto()
    results['full'] = full_disk()
    for name in ('auto', 'ddp', 'fsdp2', 'fsdp2_sharded'):
        results['one'][name] = from_one(name)
    torch.save(results, f'{comm.get_rank()}.pt')


if __name__ == '__main__':
    main()
