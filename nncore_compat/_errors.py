"""Errors that say where in the configuration they come from, and what errors say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Put a place before the message of an error.

    Args:
        where: The place, e.g. ``stages[1].optimizer``.

    Raises:
        KeyError, TypeError, ValueError: As it was raised inside, with the place.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        kind = type(error)
        if kind not in (KeyError, TypeError, ValueError) or where in said(error):
            raise
        message = said(error.args[0]) if error.args else ''
        raise kind(f'{where}: {message}') from error
    except ArithmeticError as error:
        raise ValueError(f'{where}: {said(error)}') from error


def said(error: object) -> str:
    """Return what an error says, or one of its arguments, even if it cannot say it.

    Args:
        error: The error. Its ``__str__`` may fail, and is not to cost what an error brings about.
    """
    try:
        return str(error)
    except Exception as failure:
        return f'<no text: its __str__ raises {type(failure).__name__}>'
