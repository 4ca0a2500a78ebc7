"""The command, from its arguments to its exit code."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .session import Session, give_up

INTERRUPTED = 130


def run(count: int, target: list[str]) -> int:
    """Compare a script under nncore with itself under us, and print what came out.

    Args:
        count: How many training iterations.
        target: The script, or `-m` and a module, and its arguments.

    Returns:
        0 if the two are identical, 1 if not, 2 if they could not be compared, 130 after Ctrl-C.
    """
    if find_spec('nncore') is None:
        python = ' (it does not build on Python 3.13)' if sys.version_info >= (3, 13) else ''
        return give_up(f"nncore is not installed: pip install 'nncore-compat[nncore]'{python}")
    with _folder() as folder, _terminating():
        session = Session(folder, count, target)
        try:
            return session.compare()
        except KeyboardInterrupt:
            session.display.clear()
            print('interrupted: nothing was compared to the end', file=sys.stderr)
            return INTERRUPTED
        finally:
            session.tell_of_files()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix='nncore-compat-verify-'))
    try:
        yield path
    finally:
        # Whatever stands in the way of that is not what was asked for.
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """End the script with us, and put its files back, when we are told to end."""

    def end(*_: Any) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
