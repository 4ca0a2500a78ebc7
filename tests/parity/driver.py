"""Runs scripts one after another, each in forked children, so that imports are paid once.

Started by plain Python it serves the reference, started by `python -m nncore_compat` it serves
us; `driver.py nncore_compat` serves us too, beside an nncore that is itself. Jobs come as JSON
lines on stdin, `{"id": ..., "wait": [<wait status>, ...]}` goes back on stdout. A job of several
processes gets the environment that torchrun would make.
"""

import atexit
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import threading
import time
import traceback

# torch imports this at the first optimizer; once here saves seconds in every child.
import torch._dynamo  # noqa: F401

# Spelled as a script spells it, so that this file never knows which engine it got.
importlib.import_module(sys.argv[1] + '.engine' if sys.argv[1:] else 'nncore.engine')
OURS = 'nncore_compat' in sys.modules

if OURS:
    import lightning.pytorch  # noqa: F401

# Seconds that the other ranks have to end by themselves once one has failed.
GRACE = 10


def launcher_variables(processes):
    """What a launcher adds to the environment of each process; nothing for a single one."""
    if processes == 1:
        return [{}]
    port = reserve_port()
    size = str(processes)
    address = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), GROUP_RANK='0')
    sizes = dict(WORLD_SIZE=size, LOCAL_WORLD_SIZE=size)
    return [
        dict(RANK=str(rank), LOCAL_RANK=str(rank), **sizes, **address) for rank in range(processes)
    ]


def reserve_port():
    """A port that nobody else is given for a minute, while a server may still ask for it."""
    with socket.socket() as server, socket.socket() as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(('127.0.0.1', 0))
        server.listen(1)
        client.connect(server.getsockname())
        # Closed from this end first, a connection keeps its port in the state TIME_WAIT.
        server.accept()[0].close()
        return server.getsockname()[1]


def become(job, rank, variables):
    """Turn this process into one that was started as `python SCRIPT OUT ARGS...`."""
    os.makedirs(job['out'], exist_ok=True)
    os.chdir(job['out'])
    streams = job['out'] + (f'.{rank}' if rank else '')
    for fd, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, streams + '.stdout', os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, streams + '.stderr', os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        new = os.open(name, flags, 0o644)
        os.dup2(new, fd)
        os.close(new)
    os.environ.update(variables, **job['env'])
    sys.argv = [job['script'], job['out'], *job['args']]
    sys.path[0] = os.path.dirname(job['script'])
    if OURS and job['quirks'] is not None:
        from nncore_compat import quirks

        quirks.enable(job['quirks'])
    if job['prelude']:
        exec(job['prelude'], {})


def run(script):
    """Run a script as the interpreter would and end this process.

    What an interpreter does at its end is done but for taking down a process as large as this
    one, which costs seconds.
    """
    code = 0
    try:
        runpy.run_path(script, run_name='__main__')
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def wait(pids, limit):
    """The wait statuses of children; none outlives the limit, nor for long one that failed."""
    statuses = {}
    end = time.monotonic() + limit
    while len(statuses) < len(pids):
        for pid in pids:
            done, status = (0, 0) if pid in statuses else os.waitpid(pid, os.WNOHANG)
            if done:
                statuses[pid] = status
            if status:
                end = min(end, time.monotonic() + GRACE)
        if time.monotonic() > end:
            for pid in set(pids) - set(statuses):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    return [statuses[pid] for pid in pids]


def serve(jobs, replies):
    for line in iter(jobs.readline, ''):
        job = json.loads(line)
        sys.stdout.flush()
        sys.stderr.flush()
        pids = []
        for rank, variables in enumerate(launcher_variables(job['processes'])):
            pids.append(os.fork())
            if pids[-1] == 0:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                become(job, rank, variables)
                return job
        replies.write(json.dumps({'id': job['id'], 'wait': wait(pids, job['limit'])}) + '\n')
        replies.flush()
    return None


if __name__ == '__main__':
    # Python 3.14 changes the default; what is compared must not depend on it.
    multiprocessing.set_start_method('fork')
    replies = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    # Children leave these objects alone, so that they go on sharing the memory.
    gc.collect()
    gc.freeze()
    job = serve(sys.stdin, replies)
    if job is not None:
        replies.close()
        run(job['script'])
