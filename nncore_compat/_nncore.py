"""What the real nncore package brings in, where the user's script has imported it.

The package is only looked up in ``sys.modules``, never imported from here.
"""

import re
import sys
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any

import torch
import torch.utils.data.dataset

from ._registry import DATASETS, LOSSES, MODELS, OPTIMIZERS, Registry

API_VERSION = '0.4.7'

_SOURCES: dict[str, tuple[str, str, Registry, ModuleType]] = {
    'model': ('nncore.nn', 'MODELS', MODELS, torch.nn),
    'loss': ('nncore.nn', 'LOSSES', LOSSES, torch.nn),
    'dataset': ('nncore.dataset', 'DATASETS', DATASETS, torch.utils.data.dataset),
    'optimizer': ('nncore.optim', 'OPTIMIZERS', OPTIMIZERS, torch.optim),
}


@cache
def version() -> str | None:
    """Return the installed nncore's version, or None if it is not installed."""
    try:
        return metadata.version('nncore')
    except metadata.PackageNotFoundError:
        return None


def new_returns() -> bool:
    """Tell whether return values follow nncore 0.4.1 and later.

    From then on ``load_checkpoint`` returns the model instead of the checkpoint, and
    ``Engine.launch(eval=True)`` a dict of splits instead of the metrics. The documented
    API has the older ones, so they are ours where nncore is not installed.
    """
    numbers = re.findall(r'\d+', version() or '')[:3]
    return tuple(int(n) for n in numbers) >= (0, 4, 1)


def loaded(module: str, attr: str) -> Any | None:
    """Return an attribute of a module of nncore if it has been imported, else None.

    Args:
        module: The full module name, such as 'nncore.nn'.
        attr: The name in that module.
    """
    found = sys.modules.get(module)
    # vars() and not getattr(), which could run a lazy import of the module.
    return None if found is None else vars(found).get(attr)


def parents(kind: str) -> list[Any]:
    """Return the places where a name in a config is looked up, in order.

    Args:
        kind: 'model', 'loss', 'dataset' or 'optimizer'.
    """
    module, attr, ours, fallback = _SOURCES[kind]
    real = loaded(module, attr)
    return [ours, fallback] if real is None else [real, ours, fallback]
