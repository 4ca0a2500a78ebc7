"""Run by torchrun: each process writes down what its callbacks see."""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from tiny import Net, Points, engine, stage
from torch.utils.data import DataLoader, Subset

from nncore_compat import comm

comm.init_dist()
rank = comm.get_rank()


class Part(Subset):
    def evaluate(self, outputs, logger=None, **kwargs):
        return {'acc': 0.25, 'count': len(outputs)}


class Reads(Callback):
    def on_train_epoch_end(self, trainer, module):
        rows.append({key: str(value.item()) for key, value in trainer.callback_metrics.items()})


def change(output):
    # Only one process has the key, and the second one alone grows worse.
    calls.append(1)
    extra = {f'only_{rank}': float(len(calls)), 'bad': float('nan') if rank else 1.0}
    return {**output, **extra, 'grows': float(rank * len(calls)), '_avg_factor': 1.0 + rank}


rows, calls = [], []
folder = Path(sys.argv[1])
# 6 samples for the first process, 4 for the second: 3 and 2 batches.
parts = [range(6), range(6, 10)]
data = Part(Points(10), parts[rank])
loaders = {'train': DataLoader(data, 2), 'val': DataLoader(data, 2)}
stop = EarlyStopping('val_grows', patience=1)
# The same number of iterations for all, or gradients would wait for ever.
loaders['train'] = DataLoader(Part(Points(10), parts[0]), 2)
one = engine(
    folder,
    Net(change),
    stages=stage(epochs=5, validation={'interval': 1}),
    data_loaders=loaders,
    hooks=[Reads(), stop, ModelCheckpoint(monitor='val_grows')],
    trainer={'accelerator': 'cpu'},
)
one.launch()
result = {
    'rows': rows,
    'epoch': one.epoch,
    'best': one.hooks['ModelCheckpoint'].best_model_path,
    'weights': one.model.fc.weight.tolist(),
}
(folder / f'rank_{rank}.json').write_text(json.dumps(result))
torch.distributed.destroy_process_group()
