import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(find_spec('nncore_compat').origin).parents[1]


@pytest.fixture
def root() -> Path:
    """The folder that holds the package."""
    return ROOT


@pytest.fixture
def write(tmp_path):
    """Write files below the test's folder: write({'pkg/mod.py': source})."""

    def write(files: dict[str, str]) -> Path:
        for name, source in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source))
        return tmp_path

    return write


@pytest.fixture
def python(tmp_path):
    """Run the interpreter in the test's folder, with the package on PYTHONPATH after `paths`."""

    def python(*args, paths=(ROOT,), cwd=tmp_path, stdin='', **env):
        inherited = {k: v for k, v in os.environ.items() if not k.startswith('NNCORE_COMPAT')}
        inherited.pop('PYTHONPATH', None)
        if paths:
            inherited['PYTHONPATH'] = os.pathsep.join(map(str, paths))
        return subprocess.run(
            [sys.executable, *map(str, args)],
            cwd=cwd,
            env={**inherited, 'OMP_NUM_THREADS': '1', **env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return python
