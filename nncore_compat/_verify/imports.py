"""Doing something around the import of a module, and a torchvision for nncore to import.

Runs on its own at the start of child processes (`_site/sitecustomize.py`): nothing of the package
is imported, and nothing slow.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Says to child processes that they run nncore itself.
ENV = 'NNCORE_COMPAT_REFERENCE'

Around = Callable[[ModuleType], AbstractContextManager[Any]]


class Watch:
    """A finder that does something around the execution of some modules.

    Args:
        around: By the name of the module, what is given it and returns a context.
    """

    def __init__(self, around: Mapping[str, Around]) -> None:
        self._around = around

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        around = self._around.get(name)
        if around is None:
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, around)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    def __init__(self, loader: Any, around: Around) -> None:
        self._loader = loader
        self._around = around

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        with self._around(module):
            self._loader.exec_module(module)


def after(action: Callable[[ModuleType], Any]) -> Around:
    """Return what does something with a module when it has been executed."""

    @contextlib.contextmanager
    def around(module: ModuleType) -> Iterator[None]:
        yield
        action(module)

    return around


def stand_in_for_torchvision() -> None:
    """Let nncore.engine be imported where torchvision cannot be; nobody else gets to see it."""
    sys.meta_path.insert(0, Watch({'nncore.engine.utils': _with_torchvision}))


@contextlib.contextmanager
def _with_torchvision(_: ModuleType) -> Iterator[None]:
    try:
        import torchvision  # noqa: F401
    except Exception:
        # Or it is there and does not go with this torch.
        stub, models = ModuleType('torchvision'), ModuleType('torchvision.models')
        stub.__version__, models.__path__ = '0', []  # type: ignore[attr-defined]
        stub.models = models  # type: ignore[attr-defined]
        added = {'torchvision': stub, 'torchvision.models': models}
        sys.modules.update(added)
    else:
        added = {}
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]
