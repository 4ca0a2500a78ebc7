"""The `data_loaders` argument of Engine as one entry per split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import quirks

SPLITS = ('train', 'val', 'test')


def is_single(data_loaders: Any) -> bool:
    """Tell a single loader or config from a dict of them."""
    if quirks.active('single-loader'):
        # On a loader, 0.4.7's question runs through all batches.
        return 'train' not in data_loaders
    return not isinstance(data_loaders, Mapping) or not any(s in data_loaders for s in SPLITS)


def fill(data_loaders: Any) -> dict[str, Any]:
    """Return the loaders or configs by split, in a new dict.

    Without ``val`` there is ``test`` in its place and the other way round, else ``train``.

    Args:
        data_loaders: A dict of loaders or configs by split, or a single one for training.
    """
    loaders = {'train': data_loaders} if is_single(data_loaders) else dict(data_loaders)
    for split, other in (('val', 'test'), ('test', 'val')):
        source = other if other in loaders else 'train'
        if split not in loaders and source in loaders:
            loaders[split] = loaders[source]
    return loaders
