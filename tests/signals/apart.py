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


def listen():
    """Return an engine, as far as that is needed, and what listens for it."""
    engine = SimpleNamespace(
        iter=1000,
        data_loaders={},
        hooks={'CheckpointHook': CheckpointHook()},
        logger=logging.getLogger('apart'),
    )
    stop = StopRequests()
    stop.begin(engine)
    return engine, stop


def run(seed, rank, size):
    """Iterate until told to stop; return where that was, and the signal."""
    plan = random.Random(seed)
    every = plan.choice([1, 2, 7])
    signums = [plan.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]) for _ in range(size)]
    told = plan.sample(range(size), plan.randint(1, size))
    moment = plan.uniform(0, 0.12)
    pace = [plan.choice([0.0005, 0.002]) for _ in range(size)]
    own = random.Random(seed * 100 + rank)

    engine, stop = listen()
    moment += own.uniform(0, 0.02)
    timer = threading.Timer(moment, os.kill, (os.getpid(), signums[rank]))
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


def at_random(rank, size, trials):
    threads = threading.active_count()
    stopped = 0
    for seed in range(trials):
        rows = [None] * size
        dist.all_gather_object(rows, run(seed, rank, size))
        counts, signums, late = zip(*rows, strict=True)
        assert len(set(counts)) == len(set(signums)) == 1, (seed, rows)
        # A signal that came too late to stop is not lost.
        assert any(signum is not None for signum in late), (seed, rows)
        stopped += signums[0] is not None
    assert threading.active_count() == threads
    if rank == 0:
        print(stopped)


def stuck(rank):
    listen()
    print('waiting', flush=True)
    if rank == 0:
        dist.all_reduce(torch.ones(1))
    time.sleep(100)


def gone(rank):
    engine, stop = listen()
    if rank == 2:
        os._exit(3)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    try:
        while rank == 0:
            time.sleep(0.01)
            engine.iter += 1
            stop.due(engine.iter)
        time.sleep(100)
    finally:
        stop.end()


if __name__ == '__main__':
    rank, size, kind, trials = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    logging.basicConfig(level='WARNING' if kind == 'gone' else 'CRITICAL')
    dist.init_process_group('gloo', rank=rank, world_size=size)
    if kind == 'random':
        at_random(rank, size, trials)
        dist.destroy_process_group()
    else:
        {'stuck': stuck, 'gone': gone}[kind](rank)
