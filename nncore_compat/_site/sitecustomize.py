"""Lets `nncore.engine` mean `nncore_compat` in the children of a process where it does.

`nncore_compat.install()` puts this folder first on PYTHONPATH and sets NNCORE_COMPAT_ALIAS; Python
imports `sitecustomize` at every start. Nothing heavy is imported until a child asks for
`nncore.engine`. The `sitecustomize` that this one hides, if any, runs afterwards as it would have.
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

_HERE = os.path.dirname(os.path.abspath(__file__))


def _load(name: str, *path: str) -> ModuleType:
    # By path: importing the package would import torch in every child, of whatever kind.
    file = os.path.join(os.path.dirname(_HERE), *path)
    spec = spec_from_file_location(f'nncore_compat.{name}', file)
    if spec is None or spec.loader is None:
        raise ImportError(f'cannot load {file}')
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _chain() -> None:
    # This folder stays on PYTHONPATH for grandchildren; sys.path is left as it would be without.
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != _HERE]
    spec = PathFinder.find_spec('sitecustomize', sys.path)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules['sitecustomize'] = module
        spec.loader.exec_module(module)


if os.environ.get('NNCORE_COMPAT_ALIAS') == '1':
    _load('_alias', '_alias.py').install()
elif os.environ.get('NNCORE_COMPAT_REFERENCE') == '1':
    # The script is being verified, and this is a child of the process that runs nncore itself.
    _load('_verify.imports', '_verify', 'imports.py').stand_in_for_torchvision()
_chain()
