"""A launch that shows its plan instead of training."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

from .. import _preflight, _preview
from .._preflight import Problem
from ..comm import is_main_process
from .chart import PLAIN
from .planner import plan
from .text import problems

if TYPE_CHECKING:
    from ..engine import Engine


def show(engine: Engine, eval: bool | str, resume: Any) -> None:
    """Print the plan of a launch, draw its learning rates if that was asked for, and exit.

    Args:
        engine: The engine.
        eval: What ``launch`` was given.
        resume: What ``launch`` was given.

    Raises:
        SystemExit: With code 1 if the run would fail, else 0. Not at a prompt, to which the launch
            returns.
        ValueError: At a prompt, the run would fail.
    """
    known = _preflight.take()
    # With anything refused, it would be a plan of what is left.
    whole = not any(problem.fatal for problem in known)
    made = plan(engine, eval=eval, resume=resume, problems=known)
    drawn, file = '', _preview.figure_file()
    if file is not None and whole and is_main_process():
        try:
            made.plot(file)
            drawn = f'\n\nThe learning rates are drawn to {file}'
        except (ValueError, OSError) as error:
            made.problems.insert(0, Problem(f'--plot-lr: {error}'))
    if is_main_process():
        width = min(100, max(60, shutil.get_terminal_size().columns))
        text = made.text(width) if whole else problems(made.problems, width)
        _print(f'{text}{drawn}\n\nThis was a dry run: nothing was trained.')
    _preview.shown = True
    if not _preview.at_prompt():
        raise SystemExit(0 if made.ok else 1)
    if not made.ok:
        raise ValueError('training would fail: see the errors above')


def _print(text: str) -> None:
    try:
        text.encode(sys.stdout.encoding or 'ascii')
    except UnicodeEncodeError:
        text = text.translate(PLAIN)
    print(text, flush=True)
