"""Output that cannot be written: it is said once, and training goes on."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
from typing import Any


def show(text: str) -> None:
    """Print a text without an end of line, wherever standard output leads.

    Args:
        text: The text.
    """
    try:
        print(text, end='')
    except OSError as error:
        _go_on(sys.stdout, error, 'standard output')


def guard(logger: logging.Logger) -> None:
    """Have the plain handlers of a logger not fail at a character, a full disk or a closed pipe.

    Args:
        logger: The logger. Handlers that are more than Python's own keep their ways.
    """
    for handler in logger.handlers:
        plain = type(handler) in (logging.StreamHandler, logging.FileHandler)
        if plain and 'handleError' not in vars(handler):
            handler.handleError = functools.partial(_survive, handler)  # type: ignore[method-assign]


def _survive(handler: Any, record: logging.LogRecord) -> None:
    """Take the place of ``handleError``, which is called while an error is handled."""
    error, stream = sys.exc_info()[1], handler.stream
    if isinstance(error, UnicodeEncodeError):
        with contextlib.suppress(Exception):
            # What this console or file has no character for is written as an escape.
            encoding = stream.encoding or 'ascii'
            text = handler.format(record) + handler.terminator
            stream.write(text.encode(encoding, 'backslashreplace').decode(encoding))
            handler.flush()
            return
    if isinstance(error, OSError) or getattr(stream, 'closed', False):
        _go_on(stream, error, getattr(handler, 'baseFilename', 'standard output'))
    else:
        type(handler).handleError(handler, record)


_said: set[tuple[str, str]] = set()


def _go_on(stream: Any, error: Any, name: str) -> None:
    if isinstance(error, BrokenPipeError):
        # As Python advises: what else is printed, and what is left at the end, would fail too.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    reason = getattr(error, 'strerror', None) or str(error)
    if (name, reason) in _said:
        return
    _said.add((name, reason))
    with contextlib.suppress(Exception):
        print(f'Cannot write to {name}: {reason}. Training goes on.', file=sys.stderr, flush=True)
