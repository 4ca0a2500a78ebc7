"""The order of hooks: where a new one goes."""

from __future__ import annotations

from collections import OrderedDict
from difflib import get_close_matches

from .hooks.base import Hook


def insert(hooks: OrderedDict[str, Hook], hook: Hook, before: str | None, overwrite: bool) -> None:
    """Insert a hook, all or nothing.

    Args:
        hooks: The hooks by name, changed in place.
        hook: The new one.
        before: Name of the hook that it goes before; if None the place of the one it overwrites,
            else the one that it wants, else the end.
        overwrite: Whether it may replace a hook of the same name.

    Raises:
        KeyError: There is a hook of that name, and ``overwrite`` is False.
        ValueError: There is no hook named ``before``.
    """
    names = list(hooks)
    if hook.name in names and not overwrite:
        raise KeyError(f"hook '{hook.name}' exists, and overwrite is False")
    if before is not None and before not in names and before != hook.name:
        raise ValueError(_not_found(before, names))

    others = [name for name in names if name != hook.name]
    place = len(others)
    if before in others:
        place = others.index(before)
    elif before is None and hook.name in names:
        place = names.index(hook.name)
    elif before is None and hook._goes_before in others:
        place = others.index(hook._goes_before)
    ordered = [hooks[name] for name in others]
    ordered.insert(place, hook)
    hooks.clear()
    hooks.update((one.name, one) for one in ordered)


def remove(hooks: OrderedDict[str, Hook], name: str) -> None:
    """Remove a hook.

    Raises:
        KeyError: There is none of that name.
    """
    if name not in hooks:
        raise KeyError(_not_found(name, list(hooks)))
    del hooks[name]


def _not_found(name: str, names: list[str]) -> str:
    near = get_close_matches(str(name), names, n=1)
    hint = f', did you mean {near[0]!r}?' if near else ''
    return f"hook '{name}' not found{hint} (registered: {', '.join(names)})"
