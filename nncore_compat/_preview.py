"""What a launch shows instead of training, if anything; child processes follow."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec

ENV = 'NNCORE_COMPAT_PREVIEW'
PLOT = 'NNCORE_COMPAT_PLOT_LR'

TIMELINE = 'timeline'
PLAN = 'dry-run'
# What matplotlib can write, and a page of ours around its svg.
FORMATS = ('png', 'svg', 'pdf', 'html', 'jpg', 'jpeg', 'webp', 'tif', 'tiff', 'eps', 'ps')


def ask(what: str) -> None:
    """Have every engine of this process and of its children show something at its launch.

    Args:
        what: ``TIMELINE`` or ``PLAN``.
    """
    os.environ[ENV] = what


def asked() -> str | None:
    """Return what is to be shown, None to train."""
    return os.environ.get(ENV) or None


def draw_to(file: str) -> None:
    """Have the plan's learning rates drawn to a file; this asks for the plan too.

    Args:
        file: The file.

    Raises:
        ValueError: It cannot be drawn, or not there.
    """
    check_figure(file, '--plot-lr')
    # The script may be about to change to another folder.
    os.environ[PLOT] = os.path.abspath(os.path.expanduser(file))
    ask(PLAN)


def figure_file() -> str | None:
    """Return the file to draw the learning rates to, if that was asked for."""
    return os.environ.get(PLOT) or None


def check_figure(file: str | os.PathLike[str], where: str) -> None:
    """Refuse a file that no figure can be written to, and any if there is no matplotlib.

    Args:
        file: The file.
        where: What it was given to, for the message.

    Raises:
        ValueError: It has no ending of ``FORMATS``, its folder is missing, or matplotlib is.
    """
    path = os.path.abspath(os.path.expanduser(os.fspath(file)))
    kind = os.path.splitext(path)[1][1:].lower()
    if kind not in FORMATS:
        accepted = ', '.join(f'.{name}' for name in FORMATS)
        raise ValueError(f'{where}: {os.fspath(file)!r} must end with one of {accepted}')
    if not os.path.isdir(os.path.dirname(path)):
        raise ValueError(f'{where}: there is no folder {os.path.dirname(path)}')
    if find_spec('matplotlib') is None:
        raise ValueError(
            f"{where} draws with matplotlib, which is missing: pip install 'nncore-compat[plot]'"
        )


def at_prompt() -> bool:
    """Tell whether a launch goes back to a prompt, as in a notebook."""
    return hasattr(sys, 'ps1') and not _in_script


@contextlib.contextmanager
def in_script() -> Iterator[None]:
    """Have launches end the script that runs meanwhile, though there is a prompt after it."""
    global _in_script
    _in_script = True
    try:
        yield
    finally:
        _in_script = False


_in_script = False
# Whether a launch of this process has shown its plan.
shown = False
