"""All strategies that several processes on the CPU have, one after another."""

import os
import sys

import torch
from nncore.engine import Engine, Hook, comm

sys.path.insert(0, os.path.dirname(__file__))
from net import by_hand, loaders, seeded, stages, whole

OUT = sys.argv[1]
found = {}


def close(weights, expected):
    return max(float((weights[key] - expected[key]).abs().max()) for key in expected)


def make(name, interval=1, hooks=(), seed=0, **trainer):
    return Engine(
        seeded(seed),
        loaders(),
        stages=stages(),
        hooks=[{'type': 'OptimizerHook', 'interval': interval}, *hooks],
        work_dir=os.path.join(OUT, name),
        logger=name,
        trainer=trainer,
    )


class Freeze(Hook):
    """Freezes a block when the second stage begins, before its optimizer is made."""

    def after_stage(self, engine):
        if engine.stage == 0:
            engine.model.blocks[0].requires_grad_(False)


for name, trainer in {
    'auto': {},
    'ddp': {'strategy': 'ddp'},
    'fsdp2': {'strategy': 'fsdp2'},
}.items():
    # Drawn anew on each process: those of the first are taken, by all strategies but this one.
    seed = int(os.environ['RANK']) if name != 'fsdp2' else 0
    one = make(name, interval=3, seed=seed, **trainer)
    length = len(one.data_loaders['train']), len(one.data_loaders['val'])
    before = one.lightning_module.model is one.model
    one.launch()
    weights = whole(one.model)
    frozen = make(f'{name}_frozen', hooks=[Freeze()], **trainer)
    frozen.launch()
    resumed = make(f'{name}_resumed', interval=3, seed=5, **trainer)
    resumed.resume(os.path.join(OUT, name, 'epoch_3.pth'))
    resumed.launch()
    steps = one.trainer.global_step
    metrics = one.launch(eval='val')
    found[name] = {
        'strategy': type(one.trainer.strategy).__name__,
        'lengths': length,
        'before': before,
        'hooks': list(one.hooks),
        'by hand': close(weights, by_hand(interval=3)),
        'frozen': close(whole(frozen.model), by_hand(freeze=True)),
        'resumed': close(whole(resumed.model), weights),
        'hits': metrics['val'].get('hits'),
        'global step': steps,
        'file': None,
    }
    comm.sync()
    file = torch.load(os.path.join(OUT, name, 'epoch_4.pth'), weights_only=True)
    found[name]['file'] = close(file['state_dict'], weights)
    found[name]['optimizer'] = [
        tuple(state['exp_avg'].shape) for state in file['optimizer']['state'].values()
    ]

torch.save(found, os.path.join(OUT, f'{comm.get_rank()}.pt'))
