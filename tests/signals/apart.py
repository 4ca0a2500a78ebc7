"""Processes that run apart between reductions, and are told to stop at any moment."""

import logging
import os
import random
import signal
import sys
import threading
import time
from types import SimpleNamespace

import torch
import torch.distributed as dist

from nncore_compat._signals import StopRequests
from nncore_compat.hooks import CheckpointHook

LENGTH = 60


def run(seed, rank, size):
    """Iterate until told to stop; return where that was, and the signal."""
    plan = random.Random(seed)
    every = plan.choice([1, 2, 7])
    signums = [plan.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]) for _ in range(size)]
    told = plan.sample(range(size), plan.randint(1, size))
    moment = plan.uniform(0, 0.12)
    pace = [plan.choice([0.0005, 0.002]) for _ in range(size)]
    own = random.Random(seed * 100 + rank)

    engine = SimpleNamespace(
        iter=1000,
        data_loaders={},
        hooks={'CheckpointHook': CheckpointHook()},
        logger=logging.getLogger('apart'),
    )
    stop = StopRequests()
    stop.begin(engine)
    handlers = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    assert handlers.count(stop._handle) == 3
    timer = threading.Timer(moment + own.uniform(0, 0.02), os.kill, (os.getpid(), signums[rank]))
    if rank in told:
        timer.start()
    signum = None
    for index in range(LENGTH):
        time.sleep(own.uniform(0, 2 * pace[rank]))
        if (index + 1) % every == 0:
            dist.all_reduce(torch.ones(1000))
        engine.iter += 1
        signum = stop.due(engine.iter)
        if signum is not None:
            break
    if rank in told:
        timer.join()
    stop.end()
    return engine.iter, signum, stop.late()


if __name__ == '__main__':
    rank, size, trials = (int(arg) for arg in sys.argv[1:])
    logging.getLogger('apart').addHandler(logging.NullHandler())
    dist.init_process_group('gloo', rank=rank, world_size=size)
    threads = threading.active_count()
    stopped = []
    for seed in range(trials):
        rows = [None] * size
        dist.all_gather_object(rows, run(seed, rank, size))
        counts, signums = zip(*[(count, signum) for count, signum, _ in rows], strict=True)
        assert len(set(counts)) == len(set(signums)) == 1, (seed, rows)
        # A signal that came too late to stop is not lost.
        assert any(late is not None for _, _, late in rows), (seed, rows)
        stopped.append(signums[0] is not None)
    assert threading.active_count() == threads
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    dist.destroy_process_group()
    if rank == 0:
        print(sum(stopped))
