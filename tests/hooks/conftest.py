"""Runs the scenarios: once with real nncore in a process of its own, and with ours in this one."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import nncore_compat
from nncore_compat import quirks

from . import scenarios

TESTS = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def restored_quirks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins without quirks."""
    monkeypatch.delenv(quirks.ENV, raising=False)
    monkeypatch.setattr(quirks, '_active', frozenset())


@pytest.fixture(scope='session')
def reference_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where real nncore has run all scenarios."""
    if find_spec('nncore') is None:
        pytest.skip('nncore is not installed')
    folder = tmp_path_factory.mktemp('reference')
    paths = (TESTS / 'reference', TESTS)
    env = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'PYTHONPATH': os.pathsep.join(map(str, paths)),
    }
    command = [sys.executable, '-W', 'ignore', '-m', 'hooks.scenarios', str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope='session')
def reference(reference_folder: Path) -> dict[str, Any]:
    """What real nncore did, by scenario."""
    return pickle.loads((reference_folder / 'results').read_bytes())


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Returns what nncore_compat does in a scenario, with all quirks."""

    def run(name: str) -> Any:
        monkeypatch.setattr(quirks, '_active', frozenset(quirks.QUIRKS))
        return getattr(scenarios, name)(nncore_compat, tmp_path)

    return run
