"""Names for classes, in registries that find each other's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, overload

from ._build import as_list, build_known, build_object, find_known

__all__ = [
    'DATASETS',
    'HOOKS',
    'LOSSES',
    'MODELS',
    'OPTIMIZERS',
    'Registry',
    'build_known',
    'build_object',
    'find_known',
]

_NOTHING: Any = object()

T = TypeVar('T')
Names = Sequence[str] | str | None


class Registry:
    """Maps names to objects, its own and those of its children.

    Args:
        name: What the registry holds.
        parent: The registry or registries that shall also find what is registered here.
        children: The registry or registries whose objects shall also be found here.

    Examples:
        >>> @HOOKS.register()
        ... class Greet(Hook):
        ...     def before_launch(self, engine):
        ...         print('hello')
        >>> Engine(model, loaders, stages=stages, hooks=['Greet']).launch()
        hello
        >>> _ = HOOKS.pop('Greet')
    """

    def __init__(self, name: str, parent: Any = None, children: Any = None) -> None:
        self._name = name
        self._items: dict[str, Any] = {}
        self._groups: dict[str, list[str]] = {}
        self._children: list[Any] = []
        for one in [] if parent is None else as_list(parent):
            one.add_children(self)
        if children is not None:
            self.add_children(children)

    @property
    def name(self) -> str:
        """What the registry holds.

        Examples:
            >>> HOOKS.name
            'hook'
        """
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

        Examples:
            >>> from nncore_compat.builder import MODELS
            >>> heads = type(MODELS)('head')
            >>> heads.add_children(type(MODELS)('special head'))
        """
        self._children += as_list(children)

    def keys(self) -> list[str]:
        """Return all names, those of the children last.

        Returns:
            A new list.

        Examples:
            >>> 'EvalHook' in HOOKS.keys()
            True
        """
        names = list(self._items)
        for child in self._children:
            names += child.keys()
        return names

    def get(self, key: str, default: Any = None) -> Any:
        """Return the object of a name, or the default.

        Args:
            key: The name.
            default: What to return if there is no such name.

        Returns:
            What was registered, here or in a child.

        Examples:
            >>> HOOKS.get('EvalHook') is EvalHook
            True
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

        Returns:
            What was registered.

        Raises:
            KeyError: If there is neither the name nor a default.

        Examples:
            >>> HOOKS.pop('NoSuchHook', None) is None
            True
        """
        for place in (self._items, *self._children):
            if key in place:
                return place.pop(key)
        if default is _NOTHING:
            raise KeyError(f'{key} is not registered in {self._name}')
        return default

    @overload
    def register(
        self, obj: None = None, name: Names = None, group: Names = None
    ) -> Callable[[T], T]: ...

    @overload
    def register(self, obj: T, name: Names = None, group: Names = None) -> T: ...

    def register(self, obj: Any = None, name: Names = None, group: Names = None) -> Any:
        """Register an object; without one, return a decorator that registers.

        Args:
            obj: The object.
            name: Its name or list of names, by default its ``__name__``.
            group: The group or list of groups it belongs to.

        Returns:
            The object, or the decorator.

        Raises:
            KeyError: If a name is taken.

        Examples:
            >>> from nncore_compat.builder import MODELS
            >>> _ = MODELS.register(Net, name='net')
            >>> MODELS.build({'type': 'net'})
            Net(
              (fc): Linear(in_features=2, out_features=2, bias=True)
            )
            >>> _ = MODELS.pop('net')
        """
        if obj is None:
            return lambda decorated: self.register(decorated, name, group)
        for key in [obj.__name__] if name is None else as_list(name):
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

        Examples:
            >>> HOOKS.set_group('EvalHook', 'after validation')
            >>> HOOKS.group('after validation')
            ['EvalHook']
        """
        if name not in self._items:
            raise KeyError(f'{name} is not registered in {self._name}')
        for one in as_list(group):
            self._groups.setdefault(one, []).append(name)

    def groups(self) -> Iterable[str]:
        """Return the names of all groups.

        Returns:
            The names, in the order in which they were first used.

        Examples:
            >>> from nncore_compat.builder import LOSSES
            >>> list(LOSSES.groups())
            []
        """
        return self._groups.keys()

    def group(self, name: str, default: Any = None) -> Any:
        """Return the names in a group, or the default.

        Args:
            name: The group.
            default: What to return if there is no such group.

        Returns:
            A list of names.

        Examples:
            >>> HOOKS.group('no such group', [])
            []
        """
        return self._groups.get(name, default)

    def build(self, cfg: Any, default: Any = None, args: Sequence[Any] = (), **kwargs: Any) -> Any:
        """Build an object from a config.

        Args:
            cfg: The name, or a dict of ``type`` and the arguments; a list of these for a list.
            default: What to return for None, and where there is no such name.
            args: Positional arguments.
            **kwargs: Arguments that go over those of the config.

        Returns:
            The object.

        Raises:
            KeyError: If the config has no ``type``.

        Examples:
            >>> HOOKS.build({'type': 'EvalHook', 'interval': 2})
            EvalHook()
        """
        return build_object(cfg, self, default=default, args=args, **kwargs)


HOOKS = Registry('hook')
"""The hooks, by the names that configs use: `@HOOKS.register()` before a class adds it."""

MODELS = Registry('model')
LOSSES = Registry('loss', parent=MODELS)
DATASETS = Registry('dataset')
OPTIMIZERS = Registry('optimizer')
