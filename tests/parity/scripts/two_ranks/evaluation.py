"""Outputs gathered from both ranks: padded, uneven, of every kind, in training and alone."""

import torch
from _pair import (
    DATASETS,
    Net,
    Points,
    attempt,
    begin,
    configs,
    digest,
    finish,
    loaders,
    main_folder,
    note,
    seed,
    watch,
)
from nncore.engine import Engine
from nncore.nn import build_model
from torch.utils.data import DataLoader


@DATASETS.register()
class Loose(Points):
    """Takes outputs of any kind, and says what it got."""

    def evaluate(self, blob, logger=None, **kwargs):
        note('evaluate', by=self.name, size=len(blob), blob=digest(blob), kwargs=kwargs)
        logger.info('Evaluating %d outputs', len(blob))
        return dict(count=len(blob), accuracy=0.5 + len(blob) % 3)


class Samples(Net):
    """Puts out one dict per sample, in a list."""

    def pack(self, out, y, mode):
        result = super().pack(out, y, mode)
        if mode != 'train':
            result['_out'] = [dict(score=row, label=int(i)) for row, i in zip(out, y, strict=True)]
        return result


def uneven(rank):
    """The main process has two batches more of validation, and fewer of test."""
    data = loaders(val=14, test=11)
    parts = dict(val=(10, 4), test=(3, 8))
    for split, sizes in parts.items():
        start = rank * sizes[0]
        part = range(start, start + sizes[rank])
        data[split] = DataLoader(data[split].dataset, batch_size=4, sampler=part)
    return data


def stage(**validation):
    return dict(
        epochs=2, optimizer=dict(type='SGD', lr=0.5), validation=dict(interval=1, **validation)
    )


BEST = dict(high_keys=['accuracy', 'absent'], low_keys=['misses'])
CASES = dict(
    padded=(Net, lambda rank: configs(val=9, batch_size=1), dict(), dict()),
    uneven=(Net, uneven, BEST, dict()),
    uneven_test=(Net, uneven, dict(run_test=True, interval=2, **BEST), dict()),
    samples=(Samples, lambda rank: configs(type='Loose'), dict(run_test=True), dict(top=3)),
    wrapped=(lambda: build_model(Net(), dist=True), lambda rank: configs(), BEST, dict()),
)
rank = begin()
for name, (make, data, options, validation) in CASES.items():
    seed()
    engine = Engine(
        make(),
        data(rank),
        stages=[stage(**validation)],
        hooks=[dict(type='EvalHook', **options)],
        work_dir=main_folder(name),
        logger=name,
    )
    if 'uneven' in name:
        engine.unregister_hook('SamplerSeedHook')
    watch(engine)
    engine.launch()
    finish(name, engine)
    for mode in (True, 'val', 'both'):
        seed()
        folder = main_folder(f'{name}_eval')
        engine = Engine(make(), data(rank), stages=[stage(**validation)], work_dir=folder)
        engine.load_checkpoint(f'{name}/epoch_1.pth')
        watch(engine)
        attempt(engine.launch, eval=mode)
        finish(f'{name}_{mode}', engine)
seed()
engine = Engine(Net(), configs(), stages=[stage()], work_dir='wrong', logger='wrong')
attempt(engine.launch, eval='train')
torch.distributed.barrier()
finish('wrong')
