"""Loads thousands of damaged and hostile checkpoint files in processes of their own.

python tests/fuzz.py 20000
python tests/fuzz.py 2000 --loader torch
"""

import argparse
import collections
import io
import itertools
import os
import pickle
import pickletools
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import types
import warnings
import zipfile
from functools import partial
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 10
MEMORY = 1 << 30
MARKER = 'code_has_run'


# The files that are damaged


def checkpoint():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.rand(4, 3)).square().sum().backward()
    optimizer.step()
    stages = [{'epochs': 2, 'optimizer': {'type': 'SGD', 'lr': 0.1}}]
    return {
        'meta': {'epoch': 1, 'iter': 3, 'stages': stages, 'nncore_version': '0.4.7'},
        'state_dict': model.state_dict(),
        'optimizer': optimizer.state_dict(),
        'random': (3, tuple(range(20)), None),
        'bytes': b'\x00abc',
        'sparse': torch.eye(2).to_sparse(),
        'view': torch.arange(10.0)[2:8:2],
        'parameter': torch.nn.Parameter(torch.ones(2)),
        'names': {'a', 'b'},
    }


def saved(data, **kwargs):
    file = io.BytesIO()
    torch.save(data, file, **kwargs)
    return file.getvalue()


def entries(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def packed(items, **kwargs):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with zipfile.ZipFile(file, 'w') as archive:
            for name, content in items:
                archive.writestr(name, content, **kwargs)
    return file.getvalue()


class Bases:
    def __init__(self):
        self.data = checkpoint()
        self.modern = saved(self.data)
        self.legacy = saved(self.data, _use_new_zipfile_serialization=False)
        self.weights = saved(self.data['state_dict'])


# What is done to them


def flip(rng, content):
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def cut(rng, content):
    return content[: rng.randrange(len(content))]


def splice(rng, content, other):
    at, start = rng.randrange(len(content)), rng.randrange(len(other))
    return content[:at] + other[start:]


def shuffle_bytes(rng, content):
    damaged = bytearray(content)
    size = rng.choice((1, 4, 16, 200))
    first, second = (rng.randrange(max(1, len(damaged) - size)) for _ in range(2))
    piece = damaged[first : first + size]
    damaged[second : second + len(piece)] = piece
    return bytes(damaged)


def edit_directory(rng, content):
    """Absurd numbers in the headers of a zip file."""
    damaged = bytearray(content)
    start = rng.choice((b'PK\x03\x04', b'PK\x01\x02', b'PK\x05\x06', b'PK\x07\x08'))
    places = [found.start() for found in re.finditer(re.escape(start), content)]
    for _ in range(rng.choice((1, 1, 3))):
        at = rng.choice(places) + rng.randrange(4, 46, 2)
        kind = rng.choice('HI')
        number = rng.choice((0, 1, 8, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)))
        piece = struct.pack('<' + kind, number & (0xFFFF if kind == 'H' else 0xFFFFFFFF))
        damaged[at : at + len(piece)] = piece
    return bytes(damaged)


def edit_entries(rng, content):
    """A whole zip file, with entries swapped, dropped, doubled, cut, made longer or packed."""
    items = entries(content)
    kind = rng.choice(('swap', 'drop', 'double', 'cut', 'grow', 'deflate', 'rename', 'add'))
    one, two = rng.randrange(len(items)), rng.randrange(len(items))
    (name, first), (other, second) = items[one], items[two]
    if kind == 'swap':
        items[one], items[two] = (name, second), (other, first)
    elif kind == 'drop':
        del items[one]
    elif kind == 'double':
        items.append((name, second))
    elif kind == 'cut':
        items[one] = (name, first[: rng.randrange(len(first) + 1)])
    elif kind == 'grow':
        items[one] = (name, first + bytes(rng.randrange(1, 100)))
    elif kind == 'deflate':
        return packed(items, compress_type=rng.choice((8, 12, 14)))
    elif kind == 'rename':
        items[one] = (rng.choice(('../' + name, name[1:], '/' + name, name + '\0x')), first)
    else:
        items.append((name.partition('/')[0] + '/constants.pkl', b'\x80\x02].'))
    return packed(items)


ABSURD = (-1, 0, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, 2**63, -(2**63), 2**100, 10**30)


def number(value):
    return pickle.dumps(value, 2)[2:-1]


def text(value):
    return b'X' + struct.pack('<I', len(value)) + value.encode()


def called(name, *arguments):
    """REDUCE of a global, from values that are pickled already."""
    module, _, attribute = name.rpartition('.')
    return f'c{module}\n{attribute}\n'.encode() + b'(' + b''.join(arguments) + b'tR'


def payload(rng, marker):
    """A pickled value that would run code, crash, hang or fill the memory."""
    command = text(f'touch {marker}')
    source = text(f'open({marker!r}, "w")')
    big = number(rng.choice(ABSURD))
    storage = b'(X\x07\x00\x00\x00storagectorch\nFloatStorage\n' + text('0') + text('cpu') + big
    return rng.choice(
        (
            called('os.system', command),
            called('posix.system', command),
            called('builtins.eval', source),
            called('__builtin__.exec', source),
            called('subprocess.getoutput', command),
            called('torch.hub.os.system', command),
            b'(' + command + b'ios\nsystem\n',
            b'(cos\nsystem\n' + command + b'o',
            text('os') + text('system') + b'\x93(' + command + b'tR',
            b'\x82\x01',
            b'Pevil\n',
            called('torch._tensor._rebuild_from_type_v2', b'cos\nsystem\n', b'N(', command, b'ttN'),
            called('collections.OrderedDict') + b'}' + text('__reduce__') + command + b'sb',
            called('torch.serialization.load', text(marker)),
            called('torch.Tensor', big),
            called('builtins.bytearray', big),
            called('torch.FloatStorage', big),
            called('torch.Size', b'(' + big * 3 + b't'),
            called('_codecs.encode', text('x' * 200000), text('idna')),
            called('_codecs.encode', text('x' * 1000), text(rng.choice(('hex', 'os', 'zlib')))),
            called('torch.device', text('cuda:99')),
            storage + b'tQ',
            called('torch._utils._rebuild_tensor_v2', storage, b'tQ', big, b'(', big, b't(', big)
            + b'tR',
            called(
                'torch._utils._rebuild_tensor_v2',
                storage.replace(big, b'K\x0c') + b'tQK\x00(' + big + b't(K\x00t\x89N',
            ),
            called('torch._utils._rebuild_nested_tensor', b'N' * 4),
            called('torch._utils._rebuild_wrapper_subclass', b'ctorch\nTensor\n', b'N' * 7),
            called(
                'torch._utils._rebuild_meta_tensor_no_storage',
                b'ctorch\nfloat32\n(' + big + b't(' + big + b't\x89',
            ),
            b'(K\x01' + b'\x85' * rng.choice((100, 100000)) + b't',
            b'}' + b')' + b'\x85' * 200000 + b'K\x01s',
            b'})' + b'q\x63h\x63\x86' * 60 + b'K\x01s',
            called('builtins.set', b'])' + b'q\x63h\x63\x86' * 60 + b'a'),
            b']' + b'q\x63h\x63\x86' * 60,
            b']q\x63h\x63a',
            called('torch.Tensor')
            + b'('
            + storage
            + b'tQ'
            + big
            + b'('
            + big
            + b't('
            + big
            + b'ttb',
            called('torch.nn.parameter.Parameter', b'N') + b'(K\x01K\x01tb',
            b'r' + struct.pack('<I', 0xFFFFFFFF),
            b'\x8b' + struct.pack('<i', 0x7FFFFFFF),
            b'\x8d' + struct.pack('<Q', 2**63) + b'x',
            b'\x96' + struct.pack('<Q', 2**40) + b'x',
            b'X\xff\xff\xff\xff',
            b'I' + b'9' * 100000 + b'\n',
        )
    )


def edit_pickle(rng, content, marker):
    """A pickle in which some values are other ones."""
    operations = [
        (opcode.name, at)
        for opcode, _, at in pickletools.genops(io.BytesIO(content))
        if at is not None
    ]
    ends = {at: end for (_, at), (_, end) in itertools.pairwise(operations)}
    scalars = ('BININT', 'BININT1', 'BININT2', 'BINUNICODE', 'NONE', 'BINFLOAT', 'NEWFALSE')
    kind = rng.choice(('numbers', 'payload', 'payload', 'operation', 'bytes'))
    wanted = {'numbers': scalars[:3], 'payload': scalars}.get(kind)
    places = [at for name, at in operations[1:-1] if wanted is None or name in wanted]
    damaged = bytearray(content)
    for at in sorted(rng.sample(places, min(len(places), rng.choice((1, 1, 2)))), reverse=True):
        if kind == 'numbers':
            damaged[at : ends[at]] = number(rng.choice(ABSURD))
        elif kind == 'payload':
            damaged[at : ends[at]] = payload(rng, marker)
        elif kind == 'operation':
            other = rng.choice(operations[1:-1])[1]
            damaged[at : ends[at]] = content[other : ends[other]] * rng.choice((0, 1, 2))
        else:
            damaged[rng.randrange(at, ends[at])] = rng.randrange(256)
    return bytes(damaged)


def edit_modern(rng, content, marker):
    items = entries(content)
    return packed(
        [
            (name, edit_pickle(rng, data, marker) if name.endswith('data.pkl') else data)
            for name, data in items
        ]
    )


def edit_legacy(rng, content, marker):
    file = io.BytesIO(content)
    pieces = []
    for _ in range(5):
        start = file.tell()
        collections.deque(pickletools.genops(file), maxlen=0)
        pieces.append(content[start : file.tell()])
    rest = content[file.tell() :]
    # The first two are but a number.
    which = rng.choice((2, 3, 3, 3, 4))
    pieces[which] = edit_pickle(rng, pieces[which], marker)
    return b''.join(pieces) + rest


def mutant(seed, index, bases, marker):
    """The file of a number: what was done, and the content."""
    rng = random.Random(f'{seed}-{index}')
    old = rng.choice((bases.modern, bases.modern, bases.legacy))
    changes = {
        'flip': partial(flip, rng, old),
        'cut': partial(cut, rng, old),
        'splice': partial(splice, rng, old, rng.choice((bases.weights, bases.legacy))),
        'copy': partial(shuffle_bytes, rng, old),
        'directory': partial(edit_directory, rng, bases.modern),
        'entries': partial(edit_entries, rng, bases.modern),
        'pickle': partial(edit_modern, rng, bases.modern, marker),
        'legacy': partial(edit_legacy, rng, bases.legacy, marker),
    }
    kind = rng.choices(list(changes), (3, 1, 2, 2, 3, 3, 8, 4))[0]
    protected = old is bases.modern and kind in ('flip', 'cut', 'splice', 'copy')
    return kind, protected or kind == 'directory', changes[kind]()


# What comes of them

PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray, torch.device, torch.dtype)
PLAIN += (
    torch.Size,
    torch.layout,
    torch.serialization.StorageType,
    torch.storage.TypedStorage,
    torch.storage.UntypedStorage,
)


def use(value):
    """Touches all numbers; anything but plain data is an error."""
    if isinstance(value, torch.Tensor):
        if value.is_sparse:
            use(value._indices())
            use(value._values())
        elif not value.is_meta:
            value.detach().reshape(-1).clone()
    elif isinstance(value, dict):
        for item in (*value.keys(), *value.values()):
            use(item)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            use(item)
    elif not isinstance(value, (*PLAIN, type, types.FunctionType)):
        raise AssertionError(f'{type(value)} was accepted')


def equal(one, other):
    if isinstance(one, torch.Tensor):
        same = isinstance(other, torch.Tensor) and one.dtype == other.dtype
        return same and torch.equal(one.to_dense(), other.to_dense())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def loader(name):
    if name == 'torch':
        return partial(torch.load, map_location='cpu', weights_only=True)
    if name == 'unsafe':
        return partial(torch.load, map_location='cpu', weights_only=False)
    from nncore_compat import get_checkpoint

    return partial(get_checkpoint, map_location='cpu')


def outcome(load, path, must_equal, original):
    try:
        data = load(path)
    except Exception as error:
        message = str(error)
        known = re.match(r"cannot read checkpoint '.*?': (.*)", message, re.DOTALL)
        if 'MemoryError' in message or "can't allocate" in message:
            return 'memory'
        if known is None:
            return f'unexpected {type(error).__name__}'
        words = re.sub(r"data/\d+|\.?[\w/]+\.pkl|'[^']*'|[\d,]{2,}|\d+", '*', known[1])
        return 'rejected: ' + ' '.join(words.split()[:6])
    use(data)
    if must_equal and not equal(data, original):
        return 'WRONG'
    return 'accepted, equal' if must_equal else 'accepted'


def child(seed, first, last, folder, name, seconds):
    """Loads some files and writes a line about each."""
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    bases = Bases()
    load = loader(name)
    path = os.path.join(folder, 'file.pth')
    marker = os.path.join(folder, MARKER)
    # The first load imports.
    Path(path).write_bytes(bases.modern)
    assert equal(load(path), bases.data)
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(os.path.join(folder, 'outcomes'), 'ab', buffering=0) as out:
        for index in range(first, last):
            kind, must_equal, content = mutant(seed, index, bases, marker)
            Path(path).write_bytes(content)
            signal.alarm(seconds)
            try:
                found = outcome(load, path, must_equal, bases.data)
            except Exception as error:
                found = f'unexpected {type(error).__name__} of what was accepted'
            signal.alarm(0)
            if os.path.exists(marker):
                os.remove(marker)
                found = 'CODE'
            out.write(f'{index}\t{kind}\t{found}\n'.encode())


def run(count, seed=0, name='ours', keep=None, batch=1000, seconds=SECONDS):
    """Loads `count` files.

    Returns:
        How often each (kind of change, outcome) was seen, and the numbers of those that must not
        be.
    """
    found, bad = collections.Counter(), {}
    with tempfile.TemporaryDirectory() as folder:
        done = 0
        while done < count:
            last = min(count, done + batch)
            command = [sys.executable, __file__, '--child', str(seed), str(done), str(last)]
            env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
            process = subprocess.run(
                [*command, folder, name, str(seconds)],
                env=env,
                capture_output=True,
                timeout=600,
                cwd=folder,
            )
            lines = Path(folder, 'outcomes').read_text().splitlines()
            os.remove(os.path.join(folder, 'outcomes'))
            results = [line.split('\t') for line in lines]
            done += len(results)
            if process.returncode < 0:
                how = signal.Signals(-process.returncode).name
                results.append((str(done), 'any', 'HANG' if how == 'SIGALRM' else f'CRASH {how}'))
                done += 1
            elif process.returncode:
                raise RuntimeError(process.stderr.decode())
            for index, kind, what in results:
                found[kind, what] += 1
                if not what.startswith(('accepted', 'rejected')):
                    bad[int(index)] = what
    if keep is not None:
        os.makedirs(keep, exist_ok=True)
        for index, what in bad.items():
            kind, _, content = mutant(seed, index, Bases(), os.path.join(keep, MARKER))
            Path(keep, f'{index}-{kind}-{what.split()[0]}.pth').write_bytes(content)
    return found, bad


def main():
    if sys.argv[1] == '--child':
        seed, first, last, folder, name, seconds = sys.argv[2:]
        return child(seed, int(first), int(last), folder, name, int(seconds))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('count', type=int)
    parser.add_argument('--seed', default='0')
    parser.add_argument('--loader', default='ours', choices=('ours', 'torch', 'unsafe'))
    parser.add_argument('--keep', help='a folder for the files that must not be')
    options = parser.parse_args()
    found, bad = run(options.count, options.seed, options.loader, options.keep)
    totals = collections.Counter()
    for (_, what), count in found.items():
        totals[what] += count
    for what, count in totals.most_common():
        print(f'{count:7}  {what}')
    accepted = sum(count for what, count in totals.items() if what.startswith('accepted'))
    rejected = sum(count for what, count in totals.items() if what.startswith('rejected'))
    print(f'{options.count} files: {rejected} rejected, {accepted} accepted, {len(bad)} bad')
    for index, what in list(bad.items())[:20]:
        print(f'  {index}: {what}')
    return bool(bad)


if __name__ == '__main__':
    sys.exit(main())
