"""Kill a training run again and again: `cd tests && python -m resume.kills --kills 100`.

One run is left alone; another one is killed by SIGKILL at random moments and started anew with
`--resume auto` each time, until it comes to its end. Both must leave the same behind.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from pathlib import Path

import torch

from parity.compare import compare_values
from resume.runs import mask, rows
from resume.status import BATCHES, STATUS

SCRIPT = Path(__file__).with_name('training.py')
KINDS = {'s': 'start-up', 't': 'training', 'v': 'validation', 'e': 'the end', 'w': 'writing'}
# Seconds without any progress after which a run counts as hanging.
LIMIT = 60


class Life:
    """A process that runs the script, from its start to its end."""

    def __init__(self, folder: Path, epochs: int, real: bool) -> None:
        self.folder = folder
        self.status = folder.parent / f'{folder.name}.status'
        self.status.write_bytes(STATUS.pack(b's', 0))
        self.begun = time.monotonic()
        argv = ['--resume', 'auto', str(SCRIPT), str(folder), str(epochs)]
        log = os.open(f'{folder}.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if real:
            self.pid = subprocess.Popen(
                [sys.executable, '-m', 'nncore_compat', *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            ).pid
        else:
            self.pid = os.fork()
            if self.pid == 0:
                _live(argv, log)
        os.close(log)

    def look(self) -> tuple[str, int]:
        """What it does, and in which iteration it is."""
        what, iteration = STATUS.unpack(self.status.read_bytes())
        return what.decode(), iteration

    def ended(self, seconds: float, until: str | None = None) -> int | None:
        """Wait; return the exit status if it ends meanwhile.

        Args:
            seconds: How long.
            until: Wait no longer than this is no more what it does.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end and (until is None or self.look()[0] == until):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        return None

    def kill(self) -> None:
        """Kill it, and then the workers of its loaders."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def _live(argv: list[str], log: int) -> None:
    """Be a process that was started by a command line, but for the time that imports take."""
    code = 1
    try:
        os.setsid()
        for stream in (1, 2):
            os.dup2(log, stream)
        from nncore_compat.__main__ import main

        sys.argv = ['nncore_compat', *argv]
        main(argv)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Killing:
    """A run that is killed, and what is seen of it."""

    def __init__(self, folder: Path, epochs: int, seed: int) -> None:
        self.folder = folder
        self.epochs = epochs
        self.random = random.Random(seed)
        self.hits: Counter[str] = Counter()
        self.starts = 0
        self.torn: list[str] = []
        self.leftovers: list[str] = []
        self.spoilt: set[tuple[str, int]] = set()
        self.problems: list[str] = []
        # Of files that were being written when a run was killed.
        self._partial: set[tuple[str, int]] = set()

    def live(self, real: bool = False) -> Life:
        """Start the run, which goes on where it can."""
        self.starts += 1
        return Life(self.folder, self.epochs, real)

    def once(self, kills_left: int, pace: float, startup: float, real: bool) -> bool:
        """Let it live for a while, and kill it.

        Returns:
            Whether there was something to kill.
        """
        life = self.live(real)
        early = not real and self.random.random() < 0.15
        if early:
            code = life.ended(self.random.uniform(0, startup))
        else:
            code = life.ended(LIMIT, until='s')
            if code is None:
                self._check_cleaned()
                iters = 2 * self.epochs * BATCHES - life.look()[1]
                # As much progress as leaves something to do for the lives to come.
                span = 1.4 * max(iters, 1) / kills_left * pace
                code = life.ended(self.random.uniform(0, span))
        if code is not None:
            self.problems.append(f'life {self.starts} ended with exit status {code}')
            return False
        what = life.look()[0]
        life.kill()
        self._check_files(what)
        return True

    def spoil(self) -> None:
        """Cut the newest checkpoint short, as a disk may."""
        files = sorted(self.folder.glob('*.pth'), key=lambda path: path.stat().st_mtime_ns)
        if len(files) > 1:
            with files[-1].open('r+b') as file:
                file.truncate(self.random.randrange(files[-1].stat().st_size))
            self.spoilt.add(_identity(files[-1]))

    def _partial_files(self) -> set[tuple[str, int]]:
        return {_identity(path) for path in self.folder.rglob('*.tmp*')}

    def _check_files(self, what: str) -> None:
        partial = self._partial_files()
        self.hits['w' if partial - self._partial else what] += 1
        self._partial |= partial
        for path in self.folder.glob('*.pth'):
            if _identity(path) not in self.spoilt and not is_whole(path):
                self.torn.append(f'{path.name} after kill {self.hits.total()}')

    def _check_cleaned(self) -> None:
        left = self._partial_files() & self._partial
        self.leftovers += [f'{name} at start {self.starts}' for name, _ in left]


def _identity(path: Path) -> tuple[str, int]:
    return path.name, path.stat().st_ino


def is_whole(path: Path) -> bool:
    """Whether a checkpoint can be read by torch, and by a tool that knows nothing of it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None and 'state_dict' in torch.load(path, weights_only=True)
    except Exception:
        return False


def final_differences(whole: Path, killed: Path, epochs: int) -> list[str]:
    """What differs between what the two runs left behind."""
    name = f'epoch_{2 * epochs}.pth'
    found = []
    ends = [torch.load(f'{folder}.end', weights_only=False) for folder in (whole, killed)]
    found += compare_values(*ends, 'end')
    files = [mask(torch.load(folder / name, weights_only=True)) for folder in (whole, killed)]
    found += compare_values(*files, name)
    found += compare_values(*[rows(f / 'metrics.json') for f in (whole, killed)], 'metrics.json')
    names = [sorted(p.name for p in folder.glob('*.pth')) for folder in (whole, killed)]
    found += compare_values(*names, 'files')
    return found


def kill_run(folder: Path, kills: int, real: int, spoil: float, seed: int) -> dict:
    """Train twice, and kill one of the two.

    Args:
        folder: Where the files go.
        kills: How often.
        real: How many of the starts are done by the command line, instead of a fork.
        spoil: How many of the kills are followed by damage to the newest checkpoint, from 0 to 1.
        seed: Of the moments.

    Returns:
        What was seen.
    """
    epochs = max(2, -(-kills * 2 // (2 * BATCHES)))
    whole = Killing(folder / 'whole', epochs, seed)
    begun = time.monotonic()
    life = whole.live()
    code = life.ended(LIMIT, until='s')
    startup = time.monotonic() - begun
    code = life.ended(3600) if code is None else code
    if code != 0:
        raise RuntimeError(f'the run that is not killed failed: see {folder}/whole.log')
    seconds = time.monotonic() - begun
    pace = (seconds - startup) / (2 * epochs * BATCHES)

    killed = Killing(folder / 'killed', epochs, seed)
    order = killed.random.sample(range(kills), real)
    for kill in range(kills):
        if not killed.once(kills - kill, pace, startup, real=kill in order):
            break
        if killed.random.random() < spoil:
            killed.spoil()
    life = killed.live()
    code = life.ended(3600)
    if code != 0:
        killed.problems.append(f'the last life ended with exit status {code}')
    killed.leftovers += [f'{name} at the end' for name, _ in killed._partial_files()]
    found = final_differences(whole.folder, killed.folder, epochs) if code == 0 else []
    return {
        'iterations': 2 * epochs * BATCHES,
        'seconds per iteration': round(pace, 3),
        'MB per checkpoint': round(max(p.stat().st_size for p in killed.folder.glob('*.pth')) / 1e6),
        'kills': killed.hits.total(),
        'hits': {KINDS[key]: count for key, count in sorted(killed.hits.items())},
        'starts': killed.starts,
        'damaged files': killed.torn,
        'damaged by hand': len(killed.spoilt),
        'leftovers': killed.leftovers,
        'problems': killed.problems,
        'differences': found,
        'seconds': round(time.monotonic() - begun),
    }


def main() -> int:
    """Kill a run and print what came of it."""
    parser = argparse.ArgumentParser(prog='python -m resume.kills', description=__doc__)
    parser.add_argument('--kills', type=int, default=100)
    parser.add_argument('--real', type=int, default=3, help='starts by the command line')
    parser.add_argument('--spoil', type=float, default=0.0, help='share of kills with damage after')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--folder', help='where the files go, and stay')
    args = parser.parse_args()
    # Imported once, here; children that are forked have it.
    import lightning.pytorch
    import torch._dynamo

    import nncore_compat.engine  # noqa: F401

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    folder = Path(args.folder or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    seen = kill_run(folder, args.kills, args.real, args.spoil, args.seed)
    print(json.dumps(seen, indent=4))
    bad = [key for key in ('damaged files', 'leftovers', 'problems', 'differences') if seen[key]]
    if not args.folder and not bad:
        shutil.rmtree(folder)
    return int(bool(bad) or seen['kills'] < args.kills)


if __name__ == '__main__':
    sys.exit(main())
