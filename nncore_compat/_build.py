"""Objects built from configs that name their class."""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from inspect import isclass
from types import ModuleType
from typing import Any


def as_list(value: Any) -> list[Any]:
    """Return a list or tuple as a list, anything else as a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _find(parents: Iterable[Any], key: str) -> Any:
    for parent in parents:
        found = parent.get(key) if hasattr(parent, 'get') else getattr(parent, key, None)
        if found is not None:
            return found
    return None


def build_object(
    cfg: Any, parent: Any, default: Any = None, args: Sequence[Any] = (), **kwargs: Any
) -> Any:
    """Build an object, or a list of objects, from configs.

    Args:
        cfg: A dict with a ``type``, a name, or a list of these; anything else is returned.
        parent: The registry or module to look in, or a list of them.
        default: What stands for None and for unknown names.
        args: Positional arguments of the object.
        **kwargs: Keyword arguments that go over those of the config.

    Returns:
        The object.
    """
    if isinstance(cfg, (list, tuple, range)):
        return [build_object(c, parent, default=default, args=args, **kwargs) for c in cfg]
    if cfg is None:
        return default
    if isinstance(cfg, str):
        cfg = {'type': cfg}
    elif not isinstance(cfg, dict):
        return cfg
    arguments = {**cfg, **kwargs}
    factory = _find(as_list(parent), arguments.pop('type'))
    return default if factory is None else factory(*args, **arguments)


def find_known(
    cfg: Any, parents: Sequence[Any], what: str, where: str | None = None
) -> Callable[..., Any]:
    """Return the class that a config names.

    Args:
        cfg: A dict with a ``type``, or a name.
        parents: The registries and modules to look in.
        what: What the class makes, such as 'optimizer', for messages.
        where: The place of the config, such as 'stages[1].optimizer', for messages.

    Returns:
        The class, or any other callable under that name.

    Raises:
        KeyError: If the config has no ``type``.
        TypeError: If the ``type`` is not a name.
        ValueError: If the name is unknown.
    """
    if not isinstance(cfg, str) and 'type' not in cfg:
        raise KeyError(f"{where or f'the config of a {what}'} has no 'type': {cfg}")
    name = cfg if isinstance(cfg, str) else cfg['type']
    place = '' if where is None else f' ({where}.type)'
    if not isinstance(name, str):
        raise TypeError(f'the type of {what} must be a name, but got {name!r}{place}')
    found = _find(parents, name)
    if not callable(found):
        raise ValueError(f'unknown {what} {name!r}{place}{_hint(name, parents)}')
    return found


def build_known(
    cfg: Any, parents: Sequence[Any], what: str, /, where: str | None = None, **kwargs: Any
) -> Any:
    """Build like :func:`build_object`, but let no unknown name pass.

    Args:
        cfg: A dict with a ``type``, a name, or a list of these; anything else is returned.
        parents: The registries and modules to look in.
        what: What is built, such as 'optimizer', for messages.
        where: The place of the config, such as 'stages[1].optimizer', for messages.
        **kwargs: Keyword arguments that go over those of the config.

    Returns:
        The object.

    Raises:
        KeyError, TypeError, ValueError: As :func:`find_known` does.
    """
    if isinstance(cfg, (list, tuple)):
        place = where or what
        return [
            build_known(c, parents, what, where=f'{place}[{i}]', **kwargs)
            for i, c in enumerate(cfg)
        ]
    if not isinstance(cfg, (dict, str)):
        return cfg
    factory = find_known(cfg, parents, what, where)
    arguments = {} if isinstance(cfg, str) else {k: v for k, v in cfg.items() if k != 'type'}
    return factory(**{**arguments, **kwargs})


def _names(parent: Any) -> list[str]:
    if not isinstance(parent, ModuleType):
        return list(parent.keys())
    return [n for n, v in vars(parent).items() if isclass(v) and not n.startswith('_')]


def _hint(name: str, parents: Sequence[Any]) -> str:
    near = get_close_matches(name, [n for p in parents for n in _names(p)], n=1)
    known = [n for p in parents if not isinstance(p, ModuleType) for n in _names(p)]
    known += [f'any class of {p.__name__}' for p in parents if isinstance(p, ModuleType)]
    suggestion = f': did you mean {near[0]!r}?' if near else '.'
    return f'{suggestion} Accepted: {", ".join(dict.fromkeys(known))}'
