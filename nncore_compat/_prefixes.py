"""Names of weights, with and without what wrappers put before them."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# What wraps a model, most usual first: decides where several prefixes fit equally well.
WRAPPERS = ('module.', 'model.', 'net.')
# torch.compile puts this before the names of whatever module was compiled.
COMPILED = '_orig_mod.'


def strip(state_dict: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return weights under the names of a model, without what wrappers have put before them.

    Args:
        state_dict: The weights.
        names: The names in the model's state dict.

    Returns:
        The weights without the prefix behind which most of the model's names are found; if there
        is none, as they are. What does not have the prefix keeps its name.
    """
    wanted = _uncompiled(names)
    found: Counter[str] = Counter()
    for key in state_dict:
        clean = key.replace(COMPILED, '')
        starts = (0, *(dot.end() for dot in re.finditer(r'\.', clean)))
        found.update(clean[:start] for start in starts if clean[start:] in wanted)
    most = max(found.values(), default=0)
    if 2 * most <= len(wanted):
        return _moved(state_dict, lambda key: key)
    best = [prefix for prefix, count in found.items() if count == most]
    prefix = next((usual for usual in ('', *WRAPPERS) if usual in best), best[0])
    _add_modules(wanted)

    def move(key: str) -> str:
        clean = key.replace(COMPILED, '')
        rest = clean.removeprefix(prefix)
        return wanted.get(rest, rest) if clean.startswith(prefix) else key

    return _moved(state_dict, move)


def recompile(state_dict: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return weights under the names of a model of which other parts are compiled, or none.

    Args:
        state_dict: The weights.
        names: The names in the model's state dict.

    Returns:
        The weights; what the model does not have keeps its name.
    """
    wanted = _uncompiled(names)
    _add_modules(wanted)
    return _moved(state_dict, lambda key: wanted.get(key.replace(COMPILED, ''), key))


def rename(state_dict: Mapping[str, Any], remove: str = '', add: str = '') -> dict[str, Any]:
    """Return the weights whose names begin with a prefix, with another one in its place.

    Args:
        state_dict: The weights.
        remove: The prefix; weights without it are left out.
        add: What comes in its place.
    """
    return _moved(
        state_dict, lambda key: add + key.removeprefix(remove) if key.startswith(remove) else None
    )


def wrapper(state_dict: Mapping[str, Any], modules: tuple[str, ...] = ()) -> str:
    """Return what wrappers have put before all names: '' or 'module._orig_mod.', say.

    Args:
        state_dict: The weights.
        modules: More prefixes that are none of the model's own names.
    """
    prefix = ''
    while True:
        for usual in ('module.', COMPILED, *modules):
            if state_dict and all(key.startswith(prefix + usual) for key in state_dict):
                prefix += usual
                break
        else:
            return prefix


def _uncompiled(names: Iterable[str]) -> dict[str, str]:
    return {name.replace(COMPILED, ''): name for name in names}


def _add_modules(wanted: dict[str, str]) -> None:
    for name in list(wanted.values()):
        for dot in re.finditer(r'\.', name):
            module = name[: dot.end()]
            wanted[module.replace(COMPILED, '')] = module


def _moved(state_dict: Mapping[str, Any], move: Callable[[str], str | None]) -> dict[str, Any]:
    """Rename what `move` gives a name, weights and, ending with a dot, modules; drop the rest."""
    result = _renamed(state_dict, move)
    metadata = getattr(state_dict, '_metadata', None)
    if metadata is not None:
        # The versions of modules: without them BatchNorm takes its weights for those of an old
        # version, which had no counter of batches.
        modules = _renamed({f'{m}.' if m else '': v for m, v in metadata.items()}, move)
        ordered: Any = OrderedDict(result)
        ordered._metadata = OrderedDict((m.rstrip('.'), v) for m, v in modules.items())
        return ordered
    return result


def _renamed(values: Mapping[str, Any], move: Callable[[str], str | None]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = move(key)
        # One that is moved here goes before one that has the name by chance.
        if name is not None and (name != key or name not in result):
            result[name] = value
    return result
