"""Kill a training run again and again: `cd tests && python -m resume.kills --kills 100`.

One run is left alone; another one is killed by SIGKILL at random moments and started anew with
`--resume auto` each time, until it comes to its end. Both must leave the same behind.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import random
import shutil
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import torch
from parity.compare import compare_values

from resume.life import LIMIT, Life
from resume.runs import mask, rows
from resume.status import BATCHES

KINDS = {'s': 'start-up', 't': 'training', 'v': 'validation', 'e': 'the end', 'w': 'writing'}


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
                if life.look()[0] == 's':
                    self.problems.append(f'life {self.starts} did not begin in {LIMIT} s')
                self._check_cleaned()
                iters = 2 * self.epochs * BATCHES - life.look()[1]
                # As much progress as leaves something to do for the lives to come.
                span = 1.4 * max(iters, 1) / kills_left * pace
                code = life.ended(self.random.uniform(0, span))
                if code is None and self.random.random() < 0.3:
                    code = self._await_writing(life)
        if code is not None:
            self.problems.append(f'life {self.starts} ended with exit status {code}')
            return False
        what = life.look()[0]
        life.kill()
        self._check_files(what)
        return True

    def _await_writing(self, life: Life) -> int | None:
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            code = life.ended(0.002)
            if code is not None:
                return code
            if self._partial_files() - self._partial:
                return life.ended(self.random.uniform(0, 0.03))
        return None

    def spoil(self) -> None:
        """Cut the newest checkpoint short, as a disk may."""
        files = sorted(self.folder.glob('*.pth'), key=lambda path: path.stat().st_mtime_ns)
        if len(files) > 1:
            with files[-1].open('r+b') as file:
                file.truncate(self.random.randrange(files[-1].stat().st_size))
            self.spoilt.add(_identity(files[-1]))

    def _partial_files(self) -> set[tuple[str, int]]:
        found = set()
        for path in self.folder.rglob('*.tmp*'):
            # A run that lives may have renamed it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                found.add(_identity(path))
        return found

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
    log = Path(f'{killed.folder}.log').read_text(errors='replace')
    if log.count('Passing over') < len(killed.spoilt):
        killed.problems.append('a file that was damaged by hand was not spoken of')
    found = final_differences(whole.folder, killed.folder, epochs) if code == 0 else []
    return {
        'iterations': 2 * epochs * BATCHES,
        'seconds per iteration': round(pace, 3),
        'MB per checkpoint': round(
            max(p.stat().st_size for p in killed.folder.glob('*.pth')) / 1e6
        ),
        'kills': killed.hits.total(),
        'hits': {KINDS[key]: count for key, count in sorted(killed.hits.items())},
        'starts': killed.starts,
        'damaged files': killed.torn,
        'damaged by hand': len(killed.spoilt),
        'passed over': log.count('Passing over'),
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
    parser.add_argument(
        '--spoil', type=float, default=0.05, help='share of kills with damage after'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--folder', help='where the files go, and stay')
    args = parser.parse_args()
    # Imported once, here; children that are forked have it.
    import lightning.pytorch  # noqa: F401
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
