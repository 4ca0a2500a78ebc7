"""The same run, however its two processes came about; says how far it is from plain PyTorch."""

import os
import sys
import tempfile
import time

import torch.distributed as dist
import torch.multiprocessing as mp
from nncore.engine import Engine, comm
from torch.utils.data import DataLoader, DistributedSampler

sys.path.insert(0, os.path.dirname(__file__))
from net import BATCH, Points, by_hand, loaders, seeded, stages


def main(data, **trainer):
    # Asked before the engine has made the processes known: one as the other, it is none of several.
    launcher = comm.init_dist() if trainer else None
    os.makedirs(sys.argv[1], exist_ok=True)
    os.chdir(sys.argv[1])
    # Of processes that begin in different seconds: the folder is that of the first.
    clock, rank = time.strftime, int(os.environ.get('RANK', 0)) or comm.get_rank()
    time.strftime = lambda form, *now: f'2030010203040{rank}' if 'Y%m' in form else clock(form)
    engine = Engine(seeded(), data, stages=stages(), trainer=trainer)
    assert launcher is None
    engine.launch()
    weights, expected = engine.model.state_dict(), by_hand()
    far = max(float((weights[key] - expected[key]).abs().max()) for key in expected)
    trainer = engine.trainer
    place = [comm.get_rank(), trainer.num_nodes, trainer.num_devices, trainer.local_rank]
    place.append(engine.work_dir)
    words = ' '.join(map(str, ['place', *place, 'near' if far < 2e-6 else far]))
    # In one piece: another process writes to the same place.
    os.write(1, f'{words}\n'.encode())


def work(rank, folder):
    dist.init_process_group('gloo', init_method=f'file://{folder}/m', rank=rank, world_size=2)
    data, points = loaders(), Points(24, 1)
    sampler = DistributedSampler(points, 2, rank, shuffle=False)
    main({'train': DataLoader(points, BATCH, sampler=sampler), 'val': data['val']})


if __name__ == '__main__':
    if sys.argv[2] == 'spawns':
        with tempfile.TemporaryDirectory() as meeting:
            mp.spawn(work, (meeting,), nprocs=2)
    else:
        main(loaders(), **({'devices': 2} if sys.argv[2] == 'inside' else {}))
