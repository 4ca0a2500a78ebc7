"""Runs the same script over real nncore.engine and over nncore_compat.

A script sees the package as ``E`` and leaves what is to be compared in ``result``.
"""

import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

needs_nncore = pytest.mark.skipif(
    importlib.util.find_spec('nncore') is None, reason='nncore is not installed'
)
HERE = Path(__file__).parent
NAMES = {'real': 'nncore.engine', 'ours': 'nncore_compat'}

HEAD = """\
import importlib, sys
E = importlib.import_module({name!r})
"""
TAIL = """
if __name__ == '__main__':
    import pickle
    with open(sys.argv[1], 'wb') as file:
        pickle.dump(result, file)
"""


def run(side: str, code: str, **env: str) -> Any:
    """Return what the script leaves in ``result`` in a fresh process.

    Args:
        side: 'real' or 'ours'.
        code: The script.
        **env: More environment variables.
    """
    paths = [str(HERE.parent), os.environ.get('PYTHONPATH', '')]
    if side == 'real':
        if importlib.util.find_spec('nncore') is None:
            pytest.skip('nncore is not installed')
        paths.insert(0, str(HERE / 'reference'))
    with tempfile.TemporaryDirectory() as folder:
        script, out = Path(folder, 'script.py'), Path(folder, 'out')
        script.write_text(HEAD.format(name=NAMES[side]) + textwrap.dedent(code) + TAIL)
        variables = {
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'PYTHONPATH': os.pathsep.join(filter(None, paths)),
            **env,
        }
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', str(script), str(out)],
            env=variables,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return pickle.loads(out.read_bytes())


def both(code: str, **env: str) -> tuple[Any, Any]:
    """Return the results of real nncore and of nncore_compat.

    Args:
        code: The script.
        **env: More environment variables.
    """
    with ThreadPoolExecutor(2) as pool:
        real, ours = (pool.submit(run, side, code, **env) for side in ('real', 'ours'))
        return real.result(), ours.result()
