"""Names for classes, and objects built from configs that use these names."""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from inspect import isclass
from types import ModuleType
from typing import Any

_NOTHING: Any = object()


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


class Registry:
    """Maps names to objects, its own and those of its children.

    Args:
        name: What the registry holds.
        parent: The registry or registries that shall also find what is registered here.
        children: The registry or registries whose objects shall also be found here.
    """

    def __init__(self, name: str, parent: Any = None, children: Any = None) -> None:
        self._name = name
        self._items: dict[str, Any] = {}
        self._groups: dict[str, list[str]] = {}
        self._children: list[Any] = []
        for one in [] if parent is None else _as_list(parent):
            one.add_children(self)
        if children is not None:
            self.add_children(children)

    @property
    def name(self) -> str:
        """What the registry holds."""
        return self._name

    def __len__(self) -> int:
        return len(self._items) + sum(len(child) for child in self._children)

    def __contains__(self, key: str) -> bool:
        return key in self._items or any(key in child for child in self._children)

    def __getattr__(self, key: str) -> Any:
        # Copying and unpickling ask for private names before there are any items.
        found = None if key.startswith('__') or '_items' not in vars(self) else self.get(key)
        if found is None:
            raise AttributeError(f'registry has no attribute {key!r}')
        return found

    def __repr__(self) -> str:
        return f'{type(self).__name__}(name={self._name!r}, items={self.keys()})'

    def add_children(self, children: Any) -> None:
        """Find the objects of other registries here too.

        Args:
            children: A registry or a list of registries.
        """
        self._children += _as_list(children)

    def keys(self) -> list[str]:
        """Return all names, those of the children last."""
        return [*self._items, *(key for child in self._children for key in child.keys())]

    def get(self, key: str, default: Any = None) -> Any:
        """Return the object of a name, or the default.

        Args:
            key: The name.
            default: What to return if there is no such name.
        """
        for place in (self._items, *self._children):
            found = place.get(key)
            if found is not None:
                return found
        return default

    def pop(self, key: str, default: Any = _NOTHING) -> Any:
        """Remove a name and return its object.

        Args:
            key: The name.
            default: What to return if there is no such name.

        Raises:
            KeyError: If there is neither the name nor a default.
        """
        for place in (self._items, *self._children):
            if key in place:
                return place.pop(key)
        if default is _NOTHING:
            raise KeyError(f'{key} is not registered in {self._name}')
        return default

    def register(self, obj: Any = None, name: Any = None, group: Any = None) -> Any:
        """Register an object; without one, return a decorator that registers.

        Args:
            obj: The object.
            name: Its name or list of names, by default its ``__name__``.
            group: The group or list of groups it belongs to.

        Raises:
            KeyError: If a name is taken.
        """
        if obj is None:
            return lambda decorated: self.register(decorated, name, group)
        for key in [obj.__name__] if name is None else _as_list(name):
            if key in self._items:
                raise KeyError(f'{key} is already registered in {self._name}')
            self._items[key] = obj
            if group is not None:
                self.set_group(key, group)
        return obj

    def set_group(self, name: str, group: Any) -> None:
        """Put a registered name into groups.

        Args:
            name: The name.
            group: The group or list of groups.

        Raises:
            KeyError: If the name is not registered here.
        """
        if name not in self._items:
            raise KeyError(f'{name} is not registered in {self._name}')
        for one in _as_list(group):
            self._groups.setdefault(one, []).append(name)

    def groups(self) -> Iterable[str]:
        """Return the names of all groups."""
        return self._groups.keys()

    def group(self, name: str, default: Any = None) -> Any:
        """Return the names in a group, or the default.

        Args:
            name: The group.
            default: What to return if there is no such group.
        """
        return self._groups.get(name, default)

    def build(self, cfg: Any, default: Any = None, args: Sequence[Any] = (), **kwargs: Any) -> Any:
        """Build an object from a config with :func:`build_object`."""
        return build_object(cfg, self, default=default, args=args, **kwargs)


def _find(parents: Iterable[Any], key: str) -> Callable[..., Any] | None:
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
    factory = _find(_as_list(parent), arguments.pop('type'))
    return default if factory is None else factory(*args, **arguments)


def _names(parent: Any) -> list[str]:
    if hasattr(parent, 'keys'):
        return list(parent.keys())
    return [n for n, v in vars(parent).items() if isclass(v) and not n.startswith('_')]


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
        KeyError: If the config has no ``type``.
        TypeError: If the ``type`` is not a name.
        ValueError: If the name is unknown.
    """
    if isinstance(cfg, (list, tuple)):
        place = where or what
        return [
            build_known(c, parents, what, where=f'{place}[{i}]', **kwargs)
            for i, c in enumerate(cfg)
        ]
    if not isinstance(cfg, (dict, str)):
        return cfg
    factory, arguments = find_known(cfg, parents, what, where)
    return factory(**{**arguments, **kwargs})


def find_known(
    cfg: dict[str, Any] | str, parents: Sequence[Any], what: str, where: str | None = None
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Find what a config names, without building it.

    Args:
        cfg: A dict with a ``type``, or a name.
        parents: The registries and modules to look in.
        what: What would be built, such as 'optimizer', for messages.
        where: The place of the config, such as 'stages[1].optimizer', for messages.

    Returns:
        The class or function, and the config's other entries.

    Raises:
        KeyError: If the config has no ``type``.
        TypeError: If the ``type`` is not a name.
        ValueError: If the name is unknown.
    """
    arguments = {'type': cfg} if isinstance(cfg, str) else dict(cfg)
    place = '' if where is None else f' ({where}.type)'
    if 'type' not in arguments:
        raise KeyError(f"the config of {what}{f' {where}' if where else ''} has no 'type': {cfg}")
    name = arguments.pop('type')
    if not isinstance(name, str):
        raise TypeError(f'the type of a {what} must be a name, but got {name!r}{place}')
    factory = _find(parents, name)
    if not callable(factory):
        raise ValueError(f'unknown {what} {name!r}{place}{_hint(name, parents)}')
    return factory, arguments


def _hint(name: str, parents: Sequence[Any]) -> str:
    near = get_close_matches(name, [n for p in parents for n in _names(p)], n=1)
    known = [n for p in parents if not isinstance(p, ModuleType) for n in _names(p)]
    known += [f'any class of {p.__name__}' for p in parents if isinstance(p, ModuleType)]
    suggestion = f': did you mean {near[0]!r}?' if near else '.'
    return f"{suggestion} Accepted: {', '.join(dict.fromkeys(known))}"


HOOKS = Registry('hook')
MODELS = Registry('model')
LOSSES = Registry('loss', parent=MODELS)
DATASETS = Registry('dataset')
OPTIMIZERS = Registry('optimizer')
