"""Toy data, toy models and a recorder of everything that a run does, shared by the scripts."""

import hashlib
import json
import logging
import os
import random
import re
from itertools import accumulate

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from nncore.engine import Hook, get_rank, set_random_seed
from nncore.engine.hooks.base import HOOK_NAMES
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)

JOURNAL = []


def note(what, **fields):
    """Append a record to the journal of this process."""
    JOURNAL.append(dict(what=what, **fields))


def digest(value):
    """A short digest of any nested value, down to the bits of its tensors and floats."""
    sha = hashlib.sha1()

    def feed(v):
        if isinstance(v, torch.Tensor):
            v = v.to_dense() if v.is_sparse else v
            sha.update(f'{v.dtype}{tuple(v.shape)}'.encode())
            flat = v.detach().reshape(-1).contiguous()
            sha.update(flat.view(torch.uint8).numpy().tobytes())
        elif isinstance(v, np.ndarray):
            sha.update(f'{v.dtype}{v.shape}'.encode() + v.tobytes())
        elif isinstance(v, dict):
            for key, item in v.items():
                sha.update(repr(key).encode())
                feed(item)
        elif isinstance(v, (list, tuple)):
            sha.update(f'{len(v)}'.encode())
            for item in v:
                feed(item)
        else:
            sha.update(repr(v).encode())

    feed(value)
    return sha.hexdigest()[:12]


def random_states():
    """Digests of the three random generators."""
    kind, keys, *rest = np.random.get_state()
    return dict(
        python=digest(random.getstate()),
        numpy=digest([kind, keys, rest]),
        torch=digest(torch.get_rng_state()),
    )


def gradients(model):
    """A digest of the gradients, and which parameters have none."""
    grads = {n: p.grad for n, p in model.named_parameters()}
    return digest(grads), [n for n, g in grads.items() if g is None]


def values_of(buffer):
    """Count of values per buffer key, with a digest unless they are times."""
    return {k: [len(v), None if k.endswith('_time') else digest(v)] for k, v in buffer.items()}


def snapshot(engine):
    """All that a hook can see of a run."""
    model, optimizer = engine.model, getattr(engine, 'optimizer', None)
    groups = [] if optimizer is None else optimizer.param_groups
    loader, losses = getattr(engine, 'data_loader', None), getattr(engine, 'losses', None)
    return dict(
        stage=engine.stage,
        epoch=engine.epoch,
        iter=engine.iter,
        start_iter=engine.start_iter,
        epoch_in_stage=engine.epoch_in_stage,
        iter_in_stage=engine.iter_in_stage,
        iter_in_epoch=engine.iter_in_epoch,
        totals=[engine.max_stages, engine.max_epochs, engine.max_iters],
        mode=getattr(engine, 'mode', None),
        training=[m.training for m in model.modules()],
        lr=[g['lr'] for g in groups],
        base_lr=[g.get('base_lr') for g in groups],
        optimizer=optimizer and type(optimizer).__name__,
        optimizer_state=None if optimizer is None else digest(optimizer.state_dict()['state']),
        weights=digest(dict(model.named_parameters())),
        trainable=[p.requires_grad for p in model.parameters()],
        buffers=digest(dict(model.named_buffers())),
        gradients=gradients(model),
        losses=None if losses is None else {k: digest(v) for k, v in losses.items()},
        random=random_states(),
        values=values_of(engine.buffer),
        loader=None if loader is None else [type(loader).__name__, len(loader)],
        state=getattr(getattr(loader, 'dataset', None), 'state', None),
        torch=[
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled('cpu'),
        ],
    )


class Trace(Hook):
    """Records every event, with all that can be seen of the engine at that moment."""


def _record(event):
    def method(self, engine):
        note(event, by=self.name, **snapshot(engine))

    return method


for _event in HOOK_NAMES:
    setattr(Trace, _event, _record(_event))


def watch(engine):
    """Put a recorder before the first hook and one behind the last."""
    engine.register_hook(Trace('head'), before=next(iter(engine.hooks)))
    engine.register_hook(Trace('tail'))
    note('hooks', names=list(engine.hooks))
    return engine


def finish(name, engine=None):
    """Write the journal to NAME.trace.json, the end of the run too, and begin a new journal.

    The second of two processes writes to NAME.1.trace.json.
    """
    name = f'{name}.{get_rank()}' if get_rank() else name
    if engine is not None:
        note('end', **snapshot(engine))
        torch.save(getattr(engine.model, 'module', engine.model).state_dict(), f'{name}.pt')
    with open(f'{name}.trace.json', 'w') as f:
        json.dump(JOURNAL, f, default=repr)
    JOURNAL.clear()


def attempt(func, *args, **kwargs):
    """Call a function; an error is recorded by type (its words are free) and returned."""
    try:
        result = func(*args, **kwargs)
    except BaseException as error:
        note('raised', type=type(error).__name__)
        return error
    note('returned', value=result)
    return result


class Points(Dataset):
    """Labelled points in the plane; knows its state and how to evaluate predictions."""

    def __init__(self, size=22, seed=1, name='data', dims=6, classes=3):
        gen = torch.Generator().manual_seed(seed)
        self.x = torch.randn(size, dims, generator=gen)
        self.y = torch.randint(classes, (size,), generator=gen)
        self.name = name

    def set_state(self, state):
        note('set_state', by=self.name, state=state)
        self.state = state

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        note('item', by=self.name, index=index)
        return dict(x=self.x[index], y=self.y[index])

    def evaluate(self, blob, logger=None, **kwargs):
        """Accuracy of the collected outputs."""
        note('evaluate', by=self.name, size=len(blob), blob=digest(blob), kwargs=kwargs)
        rows = torch.cat([b.reshape(-1, b.shape[-1]) for b in blob])
        hits = (rows[:, :-1].argmax(1) == rows[:, -1].long()).float()
        return dict(accuracy=hits.mean().item() * 100, misses=float(len(hits) - hits.sum()))


class Net(nn.Module):
    """A small classifier that journals how it is called."""

    def __init__(self, dims=6, classes=3, hidden=8, dropout=0.0, norm=False):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dims, hidden),
            nn.BatchNorm1d(hidden) if norm else nn.Identity(),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, data, mode='train', **kwargs):
        x, y = data['x'], data['y']
        out = self.layers(x)
        note(
            'forward',
            by=mode,
            training=self.training,
            kwargs=kwargs,
            grad=torch.is_grad_enabled(),
            inference=torch.is_inference_mode_enabled(),
            autocast=[torch.is_autocast_enabled('cpu'), str(torch.get_autocast_dtype('cpu'))],
            dtype=str(out.dtype),
            input=digest([x, y]),
            output=digest(out),
        )
        return self.pack(out, y, mode)

    def pack(self, out, y, mode):
        """The dict that the engine gets."""
        result = dict(_avg_factor=len(y), loss=F.cross_entropy(out, y))
        if mode != 'train':
            result['_out'] = torch.cat((out.float(), y[:, None]), dim=1)
        return result


def seed(value=3):
    """Seed everything."""
    return set_random_seed(value)


def loaders(batch=4, shuffle=True, train=22, val=10, test=9, **kwargs):
    """Train, validation and test loaders with a ragged last batch."""
    sizes = dict(train=train, val=val, test=test)
    return {
        name: DataLoader(
            Points(size, seed=i, name=name),
            batch_size=batch,
            shuffle=shuffle and name == 'train',
            **kwargs,
        )
        for i, (name, size) in enumerate(sizes.items())
    }


def tree(folder='.'):
    """The names of all files below a folder, without clocks and process ids."""
    files = (os.path.join(d, f) for d, _, files in os.walk(folder) for f in files)
    return sorted(re.sub(r'\d{14}|(?<=tfevents).*', '<time>', f) for f in files)


def resume(engine, path):
    """Resume and, where nncore picked a wrong stage or gave up for that, put that right.

    With several stages nncore adds no stage lengths up. What it would have done is done here by
    hand, so that it can be the measure; an engine that resumes the right stage is left alone.
    """
    level = engine.logger.level
    # The line about the stage is right in single-stage runs only, which have a script of their own.
    engine.logger.setLevel(logging.ERROR)
    try:
        engine.resume(path)
    except (IndexError, KeyError, ValueError):
        failed = True
    else:
        failed = False
    engine.logger.setLevel(level)
    checkpoint = torch.load(path)
    ends = list(accumulate(stage['epochs'] for stage in engine.stages))
    stage = sum(end <= checkpoint['meta']['epoch'] for end in ends)
    wrong = failed or engine.stage != stage
    if wrong:
        engine._stage = stage
    if stage < len(ends):
        cfg = dict(engine.cur_stage['optimizer'])
        kind = getattr(torch.optim, cfg.pop('type'))
        params = [p for p in engine.model.parameters() if p.requires_grad]
        between = engine.epoch_in_stage == 0
        if wrong or (between and engine.optimizer.param_groups[0]['lr'] != cfg['lr']):
            engine.optimizer = kind(params, **cfg)
            if not between:
                engine.optimizer.load_state_dict(checkpoint['optimizer'])
    note('resumed', stage=engine.stage, epoch=engine.epoch, iter=engine.iter)
