"""The two processes that run a script: nncore 0.4.7 itself, and nncore_compat."""

import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from paths import python_path

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE / 'scripts'
# Of the folder of scripts, the part that is run by two processes.
PAIRS = 'two_ranks'
STUB = HERE.parent / 'reference'
DRIVER = HERE / 'driver.py'
# Seconds after which a script counts as hanging and is killed; none needs a tenth of it. The
# driver has a little longer to say so.
LIMIT = 240
OURS = ['-m', 'nncore_compat', '--quirks', 'all']


def environment(reference, gpus=''):
    """The environment of a process that runs nncore (with the torchvision stub) or us.

    Args:
        reference: Whether it runs nncore.
        gpus: CUDA_VISIBLE_DEVICES; None for what it is.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith(('NNCORE_COMPAT', 'WANDB'))}
    env.update(
        OMP_NUM_THREADS='1',
        MKL_NUM_THREADS='1',
        PYTHONHASHSEED='0',
        COLUMNS='80',
        WANDB_MODE='disabled',
        WANDB_SILENT='true',
        # What torch 2.4 and 2.5 say to those who leave out `weights_only`, as nncore does.
        PYTHONWARNINGS='ignore:You are using `torch.load`:FutureWarning',
    )
    if gpus is not None:
        env['CUDA_VISIBLE_DEVICES'] = gpus
    # The package that the tests see if it is installed, else the source tree.
    spec = importlib.util.find_spec('nncore_compat')
    ours = Path(spec.origin).parents[1] if spec else HERE.parents[1]
    env['PYTHONPATH'] = python_path(STUB if reference else ours)
    return env


def command(reference, *argv):
    """The command line that runs a script on one of the two sides."""
    return [sys.executable, *([] if reference else OURS), *map(str, argv)]


class Side:
    """One live driver process; a plain one of ours leaves nncore what it is, without quirks."""

    def __init__(self, reference, log, plain=False, gpus=''):
        self.reference = reference
        self._log = Path(log)
        self._jobs = 0
        self._stderr = self._log.open('w')
        self._process = subprocess.Popen(
            [sys.executable, DRIVER, 'nncore_compat'] if plain else command(reference, DRIVER),
            env=environment(reference, gpus),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            start_new_session=True,
        )

    def start(self, script, out, args=(), env=None, quirks=None, prelude=''):
        """Begin a script; its files go to `out`, its streams to `out.stdout` and `out.stderr`.

        Scripts in the folder of two ranks are run by two processes; the streams of the second
        one go to `out.1.stdout` and `out.1.stderr`.
        """
        self._jobs += 1
        job = dict(
            id=self._jobs,
            script=str(SCRIPTS / script),
            processes=2 if Path(script).parent.name == PAIRS else 1,
            limit=LIMIT,
            out=str(out),
            args=[str(arg) for arg in args],
            env=env or {},
            quirks=quirks,
            prelude=prelude,
        )
        try:
            self._process.stdin.write(json.dumps(job) + '\n')
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(self._last_words()) from None

    def wait(self):
        """The exit status of the script begun last (negative: the signal that killed it).

        Of two ranks the first status that is not 0.
        """
        ready, _, _ = select.select([self._process.stdout], [], [], LIMIT + 30)
        if not ready:
            os.killpg(self._process.pid, signal.SIGKILL)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(self._last_words())
        reply = json.loads(line)
        assert reply['id'] == self._jobs
        codes = map(os.waitstatus_to_exitcode, reply['wait'])
        return next(filter(None, codes), 0)

    def run(self, script, out, **options):
        """Run a script to its end and return its exit status."""
        self.start(script, out, **options)
        return self.wait()

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._stderr.close()

    def _last_words(self):
        name = 'reference' if self.reference else 'nncore_compat'
        return f'the driver of {name} died, or hung for {LIMIT} s:\n{self._log.read_text()[-3000:]}'


# Has the script train in Lightning's own loop over batches.
STOCK = {'NNCORE_COMPAT_LOOP': 'stock'}


def run_both(reference, ours, script, folder, stock=False, **options):
    """Run a script on both sides at once; return (output folder, exit status) of each.

    With `stock`, ours trains in Lightning's own loop over batches.
    """
    outs = [Path(folder) / 'reference', Path(folder) / 'ours']
    for side, out in zip((reference, ours), outs, strict=True):
        side.start(script, out, env=STOCK if stock and side is ours else None, **options)
    codes = [side.wait() for side in (reference, ours)]
    return list(zip(outs, codes, strict=True))
