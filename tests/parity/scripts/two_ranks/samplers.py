"""The order of samples and the seeds of workers, by configs and by samplers of the script."""

import random

import numpy as np
import torch
from _pair import (
    DATASETS,
    Net,
    Points,
    begin,
    configs,
    finish,
    loaders,
    main_folder,
    note,
    seed,
    watch,
)
from nncore.engine import Engine, Hook, build_dataloader
from torch.utils.data import DataLoader, DistributedSampler


@DATASETS.register()
class Shaken(Points):
    """Adds noise from every generator, in whatever process it is loaded."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        noise = torch.rand(6) + float(np.random.rand()) + random.random()
        item['x'] = item['x'] + 0.1 * noise
        return item


class Slice(list):
    """A sampler of the script's own: every second index, one more on the main process."""


class Reshuffle(Hook):
    """Sets the epoch itself, as SamplerSeedHook is meant to."""

    def before_train_epoch(self, engine):
        engine.data_loader.sampler.set_epoch(engine.epoch + 10)


def shared(rank):
    """One sampler for training, made by the script, and validation on the whole set."""
    data = Points(25, name='train')
    sampler = DistributedSampler(data, shuffle=True, seed=5, drop_last=True)
    whole = DataLoader(Points(7, name='val'), batch_size=3)
    return dict(train=DataLoader(data, batch_size=4, sampler=sampler), val=whole)


def sliced(rank):
    """Uneven lengths with the same number of batches."""
    data = loaders(train=21, val=11, test=5)
    return {
        split: DataLoader(
            loader.dataset, batch_size=4, sampler=Slice(range(rank, len(loader.dataset), 2))
        )
        for split, loader in data.items()
    }


def plain(rank):
    """Loaders without a sampler of either rank: each process sees everything."""
    return loaders()


def built(rank):
    """Loaders that the script builds, distributed or not."""
    cfg = configs()
    data = {split: build_dataloader(cfg[split], seed=9) for split in ('train', 'test')}
    data['val'] = build_dataloader(cfg['val'], dist=False)
    return data


def single(rank):
    """One split in the place of all, with what a DistributedSampler is told."""
    return dict(train=configs(drop_last=True, train=21)['train'])


CASES = dict(
    unseeded=(lambda rank: configs(type='Shaken'), None),
    seeded=(lambda rank: configs(type='Shaken'), 11),
    workers=(lambda rank: configs(type='Shaken', num_workers=2), 11),
    shared=(shared, None),
    sliced=(sliced, None),
    plain=(plain, None),
    built=(built, None),
    single=(single, 2),
    # The last one: workers that wait for another epoch are best ended with the process.
    lasting=(lambda rank: configs(type='Shaken', num_workers=2, persistent_workers=True), 4),
)
rank = begin()
for name, (make, number) in CASES.items():
    seed()
    hooks = [Reshuffle()] if name in ('seeded', 'shared') else []
    if name in ('sliced', 'plain', 'built'):
        hooks = ['SamplerSeedHook'] if name == 'built' else []
    engine = Engine(
        Net(dropout=0.1),
        make(rank),
        stages=dict(
            epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1, offset=1)
        ),
        hooks=hooks,
        work_dir=main_folder(name),
        logger=name,
        seed=number,
    )
    if name in ('sliced', 'plain'):
        # Set by the engine in a group; their samplers know no epochs.
        engine.unregister_hook('SamplerSeedHook')
    note('samplers', types={k: type(v.sampler).__name__ for k, v in engine.data_loaders.items()})
    watch(engine)
    engine.launch()
    finish(name, engine)
