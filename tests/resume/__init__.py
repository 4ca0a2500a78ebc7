"""Runs that are interrupted and go on, compared with runs that are left alone."""

import os

from paths import ROOT, TESTS, python_path


def environment(**more: object) -> dict[str, str]:
    """The environment of a process of its own: one thread, and the modules of the tests."""
    own = {'OMP_NUM_THREADS': 1, 'PYTHONPATH': python_path(ROOT, TESTS), **more}
    return {**os.environ, **{key: str(value) for key, value in own.items()}}
