"""The list of hooks and Lightning callbacks: what a name stands for, and where a new one goes."""

from __future__ import annotations

from collections import OrderedDict
from difflib import get_close_matches
from typing import Any

from ._registry import HOOKS
from .builder import build_hook
from .hooks.base import Hook


def build(cfg: dict[str, Any] | str, **kwargs: Any) -> Any:
    """Build a hook, or a callback where no hook has that name.

    Args:
        cfg: The config or the name.
        **kwargs: Arguments that go over those of the config.

    Raises:
        KeyError: The config has no ``type``.
        ValueError: There is neither a hook nor a callback of that name.
    """
    name = cfg if isinstance(cfg, str) else cfg.get('type')
    if not isinstance(name, str) or name in HOOKS:
        return build_hook(cfg, **kwargs)
    # Lightning is not imported before it is asked for.
    from ._lightning.lookup import build_callback

    return build_callback(cfg, **kwargs)


def name_for(hook: Any, hooks: OrderedDict[str, Any]) -> str:
    """Return the name that a hook or callback has, or is to have, in the list.

    A hook has its own. A callback has that of its class, with a number after it ('Timer_2') where
    the list has another one that Lightning would keep beside it: see `_lightning.lookup.name_for`.

    Raises:
        TypeError: It is neither.
        ValueError: It is a callback that cannot work here.
    """
    if isinstance(hook, Hook):
        return hook.name
    from ._lightning import lookup

    return lookup.name_for(hook, hooks)


def insert(
    hooks: OrderedDict[str, Any], name: str, hook: Any, before: str | None, overwrite: bool
) -> None:
    """Insert a hook or callback, all or nothing.

    Args:
        hooks: The list by name, changed in place.
        name: The name of the new one.
        hook: The new one.
        before: Name of the one that it goes before; if None the place of the one it overwrites,
            else the one that it wants, else the end.
        overwrite: Whether it may replace one of the same name.

    Raises:
        KeyError: There is one of that name, and ``overwrite`` is False.
        ValueError: There is none named ``before``.
    """
    names = list(hooks)
    if name in names and not overwrite:
        raise KeyError(f"hook '{name}' exists, and overwrite is False")
    if before is not None and before not in names and before != name:
        raise ValueError(_not_found(before, names))

    others = [one for one in names if one != name]
    place = len(others)
    if before in others:
        place = others.index(before)
    elif before is None and name in names:
        place = names.index(name)
    elif before is None and getattr(hook, '_goes_before', None) in others:
        place = others.index(hook._goes_before)
    ordered = [(one, hooks[one]) for one in others]
    ordered.insert(place, (name, hook))
    hooks.clear()
    hooks.update(ordered)


def remove(hooks: OrderedDict[str, Any], hook: Any) -> None:
    """Remove a hook or callback.

    Args:
        hooks: The list by name, changed in place.
        hook: The object or its name.

    Raises:
        KeyError: It is not in the list.
    """
    name = hook.name if isinstance(hook, Hook) else hook
    if not isinstance(name, str):
        name = next((one for one, other in hooks.items() if other is hook), None)
        if name is None:
            raise KeyError(f'hook {hook!r} not found (registered: {", ".join(hooks)})')
    if name not in hooks:
        raise KeyError(_not_found(name, list(hooks)))
    del hooks[name]


def _not_found(name: str, names: list[str]) -> str:
    near = get_close_matches(str(name), names, n=1)
    hint = f', did you mean {near[0]!r}?' if near else ''
    return f"hook '{name}' not found{hint} (registered: {', '.join(names)})"
