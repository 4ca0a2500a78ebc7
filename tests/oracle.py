"""Runs the same script over real nncore.engine and over nncore_compat.

A script sees the package as ``E`` and leaves what is to be compared in ``result``.
"""

import atexit
import functools
import importlib.util
import pickle
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest
from parity.sides import Side

needs_nncore = pytest.mark.skipif(
    importlib.util.find_spec('nncore') is None, reason='nncore is not installed'
)
NAMES = {'real': 'nncore.engine', 'ours': 'nncore_compat'}

HEAD = """\
import importlib, sys
E = importlib.import_module({name!r})
"""
TAIL = """
if __name__ == '__main__':
    import pickle
    with open(sys.argv[2], 'wb') as file:
        pickle.dump(result, file)
"""
# As python -W ignore.
QUIET = "import warnings; warnings.simplefilter('ignore')"


@functools.cache
def driver(side: str) -> Side:
    """The process that scripts of a side are forked from, which has imported everything."""
    if side == 'real' and importlib.util.find_spec('nncore') is None:
        pytest.skip('nncore is not installed')
    folder = tempfile.TemporaryDirectory()
    log = Path(folder.name, 'log')
    # Forked children may use a GPU, as nothing that is imported before touches one.
    started = Side(side == 'real', log, plain=side == 'ours', gpus=None)
    atexit.register(folder.cleanup)
    atexit.register(started.close)
    return started


def results(sides: tuple[str, ...], code: str, env: dict[str, str]) -> list[Any]:
    """What a script leaves on each of some sides, which run it at the same time."""
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for side in sides:
            script, out = (Path(folder, f'{side}.{end}') for end in ('py', 'pickle'))
            script.write_text(HEAD.format(name=NAMES[side]) + textwrap.dedent(code) + TAIL)
            one = driver(side)
            one.start(script, Path(folder, side), [out], env=env, prelude=QUIET)
            running.append((one, out, Path(folder, f'{side}.stderr')))
        codes = [one.wait() for one, *_ in running]
        for status, (_, _, stderr) in zip(codes, running, strict=True):
            assert status == 0, stderr.read_text()
        return [pickle.loads(out.read_bytes()) for _, out, _ in running]


def run(side: str, code: str, **env: str) -> Any:
    """Return what the script leaves in ``result`` in a process of its own.

    Args:
        side: 'real' or 'ours'.
        code: The script.
        **env: More environment variables.
    """
    return results((side,), code, env)[0]


def both(code: str, **env: str) -> tuple[Any, Any]:
    """Return the results of real nncore and of nncore_compat.

    Args:
        code: The script.
        **env: More environment variables.
    """
    real, ours = results(('real', 'ours'), code, env)
    return real, ours
