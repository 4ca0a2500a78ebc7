"""The `data_loaders` argument of Engine as one entry per split."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from . import _loader_parts as parts
from . import _preview, quirks
from ._errors import located
from .builder import build_dataloader

SPLITS = ('train', 'val', 'test')


def is_single(data_loaders: Any) -> bool:
    """Tell a single loader or config from a dict of them.

    Raises:
        KeyError: It is a dict, but neither of splits nor the config of a dataset.
    """
    if isinstance(data_loaders, Mapping):
        single = not any(split in data_loaders for split in SPLITS)
        if single and 'type' not in data_loaders:
            raise KeyError(
                f"data_loaders has neither 'train' nor the 'type' of a dataset{_near(data_loaders)}"
            )
        return single
    # On a loader, 0.4.7's question runs through all batches.
    asking = quirks.active('single-loader') and not _preview.asked()
    return 'train' not in data_loaders if asking else True


def given(data_loaders: Any) -> dict[str, Any]:
    """Return the loaders or configs that were given, by split, in a new dict.

    Args:
        data_loaders: A dict of loaders or configs by split, or a single one for training.
    """
    return {'train': data_loaders} if is_single(data_loaders) else dict(data_loaders)


def fill(data_loaders: Any) -> dict[str, Any]:
    """Return the loaders or configs by split, in a new dict.

    Without ``val`` there is ``test`` in its place and the other way round, else ``train``.

    Args:
        data_loaders: A dict of loaders or configs by split, or a single one for training.
    """
    loaders = given(data_loaders)
    for split, other in (('val', 'test'), ('test', 'val')):
        source = other if other in loaders else 'train'
        if split not in loaders and source in loaders:
            loaders[split] = loaders[source]
    return loaders


def build(split: str, loader: Any, seed: int | None) -> Any:
    """Build the loader of a split, with the split in the message of any error."""
    with located(f'data_loaders[{split!r}]'):
        return build_dataloader(loader, seed=seed)


def train_length(loaders: Mapping[str, Any]) -> int:
    """Return the number of batches of an epoch; 0 if there is nothing to train with.

    Raises:
        TypeError: The loader does not know it.
    """
    if 'train' not in loaders:
        return 0
    length = parts.length(loaders['train'])
    if length is None:
        data = type(getattr(loaders['train'], 'dataset', loaders['train'])).__name__
        raise TypeError(
            f"data_loaders['train'] has no length: {data} has no __len__. Training counts by it "
            '(epochs, learning rates, the time that is left): give the data set a __len__ that '
            'returns the number of samples in an epoch'
        )
    return length


def refuse_empty(loaders: Mapping[str, Any]) -> None:
    """Refuse to train with a loader that never gives a batch.

    Raises:
        ValueError: There is no batch in it, and its data set does not change with the mode.
    """
    loader = loaders['train']
    data = getattr(loader, 'dataset', None)
    if train_length(loaders) == 0 and not callable(getattr(data, 'set_state', None)):
        raise ValueError(f"data_loaders['train'] is empty{_why_empty(loader, data)}")


def _why_empty(loader: Any, data: Any) -> str:
    try:
        samples = len(data)
    except TypeError:
        return ': there is nothing to train with'
    if samples and getattr(loader, 'drop_last', False):
        size = loader.batch_size
        return f': drop_last=True drops its {samples} samples, which are no batch of {size}'
    return f': {type(data).__name__} has {samples} samples'


def typo(splits: Collection[Any]) -> str:
    """Return what to say of a split that looks like a misspelt one which is missing, else nothing.

    Args:
        splits: The splits that were given.
    """
    near = _near([key for key in splits if key not in SPLITS], splits)
    return f'data_loaders has a split of its own{near}' if near else ''


def _near(keys: Iterable[Any], given: Iterable[Any] = ()) -> str:
    missing = [split for split in SPLITS if split not in given]
    for key in keys:
        found = get_close_matches(str(key), missing, n=1)
        if found:
            return f', {key!r}: did you mean {found[0]!r}?'
    return ''
