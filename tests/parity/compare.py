"""Compares what two runs of one script left behind, field by field, at zero tolerance."""

import json
import re
import struct
from itertools import zip_longest
from pathlib import Path

import torch

from parity.masks import mask_meta, mask_name, mask_text, mask_timings

SHOWN = 6
# Words of one side that the other rightly does not say: nncore calls a deprecated class (a
# warning and the line it points at) and is given a stand-in of torchvision, and we say when a hook
# is lost to another's name, or is called where nncore never calls it.
PECULIAR = re.compile(
    r'nncore/engine/hooks/optimizer\.py:\d+: FutureWarning|^  self\.scaler = GradScaler\($'
    r"|^\[INFO\]: 'ClosureHook' replaces the one registered before|^torchvision  +"
    r'|^\[INFO\]: events fall back to before_epoch'
    # On the streams where there is none, in the log otherwise.
    r'|^(nncore_compat|\[INFO\]): Quirks of nncore 0.4.7 that would have changed this run: '
    r'(none|hook-defaults)$'
)


def compare_runs(reference, ours):
    """Compare two output folders and the streams beside them.

    Args:
        reference: Output folder of the run that is right by definition.
        ours: Output folder of the other run.

    Returns:
        A list of readable differences, empty if there is none.
    """
    left, right = (_files(Path(folder)) for folder in (reference, ours))
    found = [f'{name}: only in the reference run' for name in left if name not in right]
    found += [f'{name}: only in our run' for name in right if name not in left]
    for name in left:
        if name not in right:
            continue
        compare = next((c for end, c in KINDS.items() if name.rstrip('#').endswith(end)), _bytes)
        differences = list(compare(left[name], right[name]))
        found += [f'{name}: {text}' for text in differences[:SHOWN]]
        if len(differences) > SHOWN:
            found.append(f'{name}: ... and {len(differences) - SHOWN} more')
    ends = [_stream_names(Path(folder)) for folder in (reference, ours)]
    found += [f'{end}: in one run only' for end in sorted(ends[0] ^ ends[1])]
    for end in sorted(ends[0] & ends[1]):
        streams = [_lines(Path(f'{folder}.{end}'), folder) for folder in (reference, ours)]
        found += [f'{end}: {text}' for text in list(_sequences(*streams))[:SHOWN]]
    return found


def compare_values(left, right, where=''):
    """Yield the differences of two nested values; numbers and tensors are compared bit by bit."""
    if isinstance(left, dict) and isinstance(right, dict):
        if list(left) != list(right):
            yield f'{where} keys: {list(left)} != {list(right)}'
        for key in left:
            if key in right:
                yield from compare_values(left[key], right[key], f'{where}[{key!r}]')
    elif isinstance(left, torch.optim.Optimizer):
        # Kept as an object in meta.stages; ours is its config, so that the file loads safely.
        yield from compare_values(dict(type=type(left).__name__, **left.defaults), right, where)
    elif type(left) is not type(right):
        yield f'{where}: {left!r} ({type(left).__name__}) != {right!r} ({type(right).__name__})'
    elif isinstance(left, (list, tuple)):
        if len(left) != len(right):
            yield f'{where} length: {len(left)} != {len(right)}'
        for index, pair in enumerate(zip(left, right, strict=False)):
            yield from compare_values(*pair, f'{where}[{index}]')
    elif isinstance(left, torch.Tensor):
        if not _same_tensor(left, right):
            yield f'{where}: {_sketch(left)} != {_sketch(right)}'
    elif isinstance(left, float):
        if struct.pack('d', left) != struct.pack('d', right):
            yield f'{where}: {left!r} != {right!r}'
    elif left != right:
        yield f'{where}: {left!r} != {right!r}'


def _same_tensor(left, right):
    if (left.dtype, left.shape) != (right.dtype, right.shape):
        return False
    left, right = (t.detach().reshape(-1).contiguous().view(torch.uint8) for t in (left, right))
    return torch.equal(left, right)


def _sketch(tensor):
    head = ', '.join(map(str, tensor.reshape(-1)[:3].tolist()))
    return f'{tensor.dtype} {list(tensor.shape)} [{head}, ...]'


def _files(folder):
    """The files of a run by masked name; `#` sets apart those that share one."""
    files = {}
    for path in sorted(p for p in folder.rglob('*') if p.is_file() or p.is_symlink()):
        name = mask_name(str(path.relative_to(folder)))
        if name.startswith('wandb/'):
            # The format of wandb's own files is wandb's business.
            name = '/'.join(name.split('/')[:2])
            if name in files or 'offline-run' not in name:
                continue
            path = Path('/dev/null')
        while name in files:
            name += '#'
        files[name] = path
    return files


def _stream_names(folder):
    """What the streams beside a folder are called: `stdout`, of a second process `1.stdout`."""
    pattern = re.compile(re.escape(folder.name) + r'\.((?:\d+\.)?std(?:out|err))')
    found = (pattern.fullmatch(path.name) for path in folder.parent.iterdir())
    return {match[1] for match in found if match}


def _sequences(left, right):
    for index, (a, b) in enumerate(zip_longest(left, right)):
        if a != b:
            yield f'line {index + 1}:\n    reference: {a}\n    ours:      {b}'


def _lines(path, folder):
    # Read without newline translation: a progress bar is told by its carriage returns.
    lines = mask_text(path.read_bytes().decode(), folder).split('\n')
    return [line for line in lines if not PECULIAR.search(line)]


def _run_folder(path):
    """The output folder that a file lies in: the one with the streams beside it."""
    return next(p for p in path.parents if Path(f'{p}.stdout').exists())


def _log(left, right):
    yield from _sequences(*(_lines(path, _run_folder(path)) for path in (left, right)))


def _json_lines(left, right):
    rows = [[json.loads(line) for line in p.read_text().splitlines()] for p in (left, right)]
    if len(rows[0]) != len(rows[1]):
        yield f'{len(rows[0])} lines != {len(rows[1])} lines'
    for index, pair in enumerate(zip(*rows, strict=False)):
        yield from compare_values(*map(mask_timings, pair), f'line {index + 1}')


def _tensors(left, right):
    if left.is_symlink() or right.is_symlink():
        links = [path.readlink() if path.is_symlink() else None for path in (left, right)]
        if links[0] != links[1]:
            yield f'link to {links[0]} != {links[1]}'
        return
    # Files of these very runs, which hold an optimizer as an object in one script.
    values = [torch.load(p, weights_only=False, map_location='cpu') for p in (left, right)]
    yield from compare_values(*map(mask_meta, values))


def _events(left, right):
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    events = []
    for path in (left, right):
        rows = LegacyEventFileLoader(str(path)).Load()
        events.append([(e.step, e.summary.SerializeToString(True), str(e.summary)) for e in rows])
    if len(events[0]) != len(events[1]):
        yield f'{len(events[0])} events != {len(events[1])} events'
    for index, (a, b) in enumerate(zip(*events, strict=False)):
        if a[:2] != b[:2]:
            yield f'event {index}: step {a[0]} {a[2][:200]!r} != step {b[0]} {b[2][:200]!r}'


def _trace(left, right):
    """Only the first record that differs is worth reading: the others follow from it."""
    rows = [json.loads(path.read_text()) for path in (left, right)]
    before = 'the start'
    for index, (a, b) in enumerate(zip_longest(*rows)):
        if a == b:
            before = _title(a)
            continue
        text = f'record {index} of {len(rows[0])} (ours has {len(rows[1])}), after {before}:'
        text += f'\n    reference: {_title(a)}\n    ours:      {_title(b)}'
        if a and b and _title(a) == _title(b):
            for key in {**a, **b}:
                if a.get(key) != b.get(key):
                    text += f'\n    {key}: {a.get(key)!r} != {b.get(key)!r}'
        yield text
        return


def _title(row):
    if not row:
        return 'nothing'
    return ' '.join(str(row[k]) for k in ('what', 'by', 'epoch', 'iter') if k in row)


def _bytes(left, right):
    if left.read_bytes() != right.read_bytes():
        yield f'{left.read_bytes()[:200]!r} != {right.read_bytes()[:200]!r}'


KINDS = {
    'trace.json': _trace,
    '.json': _json_lines,
    '.log': _log,
    '.pth': _tensors,
    '.pt': _tensors,
    'events.out.tfevents': _events,
}
