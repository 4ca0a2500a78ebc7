"""Runs scripts one after another, each in a forked child, so that imports are paid once.

Started by plain Python it serves the reference, started by `python -m nncore_compat` it serves
us. Jobs come as JSON lines on stdin, `{"id": ..., "wait": <wait status>}` goes back on stdout.
"""

import atexit
import gc
import json
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import traceback

# torch imports this at the first optimizer; once here saves seconds in every child.
import torch._dynamo  # noqa: F401

# Spelled as a script spells it, so that this file never knows which engine it got.
from nncore.engine import Engine  # noqa: F401

OURS = 'nncore_compat' in sys.modules

if OURS:
    import lightning.pytorch  # noqa: F401


def become(job):
    """Turn this process into one that was started as `python SCRIPT OUT ARGS...`."""
    os.makedirs(job['out'], exist_ok=True)
    os.chdir(job['out'])
    for fd, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, job['out'] + '.stdout', os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, job['out'] + '.stderr', os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        new = os.open(name, flags, 0o644)
        os.dup2(new, fd)
        os.close(new)
    os.environ.update(job['env'])
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


def serve(jobs, replies):
    for line in iter(jobs.readline, ''):
        job = json.loads(line)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            become(job)
            return job
        _, status = os.waitpid(pid, 0)
        replies.write(json.dumps({'id': job['id'], 'wait': status}) + '\n')
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
