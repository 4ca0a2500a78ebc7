"""Errors that say where in the configuration they come from."""

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
        if kind not in (KeyError, TypeError, ValueError) or where in str(error):
            raise
        message = error.args[0] if error.args else ''
        raise kind(f'{where}: {message}') from error
    except ArithmeticError as error:
        raise ValueError(f'{where}: {error}') from error
