"""Iterating a data loader such that a later run can go on at the batch where this one has stopped.

The order of the samples is made again from the random states at the start of the epoch, without
loading what had been used. Workers go on with the random states that they had, see `_crew`. A
loader that has a state itself is asked for it. Anything else that can be iterated is read once
more up to the batch. The random states of the process, in between, are the caller's.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

from . import _crew, _plain, _random
from . import _loader_parts as parts


class _Epoch:
    """One iteration of a loader."""

    def __init__(
        self, iterator: Any, start: dict[str, Any] | None, crew: _crew.Crew | None
    ) -> None:
        self.start = start
        self.crew = crew
        self.current = None if crew is None else crew.current
        self._iterator: Any = None
        # Not kept alive: a loader's workers stop with it.
        with contextlib.suppress(TypeError):
            self._iterator = weakref.ref(iterator)

    def alive(self) -> bool:
        return self._iterator is not None and self._iterator() is not None


class _Record:
    """What is known of a loader."""

    def __init__(self) -> None:
        self.epochs: list[_Epoch] = []
        self.crew: _crew.Crew | None = None
        # The state to go on from, until the first batch is asked for.
        self.resumed: dict[str, Any] | None = None
        # Of a loader without a length: how many batches its last iteration has given.
        self.count = 0

    def begin(self, iterator: Any, start: dict[str, Any] | None) -> Iterator[Any]:
        self.epochs = [epoch for epoch in self.epochs if epoch.alive()]
        self.epochs.append(_Epoch(iterator, start, self.crew))
        return iterator

    def running(self) -> _Epoch | None:
        # A hook may have iterated the same loader meanwhile, and is through with it.
        known = [epoch for epoch in self.epochs if epoch.alive()] or self.epochs
        return known[-1] if known else None


class _Counted:
    """Iterates a loader that does not know its length."""

    def __init__(self, iterator: Iterator[Any], record: _Record) -> None:
        self._iterator = iterator
        self._record = record
        record.count = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        batch = next(self._iterator)
        self._record.count += 1
        return batch


_records: dict[int, tuple[Any, _Record]] = {}


def batches(loader: Any) -> Iterator[Any]:
    """Iterate a loader as `iter` would; after `restore`, from the batch where it had stopped.

    Args:
        loader: The loader, or any iterable.

    Returns:
        Its iterator. Within an epoch, going on leaves the random states of the process alone.
    """
    record = _record(loader)
    iterator = _iterate(loader, record)
    return iterator if parts.length(loader) is not None else _Counted(iterator, record)


def length(loader: Any) -> int:
    """Return the number of a loader's batches; if it does not tell, those that it gave last."""
    known = parts.length(loader)
    return _record(loader).count if known is None else known


def _iterate(loader: Any, record: _Record) -> Iterator[Any]:
    state, record.resumed = record.resumed, None
    kind = parts.kind(loader)
    if state is None:
        return _begin(loader, kind, record)
    if kind != state['kind']:
        if 'own' in (kind, state['kind']):
            kind = 'reading'
        parts.warn('it is a loader of another kind')
    if kind == 'own':
        return _resume_own(loader, state, record)
    if kind == 'reading':
        return _resume_by_reading(loader, state, record)
    if kind == 'indices':
        parts.restore_data(loader, state)
    else:
        record.crew = _crew.restart(loader, state)
    if not state['done']:
        parts.restore_sampling(loader, state)
        return _begin(loader, kind, record)
    if kind == 'indices':
        return record.begin(_resume_by_indices(loader, state), state['start'])
    iterator, record.crew = _crew.go_on(loader, state, record.crew)
    return record.begin(iterator, state['start'])


def state_of(loader: Any, done: int | None = None) -> dict[str, Any]:
    """Return where a loader is, as plain data and tensors.

    Args:
        loader: The loader.
        done: How many batches of the running epoch are handed out; None or 0 between epochs.

    Returns:
        The state. 'done' is in it, and may be changed where epochs have another length now.
    """
    record = _record(loader)
    if record.resumed is not None:  # and no batch was asked for since
        return dict(record.resumed)
    kind, epoch = parts.kind(loader), record.running() if done else None
    state: dict[str, Any] = {'kind': kind, 'done': done or 0, 'start': epoch and epoch.start}
    if kind == 'own':
        if record.epochs:
            with _random.unnoticed():
                state['own'] = parts.plain(loader.state_dict(), 'the state of the data loader')
        return state
    state.update(
        parts.state(loader),
        length=parts.length(loader),
        workers=getattr(loader, 'num_workers', 0),
        persists=parts.persists(loader),
    )
    if kind == 'workers':
        # Between epochs of workers that persist, or of none: these have one iterator.
        crew = epoch.crew if epoch else record.crew
        current = epoch.current if epoch else None
        state.update(_crew.state(loader, crew, current, state['done']))
    return state


def restore(loader: Any, state: dict[str, Any]) -> None:
    """Have the next `batches` go on where a state was taken, with the batch after 'done'.

    Args:
        loader: The loader. It may be another object, but is to be made in the same way.
        state: What `state_of` has returned.
    """
    if parts.persists(loader) and parts.kind(loader) != 'own':
        # Its workers are elsewhere.
        loader._iterator = None
    record = _record(loader)
    record.epochs, record.crew, record.resumed = [], None, dict(state)


def _record(loader: Any) -> _Record:
    known = _records.get(id(loader))
    if known is None:
        key, reference = id(loader), loader
        # What cannot be referred to weakly is kept, lest its number is given to another.
        with contextlib.suppress(TypeError):
            reference = weakref.ref(loader, lambda _: _records.pop(key, None))
        known = _records[key] = reference, _Record()
    return known[1]


def _begin(loader: Any, kind: str, record: _Record) -> Iterator[Any]:
    start: dict[str, Any] = {'random': _random.get_states()}
    if kind != 'own':
        start.update(parts.state(loader, data=kind == 'reading'), persists=parts.persists(loader))
    if kind == 'workers':
        iterator, record.crew = _crew.begin(loader, record.crew)
    else:
        iterator = iter(loader)
    return record.begin(iterator, start)


def _resume_own(loader: Any, state: dict[str, Any], record: _Record) -> Iterator[Any]:
    now = _random.get_states()
    if state['start'] is not None:
        _random.set_states(state['start']['random'])
    if state.get('own') is not None:
        loader.load_state_dict(_plain.restored(state['own']))
        # It makes its iterator of the past now, and not with the next epoch.
        loader.state_dict()
    if not state['done']:
        _random.set_states(now)
        return _begin(loader, 'own', record)
    iterator = iter(loader)
    _random.set_states(now)
    return record.begin(iterator, state['start'])


def _resume_by_reading(loader: Any, state: dict[str, Any], record: _Record) -> Iterator[Any]:
    start = state['start']
    persisted = (start or state).get('persists', False)
    if persisted:
        parts.warn('its workers, which persist, start anew')
    if state['done']:
        with parts.as_at(loader, start, state):
            parts.restore_data(loader, start or {})
            iterator = iter(loader)
            for _ in range(state['done']):
                next(iterator, None)
        return record.begin(iterator, start)
    parts.restore_data(loader, state)
    parts.restore_sampling(loader, state)
    # The seed of workers that persist had been drawn before.
    with _random.unnoticed() if persisted else contextlib.nullcontext():
        return _begin(loader, 'reading', record)


class _Indices:
    """The indices of a loader, for one epoch."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler
        self.rest: Iterator[Any] = iter(())

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        self.rest = iter(self.sampler)
        return self.rest


def _resume_by_indices(loader: Any, state: dict[str, Any]) -> Iterator[Any]:
    indices = _Indices(parts.indices(loader))
    with parts.as_at(loader, state['start'], state):
        with parts.lent(loader, indices):
            iterator = iter(loader)
        for _ in range(state['done']):
            next(indices.rest, None)
    return iterator
