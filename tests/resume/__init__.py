"""Runs that are interrupted and go on, compared with runs that are left alone."""

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def environment(**more: object) -> dict[str, str]:
    """The environment of a process of its own: one thread, and the modules of the tests."""
    paths = os.pathsep.join(map(str, (TESTS.parent, TESTS)))
    own = {'OMP_NUM_THREADS': 1, 'PYTHONPATH': paths, **more}
    return {**os.environ, **{key: str(value) for key, value in own.items()}}
