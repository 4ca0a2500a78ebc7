"""The most memory that a process has had."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


def peak(spec: dict[str, Any]) -> dict[str, float]:
    """Megabytes that a fresh process has held at most when a training is over."""
    importlib.import_module(f'benchmarks.contestants.{spec["kind"]}').train(spec)
    return {'peak': _peak() / 2**20}


def _peak() -> float:
    # ru_maxrss may be that of the parent, before exec
    status = Path('/proc/self/status')
    if status.exists():
        lines = status.read_text().splitlines()
        return 1024 * float(next(line.split()[1] for line in lines if line.startswith('VmHWM')))
    import resource

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size * (1 if sys.platform == 'darwin' else 1024)
