"""Iterating a data loader so that a later run can go on at the batch where this one has stopped.

The order of the samples is made again from the random states at the start of the epoch, without
loading the data that had been used; what the generators of the main process are set to is the
caller's. Workers go on with the random states that they had (see `_crew`). A loader that has a
state of its own is asked for it. Any other iterable is read up to the batch once more.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from . import _generators, _random
from ._crew import Crew, Pass, Resume, Tap
from ._logging import log

_LENT = ('sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn', 'generator')


class _Record:
    """What is known of a loader: the start of its last pass, its workers, and where to go on."""

    def __init__(self) -> None:
        self.start: dict[str, Any] | None = None
        self.resumed: dict[str, Any] | None = None
        self.crew: Crew | None = None
        self.current: Pass | None = None
        self.begun = 0


_records: dict[int, tuple[Any, _Record]] = {}


def batches(loader: Any) -> Iterator[Any]:
    """Iterate a loader as `iter` would; after `restore`, from the batch where it had stopped.

    Args:
        loader: The loader, or any iterable.

    Returns:
        Its iterator. The process's random generators are as `iter` would leave them, but when a
        pass is continued they are left alone.
    """
    record = _record(loader)
    state, record.resumed = record.resumed, None
    if state is None:
        return _begin(loader, record)
    kind = _kind(loader)
    record.begun = state['begun']
    if kind == 'own':
        return _go_on_itself(loader, record, state)
    if state['kind'] != kind:
        _warn(f"it was saved as one that is read by '{state['kind']}', not '{kind}'")
    if kind == 'workers':
        return _go_on_with_workers(loader, record, state)
    if kind == 'indices':
        return _go_on_by_indices(loader, record, state)
    return _go_on_by_reading(loader, record, state)


def state_of(loader: Any, done: int | None = None) -> dict[str, Any]:
    """Return where a loader is, as plain data and tensors.

    Args:
        loader: The loader.
        done: How many batches of the running epoch have been handed out; None between epochs.

    Returns:
        Its state. The only key for others to change is 'done'.
    """
    record = _record(loader)
    if record.resumed is not None:  # and not asked for a batch since
        return dict(record.resumed)
    kind = _kind(loader)
    state: dict[str, Any] = {'kind': kind, 'done': done or 0, 'begun': record.begun}
    if kind == 'own':
        if record.begun:
            with _random.unnoticed():
                state['own'] = loader.state_dict()
        return state
    state['held'] = _generators.get_states(_held(loader))
    state['length'] = _length(loader)
    state['workers'] = getattr(loader, 'num_workers', 0)
    dataset = _stateful_dataset(loader)
    if dataset is not None:
        state['dataset'] = dataset.state_dict()
    if done:
        state['start'] = record.start
    if kind == 'workers':
        _add_workers(state, loader, record)
    return state


def restore(loader: Any, state: dict[str, Any]) -> None:
    """Have the next `batches` go on where a state was taken, at the batch after 'done'.

    Args:
        loader: The loader, which need not be the same object, but must be made in the same way.
        state: What `state_of` has returned.
    """
    record = _record(loader)
    if getattr(loader, '_iterator', None) is not None and _kind(loader) != 'own':
        # Workers that are in another state.
        loader._iterator = None
    record.resumed, record.crew, record.current = dict(state), None, None
    record.begun = state['begun']


def _record(loader: Any) -> _Record:
    known = _records.get(id(loader))
    if known is None:
        key, reference = id(loader), loader
        # One that cannot be referred to weakly is kept, as its number could be given again.
        with contextlib.suppress(TypeError):
            reference = weakref.ref(loader, lambda _: _records.pop(key, None))
        known = _records[key] = (reference, _Record())
    return known[1]


def _kind(loader: Any) -> str:
    if callable(getattr(loader, 'state_dict', None)) and callable(
        getattr(loader, 'load_state_dict', None)
    ):
        return 'own'
    plain = (
        isinstance(loader, DataLoader)
        and type(loader).__iter__ is DataLoader.__iter__
        and type(loader)._get_iterator is DataLoader._get_iterator
        and not isinstance(loader.dataset, IterableDataset)
        and all(name in vars(loader) for name in _LENT)
    )
    if not plain:
        return 'reading'
    if loader.num_workers == 0:
        return 'indices'
    # Which worker makes which batch is known only in order.
    return 'workers' if getattr(loader, 'in_order', True) else 'reading'


def _begin(loader: Any, record: _Record) -> Iterator[Any]:
    kind = _kind(loader)
    record.begun += 1
    if kind == 'own':
        return iter(loader)
    record.start = _start(loader)
    if kind != 'workers':
        return iter(loader)
    if not _has_workers(loader):
        record.crew = _crew(loader, None)
        with _lent(loader, record.crew):
            iterator = iter(loader)
        record.crew.first = record.crew.current
    else:
        iterator = iter(loader)
    record.current = None if record.crew is None else record.crew.current
    return iterator


def _start(loader: Any) -> dict[str, Any]:
    start = {'random': _random.get_states(), 'held': _generators.get_states(_held(loader))}
    if _kind(loader) == 'reading':
        dataset = _stateful_dataset(loader)
        if dataset is not None:
            start['dataset'] = dataset.state_dict()
    return start


def _go_on_itself(loader: Any, record: _Record, state: dict[str, Any]) -> Iterator[Any]:
    record.begun = state['begun'] + (not state['done'])
    if 'own' in state:
        loader.load_state_dict(state['own'])
    if not state['done']:
        return iter(loader)
    now = _random.get_states()
    iterator = iter(loader)
    _random.set_states(now)
    return iterator


def _go_on_by_indices(loader: Any, record: _Record, state: dict[str, Any]) -> Iterator[Any]:
    _restore_dataset(loader, state)
    if not state['done']:
        _set_held(loader, state['held'])
        return _begin(loader, record)
    with _as_at_the_start(loader, record, state):
        indices = _Rest(_indices(loader))
        with _lent(loader, indices):
            iterator = iter(loader)
        indices.skip(state['done'])
    return iterator


class _Rest:
    """The indices of one pass, some of which have been used."""

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler
        self._indices: Iterator[Any] = iter(())

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Any]:
        self._indices = iter(self._sampler)
        return self._indices

    def skip(self, count: int) -> None:
        for _ in range(count):
            next(self._indices, None)


def _go_on_by_reading(loader: Any, record: _Record, state: dict[str, Any]) -> Iterator[Any]:
    persistent = getattr(loader, 'persistent_workers', False)
    first = state['begun'] - bool(state['done']) == 0
    if persistent and not first:
        _warn('its persistent workers had begun before, and begin anew')
    if not state['done']:
        _restore_dataset(loader, state)
        _set_held(loader, state['held'])
        if not (persistent and not first):
            return _begin(loader, record)
        # The workers are seeded once, and that had been done.
        now = _random.get_states()
        iterator = _begin(loader, record)
        _random.set_states(now)
        return iterator
    with _as_at_the_start(loader, record, state):
        if state['start'] is not None:
            _restore_dataset(loader, state['start'])
        iterator = iter(loader)
        for _ in range(state['done']):
            next(iterator, None)
    return iterator


def _go_on_with_workers(loader: Any, record: _Record, state: dict[str, Any]) -> Iterator[Any]:
    known = state.get('crew')
    same = state['workers'] == loader.num_workers
    if not same:
        _warn(f'it had {state["workers"]} workers and now has {loader.num_workers}')
    elif state['lost']:
        _warn('the random states of its workers are not known')
    states = known['states'] if known is not None and same else None
    if known is not None and known['born'] is not None and loader.persistent_workers:
        # They had been there before this epoch: nobody is to notice that they start.
        record.crew = _crew(loader, states)
        record.crew.idle = True
        record.crew.born = known['born']
        generator = torch.Generator()
        generator.set_state(known['born'])
        with _lent(loader, record.crew, generator=generator):
            iter(loader)
        record.crew.idle = False
    if not state['done']:
        _set_held(loader, state['held'])
        return _begin(loader, record)
    if state['ended'] and state['done'] >= state['drawn']:
        record.begun, record.start = state['begun'], state['start']
        _set_held(loader, state['held'])
        return iter(())
    exact = same and state['length'] == _length(loader)
    ahead = state['ahead'] if exact else ()
    with _as_at_the_start(loader, record, state):
        if not _has_workers(loader):
            record.crew = _crew(loader, states)
        crew: Any = record.crew
        crew.waiting = True
        starts = not _has_workers(loader)
        with _lent(loader, crew) if starts else contextlib.nullcontext():
            iterator: Any = iter(loader)
        indices, crew.waiting = crew.waiting, None
        for _ in range(state['done'] + len(ahead) + (exact and state['ended'])):
            next(indices, None)
    rest = _chain(ahead, indices)
    # What torch does at the start of an epoch, but from another batch on.
    iterator._sampler_iter = crew.numbered(rest, state['done'])
    record.current = crew.current
    if starts:
        crew.first = crew.current
    for _ in range(state['done'] % loader.num_workers):
        next(iterator._worker_queue_idx_cycle)
    for _ in range(crew.ahead):
        iterator._try_put_index()
    return iterator


def _chain(ahead: Any, indices: Iterator[Any]) -> Iterator[Any]:
    yield from ahead
    yield from indices


def _add_workers(state: dict[str, Any], loader: Any, record: _Record) -> None:
    crew, current = record.crew, record.current
    done, persistent = state['done'], loader.persistent_workers
    if crew is None or current is None:
        state.update(lost=bool(done) or _has_workers(loader), ended=False, drawn=0, ahead=[])
        return
    state.update(lost=False, ended=current.ended, drawn=current.drawn)
    over = not done or (current.ended and done >= current.drawn)
    if done:
        count = current.drawn - done
        state['ahead'] = list(current.ahead)[-count:] if count else []
    if over and not persistent:
        return
    states = crew.states(None if over else current, done)
    if states is None:
        state['lost'] = True
        return
    # In the epoch in which they start, they are started once more as they had been.
    older = persistent and (over or current is not crew.first)
    state['crew'] = {'states': states, 'born': crew.born if older else None}


def _crew(loader: Any, states: list[Any] | None) -> Crew:
    held = _generators.get_states(_generators.found_in(loader.dataset))
    size = 16384 + 2 * len(pickle.dumps(held))
    crew = Crew(_indices(loader), loader.num_workers, loader.prefetch_factor, size, states)
    crew.generator = loader.generator
    return crew


@contextlib.contextmanager
def _lent(loader: Any, indices: Any, **more: Any) -> Iterator[None]:
    """Let an iterator be made with other attributes; torch would refuse to have some set."""
    name = 'sampler' if loader.batch_sampler is None else 'batch_sampler'
    lent = {name: indices, **more}
    if isinstance(indices, Crew):
        lent['collate_fn'] = Tap(loader.collate_fn, indices.notes)
        if any(indices.initial):
            lent['worker_init_fn'] = Resume(loader.worker_init_fn, indices.initial)
    old = {name: vars(loader)[name] for name in lent}
    vars(loader).update(lent)
    try:
        yield
    finally:
        vars(loader).update(old)


@contextlib.contextmanager
def _as_at_the_start(loader: Any, record: _Record, state: dict[str, Any]) -> Iterator[None]:
    """Have the random states of the start of the epoch, and afterwards those of its batch."""
    record.begun, record.start = state['begun'], state['start']
    now = _random.get_states()
    if record.start is not None:
        _random.set_states(record.start['random'])
        _set_held(loader, record.start['held'])
    try:
        yield
    finally:
        _random.set_states(now)
        _set_held(loader, state['held'])


def _indices(loader: Any) -> Any:
    return loader.sampler if loader.batch_sampler is None else loader.batch_sampler


def _has_workers(loader: Any) -> bool:
    return loader.persistent_workers and loader._iterator is not None


def _held(loader: Any) -> list[Any]:
    parts = [getattr(loader, name, None) for name in ('generator', 'batch_sampler', 'sampler')]
    if getattr(loader, 'num_workers', 0) == 0:
        # Those of workers are copies, and the data set itself stays as it is.
        parts.append(getattr(loader, 'dataset', None))
    return _generators.found_in(*(part for part in parts if part is not None))


def _set_held(loader: Any, states: list[Any]) -> None:
    if not _generators.set_states(_held(loader), states):
        _warn('its samplers and data set do not keep the same random generators')


def _stateful_dataset(loader: Any) -> Any:
    dataset = getattr(loader, 'dataset', None)
    stateful = hasattr(dataset, 'state_dict') and hasattr(dataset, 'load_state_dict')
    return dataset if stateful and getattr(loader, 'num_workers', 0) == 0 else None


def _restore_dataset(loader: Any, state: dict[str, Any]) -> None:
    dataset = _stateful_dataset(loader)
    if dataset is not None and 'dataset' in state:
        dataset.load_state_dict(state['dataset'])


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None


def _warn(reason: str) -> None:
    log(
        f'A data loader goes on as well as it can, but not exactly: {reason}',
        log_level=logging.WARNING,
    )
