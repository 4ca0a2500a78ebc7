"""The processes of the contestants, as the process that asks them sees them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Seconds after which a job counts as hanging.
LIMIT = 900
KINDS = ('raw', 'nncore', 'ours', 'lightning')


class Worker:
    """A contestant, waiting for jobs: one process, or two that train together.

    Args:
        name: ``raw``, ``nncore``, ``ours`` or ``lightning``. ``ours`` may be followed by
            ``@PATH``, another source tree of nncore_compat, and by options of its runner.
        processes: How many processes train together.
        device: ``cpu`` or ``cuda``.

    Raises:
        ValueError: There is no such contestant.
    """

    def __init__(self, name: str, processes: int = 1, device: str = 'cpu') -> None:
        self.name = name
        first, *options = shlex.split(name)
        kind, _, tree = first.partition('@')
        if kind not in KINDS or (kind != 'ours' and first != name):
            raise ValueError(f"no contestant {name!r}: raw, nncore, lightning or 'ours[@PATH] ...'")
        runner = ['nncore_compat', *options, '-m'] if kind == 'ours' else []
        argv = [sys.executable, '-W', 'ignore', '-m', *runner, 'benchmarks.worker', kind]
        self._log = tempfile.TemporaryFile('w+')  # noqa: SIM115
        self._folder = tempfile.TemporaryDirectory(prefix='benchmark')
        environment = _environment(device, Path(tree or ROOT).resolve())
        self._processes = [
            subprocess.Popen(
                argv,
                # empty: Python looks there first for modules
                cwd=self._folder.name,
                env={**environment, **variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )
            for variables in _launcher(processes)
        ]

    def ask(self, function: str, spec: dict[str, Any]) -> dict[str, float]:
        """The result of a job; of several processes that of the first.

        Raises:
            RuntimeError: It failed, or hangs.
        """
        line = json.dumps({'function': function, 'spec': spec}) + '\n'
        with contextlib.suppress(BrokenPipeError):
            for process in self._processes:
                process.stdin.write(line)
                process.stdin.flush()
        waiting = {process.stdout: process for process in self._processes}
        results = {}
        end = time.monotonic() + LIMIT
        while waiting:
            # whichever comes first: when one has failed, the others may wait for it forever
            ready, _, _ = select.select(list(waiting), [], [], max(0, end - time.monotonic()))
            if not ready:
                raise RuntimeError(f'{self._last_words()}\n{self.name}: no answer for {LIMIT} s')
            reply = ready[0].readline()
            if not reply:
                raise RuntimeError(f'{self._last_words()}\n{self.name}: the process died')
            content = json.loads(reply)
            if 'error' in content:
                raise RuntimeError(f'{self.name}: {content["error"]}')
            results[waiting.pop(ready[0])] = content['result']
        return results[self._processes[0]]

    def _last_words(self) -> str:
        self._log.seek(0)
        return self._log.read()[-3000:]

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        self._log.close()
        self._folder.cleanup()


def _environment(device: str, tree: Path) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(('NNCORE_COMPAT', 'WANDB'))}
    env.update(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1', TF_CPP_MIN_LOG_LEVEL='3')
    # the first one wins: nncore_compat of that tree, the benchmarks of this one
    paths = [str(tree), str(ROOT), env.get('PYTHONPATH', '')]
    env['PYTHONPATH'] = os.pathsep.join(filter(None, paths))
    env['BENCHMARK_STARTED'] = repr(time.time())
    if device == 'cpu':
        env['CUDA_VISIBLE_DEVICES'] = ''
    return env


def _launcher(processes: int) -> list[dict[str, str]]:
    """What torchrun adds to the environment of each process; nothing for a single one."""
    if processes == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    size = str(processes)
    shared = dict(
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        WORLD_SIZE=size,
        LOCAL_WORLD_SIZE=size,
        GROUP_RANK='0',
    )
    return [dict(RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(processes)]
