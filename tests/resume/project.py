"""A run in which everything has a state: all that a resumed run could get wrong."""

from __future__ import annotations

import itertools
import logging
import random

import numpy as np
import torch
from lightning.pytorch import callbacks
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from nncore_compat import Engine, Hook, set_random_seed
from nncore_compat.comm import get_dist_info
from resume.cases import BATCHES, EPOCHS, Config

BATCH_SIZE = 4
# Lightning has this callback since 2.6.
AVERAGES = hasattr(callbacks, 'EMAWeightAveraging')
_numbers = itertools.count()


class Points(Dataset):
    """Points of the plane with noise from all three generators."""

    def __init__(self, size: int) -> None:
        generator = torch.Generator().manual_seed(size)
        self.x = torch.randn(size, 6, generator=generator)
        self.y = (self.x.sum(1) > 0).long()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index):
        noise = 0.1 * torch.rand(6) + 0.1 * random.random() + 0.1 * float(np.random.rand())
        return {'x': self.x[index] + noise, 'y': self.y[index]}

    def evaluate(self, outputs, **kwargs):
        """How wrong the outputs are: best in the first epoch, when higher is better."""
        return {'error': torch.cat(outputs).mean().item()}


class Net(nn.Module):
    """A classifier with dropout and batch normalisation."""

    def __init__(self, ballast: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2)
        )
        # Makes the checkpoint large, so that it takes a while to write.
        if ballast:
            self.register_buffer('ballast', torch.rand(ballast))

    def forward(self, data, mode, **kwargs):
        out = self.layers(data['x'])
        loss = functional.cross_entropy(out.float(), data['y'])
        wrong = out.float().softmax(1).gather(1, 1 - data['y'][:, None])
        return {
            'loss': loss,
            'aux': loss.detach() ** 2,
            '_seen': data['x'].double().sum().item(),
            '_avg_factor': len(data['y']),
            '_out': wrong,
        }


class Counter(Hook):
    """Has a state, on which training depends."""

    def __init__(self) -> None:
        super().__init__()
        self.samples = 0
        self.mean = torch.zeros(())

    def after_train_iter(self, engine):
        self.samples += engine.buffer.latest('_avg_factor')
        self.mean = 0.9 * self.mean + 0.1 * engine.losses['loss'].detach()
        with torch.no_grad():
            unwrap(engine.model).layers[4].bias.add_(1e-3 * self.mean * (self.samples % 11))

    def state_dict(self):
        return {'samples': self.samples, 'mean': self.mean}

    def load_state_dict(self, state):
        self.samples, self.mean = state['samples'], state['mean']


class Noise(Hook):
    """Draws random numbers in training and after it, and has training depend on them."""

    def before_train_iter(self, engine):
        self._shake(engine)

    def after_train_epoch(self, engine):
        self._shake(engine)

    def after_val_epoch(self, engine):
        random.random()

    def _shake(self, engine):
        noise = torch.randn(8, 6) * random.random() * float(np.random.rand())
        with torch.no_grad():
            unwrap(engine.model).layers[0].weight.add_(1e-3 * noise)


class Trace(Hook):
    """Keeps what each iteration and each validation came to."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict] = []

    def after_train_iter(self, engine):
        group = engine.optimizer.param_groups[0]
        row = {'mode': 'train', 'epoch': engine.epoch + 1, 'iter': engine.iter_in_epoch + 1}
        row.update(lr=group['lr'], optimizer=type(engine.optimizer).__name__)
        for key in ('loss', '_seen', 'grad_norm', 'scale'):
            values = engine.buffer.get(key)
            row[key] = float(values[-1]) if values else None
        row['weight'] = unwrap(engine.model).layers[0].weight.double().sum().item()
        self.rows.append(row)

    def after_val_epoch(self, engine):
        row = {'mode': 'val', 'epoch': engine.epoch, 'stage': engine.stage}
        for key in ('loss', 'error', 'best_error', '_seen'):
            values = engine.buffer.get(key)
            row[key] = float(values[-1]) if values else None
        self.rows.append(row)


class Saver(callbacks.Checkpoint):
    """Saves when the validation is over, and when the epoch is; without a folder it does not."""

    def __init__(self, folder=None) -> None:
        self.folder = folder

    def on_validation_end(self, trainer, pl_module):
        self._save(trainer, 'validated')

    def on_train_epoch_end(self, trainer, pl_module):
        self._save(trainer, 'over')

    def _save(self, trainer, name):
        if self.folder is not None:
            trainer.save_checkpoint(f'{self.folder}/{name}_{trainer.current_epoch + 1}.pth')


def unwrap(model):
    return getattr(model, 'module', model)


def scale_on_the_cpu() -> None:
    """Let gradient scalers, which are those of a GPU, do their work without one."""
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False


def loaders(workers: str, batches: int = BATCHES) -> dict[str, DataLoader]:
    """The loaders of this process, with a ragged last batch."""
    options: dict = {'batch_size': BATCH_SIZE}
    if workers != 'none':
        options.update(num_workers=2, persistent_workers=workers == 'persistent')
        options['multiprocessing_context'] = 'fork'
    _, world = get_dist_info()
    built = {}
    for split, count in (('train', batches), ('val', 2)):
        dataset = Points((count * BATCH_SIZE - 1) * world)
        order: dict = {'shuffle': split == 'train'}
        if world > 1:
            order = {'sampler': DistributedSampler(dataset, shuffle=split == 'train')}
        built[split] = DataLoader(dataset, **order, **options)
    return built


def stages(optimizer: str, epochs: tuple[int, ...] = EPOCHS) -> list[dict]:
    """Two stages; the first one has SGD."""
    common = {'validation': {'interval': 1}, 'grad_clip': {'max_norm': 0.5}}
    sgd = {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9}
    second = {'sgd': {**sgd, 'lr': 0.05}, 'adam': {'type': 'Adam', 'lr': 0.01}}[optimizer]
    return [
        {
            'epochs': epochs[0],
            'optimizer': sgd,
            'lr_schedule': {'type': 'iter', 'policy': 'cosine'},
            'warmup': {'type': 'iter', 'policy': 'linear', 'steps': 5, 'ratio': 0.1},
            **common,
        },
        {
            'epochs': epochs[1],
            'optimizer': second,
            'lr_schedule': {'type': 'iter', 'policy': 'poly', 'power': 2},
            'warmup': {'type': 'iter', 'policy': 'exp', 'steps': 4, 'ratio': 0.1},
            **common,
        },
    ]


def hooks(config: Config, **checkpoints) -> list:
    """Hooks and callbacks, each with a state of its own."""
    scale = {'init_scale': 2.0**20, 'growth_interval': 2}
    return [
        Counter(),
        Noise(),
        {
            'type': 'OptimizerHook',
            'interval': config.interval,
            'grad_scale': scale if config.precision == 'fp16' else None,
        },
        {'type': 'CheckpointHook', **checkpoints},
        {'type': 'EvalHook', 'high_keys': ['error']},
        {'type': 'EventWriterHook', 'interval': 2, 'writers': ['JSONWriter']},
        *([callbacks.EMAWeightAveraging(decay=0.9)] if AVERAGES else []),
        callbacks.EarlyStopping('val_loss', mode='max', patience=100),
        Saver(),
    ]


def build(config: Config, folder, seed: int, **checkpoints) -> Engine:
    """An engine whose weights and random numbers are those of the seed."""
    if config.precision == 'fp16':
        scale_on_the_cpu()
    set_random_seed(seed + get_dist_info()[0])
    engine = Engine(
        Net(),
        loaders(config.workers),
        stages=stages(config.optimizer),
        hooks=hooks(config, **checkpoints),
        work_dir=str(folder),
        logger=f'resume{next(_numbers)}',
        amp=None if config.precision == 'fp32' else config.precision,
    )
    # What the writer has written is gone from the buffer.
    engine.register_hook(Trace(), before='EventWriterHook')
    return engine


def close(engine: Engine) -> None:
    """Close the log file: a matrix has hundreds of them."""
    for handler in [*engine.logger.handlers]:
        handler.close()
        engine.logger.removeHandler(handler)
    logging.Logger.manager.loggerDict.pop(engine.logger.name, None)
