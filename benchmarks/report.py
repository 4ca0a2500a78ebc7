"""What was measured, as JSON and as a table in Markdown."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BASES = ('raw', 'nncore')
PACKAGES = ('torch', 'lightning', 'nncore', 'nncore-compat', 'tensorboard', 'numpy')


def summary(case: Any, metric: str, found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Minimum, median and maximum of a metric, and ratios, for every contestant.

    A ratio is the median over the rounds of what a contestant took to what the base took in the
    same round, so that a machine that becomes slower does not count.
    """
    values = {label: [result[metric] for result in results] for label, results in found.items()}
    rows = {}
    for label, own in values.items():
        rows[label] = {
            'min': min(own),
            'median': statistics.median(own),
            'max': max(own),
            **{f'to_{base}': _ratio(own, values[base]) for base in BASES if base in values},
            'rounds': found[label],
        }
    name = case.name if len(case.metrics) == 1 else f'{case.name}: {metric}'
    return {'name': name, 'x': case.x, 'unit': case.unit, 'metric': metric, 'contestants': rows}


def _ratio(own: list[float], base: list[float]) -> float | None:
    ratios = [a / b for a, b in zip(own, base, strict=True) if b]
    return statistics.median(ratios) if ratios else None


def surroundings(device: str) -> dict[str, Any]:
    """Where and with what it was measured."""
    return {
        'date': datetime.datetime.now().astimezone().isoformat(timespec='seconds'),
        'commit': _git('rev-parse', 'HEAD'),
        'changed': bool(_git('status', '--porcelain')),
        'python': platform.python_version(),
        'system': f'{platform.system()} {platform.machine()}',
        'cpu': _cpu(),
        'cores': os.cpu_count(),
        'device': device,
        'threads': 1,
        'load': round(os.getloadavg()[0], 1) if hasattr(os, 'getloadavg') else None,
        'versions': {name: _version(name) for name in PACKAGES},
    }


def _git(*argv: str) -> str | None:
    try:
        done = subprocess.run(['git', '-C', ROOT, *argv], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu() -> str:
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def table(result: dict[str, Any]) -> str:
    """The table, and below it what it was measured with."""
    where = result['surroundings']
    lines = [
        f'**{result["title"]}** ({result["rounds"]} rounds)',
        '',
        '| | contestant | min | median | max | to raw | to nncore |',
        '|---|---|--:|--:|--:|--:|--:|',
    ]
    for case in result['cases']:
        name = case['name']
        for label, row in case['contestants'].items():
            cells = [amount(row[key], case['unit']) for key in ('min', 'median', 'max')]
            ratios = [row.get(f'to_{base}') for base in BASES]
            cells += ['' if ratio is None else f'{ratio:.2f}' for ratio in ratios]
            lines.append(f'| {name} | {label} | {" | ".join(cells)} |')
            name = ''
    versions = ', '.join(f'{name} {text}' for name, text in where['versions'].items() if text)
    lines += [
        '',
        f'{where["cpu"]}, {where["cores"]} cores, one thread per process, {where["device"]}; '
        f'load {where["load"]} at the start; Python {where["python"]}, {versions}; '
        f'{where["date"][:10]}, commit {(where["commit"] or "unknown")[:9]}'
        f'{" with changes" if where["changed"] else ""}.',
    ]
    return '\n'.join([*lines, *(f'\n{note}' for note in result['notes'])]) + '\n'


def amount(value: float, unit: str) -> str:
    """A value with its unit, in three figures."""
    size = 1.0
    if unit == 's':
        units = ((1, 's'), (1e-3, 'ms'), (1e-6, 'µs'))
        size, unit = next((pair for pair in units if abs(value) >= pair[0]), units[-1])
    value /= size
    return (f'{value:.3g} {unit}' if abs(value) < 1000 else f'{value:.0f} {unit}').rstrip()
