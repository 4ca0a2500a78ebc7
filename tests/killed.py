"""Writes checkpoints in processes that are killed at random moments, and looks at what is left.

python tests/killed.py FOLDER KILLS
"""

import json
import os
import random
import signal
import sys
import time
import zipfile

import torch

from nncore_compat import _files

SIZE = 50_000


def data(number):
    return {'number': number, 'weights': torch.full((SIZE,), float(number))}


def write(folder, seed):
    """Writes files, folders, links, and files as careless programs do, until it is killed."""
    rng = random.Random(seed)
    place, whole, careless = (
        os.path.join(folder, name) for name in ('sharded', 'whole.pth', 'careless.pth')
    )
    for number in range(10**9):
        kind = rng.randrange(4)
        if kind == 0:
            _files.write(data(number), whole)
        elif kind == 1:
            _files.point(os.path.join(folder, 'latest.pth'), 'whole.pth')
        elif kind == 2:
            torch.save(data(number), careless)
        else:
            with _files.write_folder(place, _files.temporary(place)) as new:
                for rank in range(2):
                    torch.save(data(number), os.path.join(new, str(rank)))


def valid(path):
    """The number in a file, None if it is damaged: asked of two other readers."""
    try:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
        found = torch.load(path, weights_only=True)
    except Exception:
        return None
    return (
        found['number'] if torch.equal(found['weights'], data(found['number'])['weights']) else None
    )


def main(folder, kills):
    rng = random.Random(0)
    seen = dict(kills=0, damaged=0, left_over=0, unswept=0, put_back=0, careless_damaged=0)
    _files.write(data(0), os.path.join(folder, 'whole.pth'))
    for kill in range(kills):
        child = os.fork()
        if not child:
            write(folder, kill)
        time.sleep(rng.uniform(0.003, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen['kills'] += 1
        sharded = os.path.join(folder, 'sharded')
        absent = not os.path.exists(sharded)
        names = os.listdir(folder)
        seen['left_over'] += any(name.endswith(('.tmp', '.old')) for name in names)
        # As a later process, which has nothing in hand.
        _files.sweep(folder)
        names = os.listdir(folder)
        seen['unswept'] += any(name.startswith('.') for name in names)
        seen['put_back'] += absent and os.path.exists(sharded)
        for name in ('whole.pth', 'latest.pth'):
            if name in names:
                seen['damaged'] += valid(os.path.join(folder, name)) is None
        if 'sharded' in names:
            numbers = [valid(os.path.join(sharded, str(rank))) for rank in range(2)]
            seen['damaged'] += None in numbers or numbers[0] != numbers[1]
        if 'careless.pth' in names:
            seen['careless_damaged'] += valid(os.path.join(folder, 'careless.pth')) is None
    print(json.dumps({**seen, 'names': sorted(os.listdir(folder))}))


if __name__ == '__main__':
    torch.set_num_threads(1)
    main(sys.argv[1], int(sys.argv[2]))
