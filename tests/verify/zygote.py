"""Starts the processes of `--verify` as forks of one that has imported what takes long.

Neither engine is imported here: each process imports its own, and has it watched, as one does that
is started by itself. Each job is a line of JSON on stdin. Its process id goes back, and when it has
ended, that with its wait status.
"""

import gc
import json
import multiprocessing
import os
import select
import sys
import threading
import traceback

import lightning.pytorch
import nncore
import numpy as np
import torch
import torch._dynamo
import torch.utils.tensorboard

from nncore_compat._verify.child import SEED, main


def become(job):
    """Do what a process does that is started with this job."""
    os.setsid()
    for fd, place in ((0, os.devnull), (1, job['out']), (2, job['err'])):
        new = os.open(place, os.O_RDWR if fd else os.O_RDONLY)
        os.dup2(new, fd)
        os.close(new)
    os.environ.clear()
    os.environ.update(job['env'])
    os.chdir(job['cwd'])
    sys.path[0] = ''
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    multiprocessing.set_start_method(None, force=True)
    code = 0
    try:
        main(job['file'])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve():
    assert not {'nncore.engine', 'nncore_compat.engine'} & set(sys.modules)
    running = set()
    while True:
        ready, _, _ = select.select([0], [], [], 0.02)
        if ready:
            line = sys.stdin.readline()
            if not line:
                return
            pid = os.fork()
            if not pid:
                become(json.loads(line))
            running.add(pid)
            print(json.dumps([pid, None]), flush=True)
        for pid in tuple(running):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                running.discard(pid)
                print(json.dumps([pid, os.waitstatus_to_exitcode(status)]), flush=True)


if __name__ == '__main__':
    assert nncore and lightning.pytorch
    gc.collect()
    gc.freeze()
    serve()
