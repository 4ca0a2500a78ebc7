"""Keeps Lightning's tips and notices out of the user's log."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any

LOGGERS = ('lightning.pytorch', 'lightning.fabric', 'lightning')
# Warnings about choices that are nncore's, or ours on purpose.
MESSAGES = (
    r'.*does not have many workers which may be a bottleneck.*',
    r'.*returned 0 length.*',
    r'.*is smaller than the logging interval.*',
    r'Found .* module\(s\) in eval mode at the start of training.*',
    r'.*`isinstance\(treespec, LeafSpec\)` is deprecated.*',
    r'.*GPU available but not used.*',
    r'.*MPS available but not used.*',
)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Silence Lightning's loggers and the warnings that do not apply, then put all back."""
    levels = [(logging.getLogger(name), logging.getLogger(name).level) for name in LOGGERS]
    # Not by filterwarnings: it has Python forget which of the user's warnings were shown already.
    added = [('ignore', re.compile(text, re.IGNORECASE), Warning, None, 0) for text in MESSAGES]
    _filters()[:0] = added
    for logger, _ in levels:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        # Only what was put in is taken out: a hook may have set filters to stay.
        for entry in added:
            if entry in _filters():
                _filters().remove(entry)
        for logger, level in levels:
            logger.setLevel(level)


def _filters() -> list[Any]:
    # A hook may have put another list in place.
    return warnings.filters  # type: ignore[return-value]
