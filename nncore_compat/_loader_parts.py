"""The parts of a data loader that bear on what it gives: samplers, generators, the data set."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from . import _generators, _plain, _random
from ._logging import log

_PARTS = ('sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn', 'generator')


def kind(loader: Any) -> str:
    """Tell how a loader is brought to a batch.

    Args:
        loader: The loader.

    Returns:
        'own' (it has a state itself), 'indices' (no workers), 'workers' or 'reading' (all that
        is known is that it can be iterated).
    """
    if _has_state(loader):
        return 'own'
    plain = (
        isinstance(loader, DataLoader)
        and type(loader).__iter__ is DataLoader.__iter__
        and type(loader)._get_iterator is DataLoader._get_iterator
        and not isinstance(loader.dataset, IterableDataset)
        and all(name in vars(loader) for name in _PARTS)
    )
    if plain and loader.num_workers == 0:
        return 'indices'
    # Only in order it is known which worker makes which batch.
    return 'workers' if plain and getattr(loader, 'in_order', True) else 'reading'


def indices(loader: Any) -> Any:
    """Return what tells the indices of each batch."""
    return loader.sampler if loader.batch_sampler is None else loader.batch_sampler


@contextlib.contextmanager
def lent(loader: Any, indices: Any, **more: Any) -> Iterator[None]:
    """Let an iterator be made with other parts of a loader; torch refuses to have some set."""
    parts = {'sampler' if loader.batch_sampler is None else 'batch_sampler': indices, **more}
    own = {name: vars(loader)[name] for name in parts}
    vars(loader).update(parts)
    try:
        yield
    finally:
        vars(loader).update(own)


def persists(loader: Any) -> bool:
    """Tell whether a loader has workers that stay from one epoch to the next."""
    kept = getattr(loader, 'persistent_workers', False)
    return kept and getattr(loader, '_iterator', None) is not None


def state(loader: Any, data: bool = True) -> dict[str, Any]:
    """Return the states of what a loader keeps in this process, as plain data and tensors.

    Args:
        loader: The loader.
        data: Whether to look into its data set too.
    """
    found: dict[str, Any] = {'sampling': _generators.get_states(_sampling(loader))}
    dataset = _dataset(loader)
    if data and dataset is not None:
        found['data'] = _generators.get_states(_generators.found_in(dataset))
        if _has_state(dataset):
            found['dataset'] = plain(dataset.state_dict(), 'the state of the data set')
    return found


def restore_sampling(loader: Any, state: dict[str, Any]) -> None:
    """Put back the states of the generators that make the order of the samples."""
    if not _generators.set_states(_sampling(loader), state.get('sampling', [])):
        warn('it does not have the same random generators')


def restore_data(loader: Any, state: dict[str, Any]) -> None:
    """Put back what a data set keeps, if it is used in this process."""
    dataset = _dataset(loader)
    if dataset is None or 'data' not in state:
        return
    if not _generators.set_states(_generators.found_in(dataset), state['data']):
        warn('its data set does not have the same random generators')
    if state.get('dataset') is not None and _has_state(dataset):
        dataset.load_state_dict(_plain.restored(state['dataset']))


@contextlib.contextmanager
def as_at(loader: Any, start: dict[str, Any] | None, now: dict[str, Any]) -> Iterator[None]:
    """Have the random states of the start of an epoch for a while.

    Args:
        loader: The loader.
        start: The states at the start, None if they are not known.
        now: The states of the loader afterwards; those of the process are as before.
    """
    before = _random.get_states()
    if start is not None:
        _random.set_states(start['random'])
        restore_sampling(loader, start)
    try:
        yield
    finally:
        _random.set_states(before)
        restore_sampling(loader, now)


def plain(value: Any, name: str) -> Any:
    """Return a state as plain data, None with a warning if it is more than that."""
    try:
        return _plain.state(value, name)
    except TypeError as error:
        log(f'{error}: it is not saved', log_level=logging.WARNING)
        return None


def length(loader: Any) -> int | None:
    """Return the number of a loader's batches, None if it does not tell."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def warn(reason: str) -> None:
    """Warn that a loader does not give exactly what it would have given."""
    text = 'A data loader goes on as well as it can, but not exactly'
    log(f'{text}: {reason}', log_level=logging.WARNING)


def _has_state(item: Any) -> bool:
    return all(callable(getattr(item, name, None)) for name in ('state_dict', 'load_state_dict'))


def _sampling(loader: Any) -> list[Any]:
    parts = (getattr(loader, name, None) for name in ('generator', 'batch_sampler', 'sampler'))
    samplers = [part for part in parts if part is not None]
    # A sampler knows the data set that it samples.
    data = _generators.found_in(getattr(loader, 'dataset', None))
    known = {id(item) for item in data}
    return [item for item in _generators.found_in(*samplers) if id(item) not in known]


def _dataset(loader: Any) -> Any:
    # Workers have copies, and the data set of this process stays as it is.
    return None if getattr(loader, 'num_workers', 0) else getattr(loader, 'dataset', None)
