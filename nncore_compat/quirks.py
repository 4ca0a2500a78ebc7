"""Behaviour of nncore 0.4.7 that contradicts its documentation, by name.

nncore_compat does what the documentation says. A result that was obtained with 0.4.7 itself may
depend on what 0.4.7 really does: `--quirks NAME,...` of the runner, the environment variable
NNCORE_COMPAT_QUIRKS or `nncore_compat.quirks.enable('NAME,...')` brings that back, one name per
difference, `all` for every one of them. Child processes follow, through the environment variable.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine import Engine

ENV = 'NNCORE_COMPAT_QUIRKS'

QUIRKS = {
    'hook-defaults': (
        'all events that a hook does not define call one and the same fall-back, mostly '
        'after_iter, so that before_epoch, after_epoch and before_iter hardly ever run'
    ),
    'skip-stage-end-validation': 'the last epoch of every stage but the last is not validated',
    'validation-offset': (
        'epochs count from the beginning of the stage, so that interval=2, offset=1 validates '
        'epochs 2, 4, 6 and not 3, 5, 7'
    ),
    'eval-interval': (
        'EvalHook(interval=n) evaluates one epoch early (after epochs n-1, 2n-1, ...)'
    ),
    'inexact-resume': (
        'a resumed run begins with the epoch after the checkpoint, with an empty buffer, new '
        'hooks and whatever random numbers come next, without the validation that was due'
    ),
    'single-loader': 'Engine(model, loader) iterates a bare loader once before training',
    'silent-failure': (
        'when an error ends a run, its log does not say so, and hooks do not get after_launch'
    ),
}

_active: frozenset[str] | None = None


def _parse(spec: str, where: str = '') -> frozenset[str]:
    spec = spec.strip()
    if spec in ('', 'none'):
        return frozenset()
    if spec == 'all':
        return frozenset(QUIRKS)
    names = [name.strip() for name in spec.split(',')]
    for name in names:
        if name not in QUIRKS:
            near = difflib.get_close_matches(name, QUIRKS, n=1)
            hint = f': did you mean {near[0]!r}?' if near else '.'
            accepted = ', '.join(QUIRKS)
            raise ValueError(
                f'unknown quirk {name!r}{where}{hint} '
                f"Accepted: 'all', 'none', or a comma-separated list of {accepted}"
            )
    return frozenset(names)


def enable(spec: str) -> None:
    """Choose the quirks of this process and of its future children.

    Args:
        spec: 'all', 'none' or comma-separated names of `QUIRKS`. It replaces the earlier choice.

    Raises:
        ValueError: A name is not in `QUIRKS`.

    Examples:
        >>> quirks.enable('eval-interval')
        >>> quirks.active('eval-interval'), quirks.active('hook-defaults')
        (True, False)
    """
    global _active
    _active = _parse(spec)
    os.environ[ENV] = spec.strip() or 'none'


def active(name: str) -> bool:
    """Tell whether a quirk is switched on.

    Args:
        name: A key of `QUIRKS`.

    Returns:
        True if nncore 0.4.7's behaviour was asked for.

    Raises:
        ValueError: The environment variable, read at the first call, holds an unknown name.

    Examples:
        >>> quirks.active('hook-defaults')
        False
    """
    global _active
    if _active is None:
        _active = _parse(os.environ.get(ENV, ''), f' (environment variable {ENV})')
    return name in _active


def met(name: str, engine: Engine, message: str, ahead: bool = False) -> None:
    """Report, once in an engine's log, that it differs from nncore 0.4.7 because of a fixed quirk.

    Nothing is reported while the quirk is switched on. Each launch that meets it counts it.

    Args:
        name: A key of `QUIRKS`.
        engine: The engine.
        message: What it does instead, in its own terms.
        ahead: Whether it is met between launches, and counts for the training that is to come.

    Examples:
        >>> quirks.met('single-loader', engine, 'taking the loader as it is')
    """
    if active(name):
        return
    if name not in engine._quirks_of_launch:
        engine._quirks_of_launch = (*engine._quirks_of_launch, name)
    if ahead and name not in engine._quirks_ahead:
        engine._quirks_ahead = (*engine._quirks_ahead, name)
    if name in engine._quirks_met:
        return
    engine._quirks_met = (*engine._quirks_met, name)
    engine.logger.info(
        f'{message} (nncore 0.4.7: {QUIRKS[name]}; `--quirks {name}` brings that back)'
    )


def sum_up(engine: Engine) -> None:
    """Say at the end of a run which quirks it has met; nothing if it runs with all of them.

    Args:
        engine: The engine.

    Examples:
        >>> quirks.sum_up(engine)  # one line in its log
    """
    if all(map(active, QUIRKS)):
        return
    text = 'Quirks of nncore 0.4.7 that would have changed this run: '
    if engine._quirks_of_launch:
        engine.logger.info(text + ', '.join(engine._quirks_of_launch))
    elif engine.logger.isEnabledFor(logging.INFO):
        # Not in the log, which is line for line that of nncore then. A run may end because nobody
        # reads what it says, and is to end by that.
        with contextlib.suppress(OSError, ValueError):
            print(f'nncore_compat: {text}none', file=sys.stderr)
