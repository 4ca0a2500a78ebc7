"""What came out of a comparison, in lines."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata

from .. import quirks
from . import words
from .display import plural
from .trace import Difference, Trace

Names = tuple[str, str]


def identical(real: Trace, ours: Trace, names: Names) -> list[str]:
    """Say that two runs are, and over how much.

    Args:
        real: The run under nncore.
        ours: The one under us.
        names: What the two are called.
    """
    counts = (
        (real.trained, 'iteration'),
        (validations := real.count(what='epoch', mode='val'), 'validation'),
        (real.count(what='epoch', mode='test'), 'test'),
        (real.count(what='hook', at='end'), 'hook call'),
    )
    parts = [plural(number, word) for number, word in counts if number]
    parts.append('weights to the bit' if real.trained else 'results to the bit')
    lines = [f'identical: {", ".join(parts)}']
    if not validations and real.trained:
        lines.append('  no validation: the stage has none, or the script ended before it')
    lines += conditions(real, ours, names)
    if ours.met:
        lines.append(f'  quirks met that made no difference so far: {", ".join(ours.met)}')
    return lines


def different(found: Difference, values: Sequence[str], names: Names) -> list[str]:
    """Say where two runs part, with both values, and what was compared before.

    Args:
        found: Where.
        values: What tells two tensors apart, if they were kept.
        names: What the two are called.
    """
    lines = words.difference(found, names)
    if found.changes:
        change = found.changes[0]
        both = list(values) or [f'{names[0]} {change.nncore}', f'{names[1]} {change.ours}']
        if not values and words.has_tensor(change):
            both += ['(#... is a checksum of all values)']
        lines += [f'    {one}' for one in both]
        rest = words.others(found.changes)
        lines += [rest] if rest else []
    done = plural(found.iterations, 'iteration'), plural(found.hook_calls, 'hook call')
    return [*lines, f'  identical up to there: {", ".join(done)}']


def conditions(real: Trace, ours: Trace, names: Names) -> list[str]:
    """Say what the two ran on, with arguments as for `identical`."""
    device, own = real.notes.get('device'), ours.notes.get('device')
    where = f'both on {device}' if device == own else f'on {device} and on {own}'
    torch = metadata.version('torch')
    return [
        f'  {" and ".join(names)}, torch {torch}, Python {platform.python_version()},',
        f'  {where}, both with the same random seeds where the script gives none',
    ]


def explained(
    causes: Sequence[str], on: Sequence[str], met: Sequence[str], until: str = ''
) -> list[str]:
    """Say which quirks are the cause.

    Args:
        causes: These.
        on: The quirks that were switched on.
        met: Those that the run has met.
        until: How far it is identical with them, in words, if not to the end.
    """
    lines = [
        f'explained by the quirk{"s" if len(causes) > 1 else ""} {" and ".join(causes)}: '
        f'identical with --quirks {",".join([*on, *causes])}{until}',
        *(f'  {name}: in nncore 0.4.7, {quirks.QUIRKS[name]}' for name in causes),
    ]
    harmless = [name for name in met if name not in causes]
    if harmless:
        lines.append(f'  also met, without being the cause: {", ".join(harmless)}')
    return lines


def unexplained(repeats: bool, real: Trace) -> list[str]:
    """Say what a difference that no quirk explains may come from.

    Args:
        repeats: Whether nncore does the same each time.
        real: The run under nncore.
    """
    if repeats:
        return [
            'no quirk explains it, and nncore does the same each time: please report it, '
            'with the script and all that is written here'
        ]
    lines = [
        'the script does not do the same twice under nncore itself: what differs is '
        'not the engine, but the time, an order or a random number'
    ]
    if 'cuda' in str(real.notes.get('device')):
        lines.append(
            '  on a GPU, torch.use_deterministic_algorithms(True) helps, with the '
            'environment variable CUBLAS_WORKSPACE_CONFIG=:4096:8'
        )
    return lines
