"""Keeps Lightning's tips and notices out of the user's log."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any

LOGGERS = ('lightning.pytorch', 'lightning.fabric', 'lightning')
# What these say was asked for: tables of a summary or of a profiler, why training stops.
HEARD = ('lightning.pytorch.callbacks', 'lightning.pytorch.loggers', 'lightning.pytorch.profilers')
# Warnings about choices that are nncore's, or ours on purpose.
MESSAGES = (
    r'.*does not have many workers which may be a bottleneck.*',
    r'.*returned 0 length.*',
    r'.*is smaller than the logging interval.*',
    r'Found .* module\(s\) in eval mode at the start of training.*',
    r'.*`isinstance\(treespec, LeafSpec\)` is deprecated.*',
    r'.*GPU available but not used.*',
    r'.*MPS available but not used.*',
    # Metrics are the same on all processes before they are logged.
    r'.*It is recommended to use `self.log.*sync_dist=True.*',
    r'Using ModelCheckpoint with manual optimization and every_n_train_steps.*',
    r"You're using the WeightAveraging callback with a model that overrides the configure_model.*",
)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Silence Lightning's own loggers and the warnings that do not apply, then put all back."""
    loggers = [logging.getLogger(name) for name in (*LOGGERS, *HEARD)]
    levels = [(logger, logger.level) for logger in loggers]
    heard = [(logger, logger.getEffectiveLevel()) for logger in loggers[len(LOGGERS) :]]
    # Not by filterwarnings: it has Python forget which of the user's warnings were shown already.
    added = [('ignore', re.compile(text, re.IGNORECASE), Warning, None, 0) for text in MESSAGES]
    _filters()[:0] = added
    for logger in loggers[: len(LOGGERS)]:
        logger.setLevel(logging.ERROR)
    for logger, level in heard:
        logger.setLevel(level)
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
