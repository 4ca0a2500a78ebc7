"""`nncore.engine[.x]` answered by the very modules `nncore_compat[.x]`.

`install()` adds two finders to the import system. The first is asked before all others and serves
`nncore.engine`; the rest of a real nncore is left alone. The second is asked when nobody else knows
`nncore`: it provides a bare namespace to hold `engine`, and errors that say how to get the rest.

This file also runs on its own, before nncore_compat is imported, at the start of child processes
(`_site/sitecustomize.py`): it imports nothing of the package and nothing slow (importlib.abc is).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any

ENV = 'NNCORE_COMPAT_ALIAS'

_OURS = 'nncore_compat'
_NNCORE = 'nncore'
_ENGINE = 'nncore.engine'
# A real nncore.engine imports these on the way; scripts use them without importing them.
_SIDE_IMPORTS = ('nncore.dataset', 'nncore.nn', 'nncore.optim', 'nncore.parallel')

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_SITE = os.path.join(_PACKAGE, '_site')

# Modules of a real nncore.engine, where it was imported first.
_replaced: dict[str, ModuleType] = {}


def install() -> None:
    """Make `nncore.engine` mean `nncore_compat`, here and in child processes.

    A `nncore.engine` that was imported earlier, whole or in part, is replaced. What other modules
    have already taken out of it stays theirs, so call this before they are imported.

    Examples:
        >>> import nncore_compat
        >>> nncore_compat.install()
        >>> from nncore.engine import Engine
        >>> Engine is nncore_compat.Engine
        True
    """
    if not any(isinstance(finder, _AliasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AliasFinder())
        sys.meta_path.append(_AbsentFinder())
    _export()
    _replace()


def uninstall() -> None:
    """Undo `install`: `nncore.engine` is again what it was, or what nncore has.

    What modules have taken out of ours meanwhile stays theirs.
    """
    sys.meta_path[:] = [
        one for one in sys.meta_path if not isinstance(one, (_AliasFinder, _AbsentFinder))
    ]
    for name in [name for name in sys.modules if _is_engine(name)]:
        del sys.modules[name]
    sys.modules.update(_replaced)
    parent: Any = sys.modules.get(_NNCORE)
    if _is_bare(parent):
        del sys.modules[_NNCORE]
    elif _ENGINE in _replaced:
        parent.engine = _replaced[_ENGINE]
    elif parent is not None:
        vars(parent).pop('engine', None)
    _replaced.clear()
    os.environ.pop(ENV, None)
    paths = [one for one in os.environ.get('PYTHONPATH', '').split(os.pathsep) if one != _SITE]
    if any(paths):
        os.environ['PYTHONPATH'] = os.pathsep.join(paths)
    else:
        os.environ.pop('PYTHONPATH', None)


def _export() -> None:
    os.environ[ENV] = '1'
    export_site()


def export_site() -> None:
    """Have child processes begin with `_site/sitecustomize.py`."""
    paths = os.environ.get('PYTHONPATH')
    if not paths:
        os.environ['PYTHONPATH'] = _SITE
    elif _SITE not in paths.split(os.pathsep):
        os.environ['PYTHONPATH'] = os.pathsep.join((_SITE, paths))


def _replace() -> None:
    stale = [
        name
        for name, module in list(sys.modules.items())
        if _is_engine(name) and module is not sys.modules.get(_ours(name))
    ]
    for name in stale:
        _replaced[name] = sys.modules.pop(name)
    if stale:
        import_module(_ENGINE)


def _is_engine(name: str) -> bool:
    return name == _ENGINE or name.startswith(_ENGINE + '.')


def _ours(name: str) -> str:
    return _OURS + name[len(_ENGINE) :]


class _AliasFinder:
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == _OURS:
            # A child process has the copy that its parent runs, wherever that one lies.
            return PathFinder.find_spec(name, [os.path.dirname(_PACKAGE)])
        if _is_engine(name) and find_spec(_ours(name)) is not None:
            return ModuleSpec(name, _AliasLoader(), origin=_OURS)  # type: ignore[arg-type]
        return None


class _AliasLoader:
    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # The import system hands out what it finds in sys.modules afterwards; the module it made
        # is dropped, and ours never sees the attributes that importing sets on a new module.
        name = module.__name__
        sys.modules[name] = import_module(_ours(name))
        if name == _ENGINE:
            # A real nncore.engine is there as a whole, with all its hooks registered.
            import_module(_OURS + '._api')
        if name == _ENGINE and not _is_bare(sys.modules[_NNCORE]):
            for side in _SIDE_IMPORTS:
                if find_spec(side) is not None:
                    import_module(side)


class _AbsentFinder:
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == _NNCORE:
            loader = _BareLoader()
            return ModuleSpec(name, loader, is_package=True)  # type: ignore[arg-type]
        if name.startswith(_NNCORE + '.') and _is_bare(sys.modules.get(_NNCORE)):
            if _is_engine(name):
                return None
            # Named after nncore, the module that is missing: with the name that was asked for,
            # `from nncore import x` would swallow the message.
            raise ModuleNotFoundError(_hint(name), name=_NNCORE)
        return None


class _BareLoader:
    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        def absent(name: str) -> object:
            full = f'{_NNCORE}.{name}'
            plain = f'module {_NNCORE!r} has no attribute {name!r}'
            dunder = name.startswith('__') and name.endswith('__')
            raise AttributeError(plain if dunder else _hint(full), name=name, obj=module)

        module.__dict__['__getattr__'] = absent


def _is_bare(module: ModuleType | None) -> bool:
    return isinstance(getattr(getattr(module, '__spec__', None), 'loader', None), _BareLoader)


def _hint(name: str) -> str:
    return (
        f'{name} is part of nncore, which is not installed (nncore_compat replaces nncore.engine '
        f"only): pip install 'nncore-compat[nncore]'"
    )
