"""Argument checks that several hooks share."""

from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral
from typing import Any

from .base import HOOK_NAMES


def check_events(names: Iterable[Any], where: str) -> None:
    """Raises a ValueError when one of the names is no event."""
    for name in names:
        if name in HOOK_NAMES:
            continue
        near = get_close_matches(str(name), HOOK_NAMES, n=1)
        hint = f' Did you mean {near[0]!r}?' if near else ''
        accepted = ', '.join(map(repr, HOOK_NAMES))
        raise ValueError(f'unknown event {name!r} ({where}).{hint} Accepted: {accepted}')


def check_count(value: Any, where: str, minimum: int | None = 1) -> int:
    """Returns a whole number that is not below the minimum, if there is one.

    Raises:
        ValueError: For anything else.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or (minimum is not None and value < minimum):
        bound = '' if minimum is None else f' of at least {minimum}'
        raise ValueError(f'{where} must be a whole number{bound}, but got {value!r}')
    return value


def check_choice(value: Any, where: str, accepted: tuple[str, ...]) -> None:
    """Raises a ValueError when a value is not one of those that are accepted."""
    if value not in accepted:
        names = ' or '.join(map(repr, accepted))
        raise ValueError(f'{where} must be {names}, but got {value!r}')
