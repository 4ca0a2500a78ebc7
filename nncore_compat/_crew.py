"""The workers of a data loader: which batch each has made, and its random states after that.

A worker is told with the indices which batch it makes. It notes the states of its generators in
shared memory after each batch; the batches themselves are left alone. The main process looks there
when a checkpoint is written, and hands the states to the workers of a later run.
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from . import _generators, _random

_HEADER = 4  # pass, number, slot and length of a note, eight bytes each
_PATIENCE = 60.0

# In a worker: the batch it is making. Set by `_receive`, read by `Tap`.
_current = (0, 0)


def _receive(batch: tuple[int, int], index: Any) -> Any:
    global _current
    _current = batch
    return index


class _Numbered:
    """An index on its way to a worker, where it arrives as it was, and its number beside it."""

    def __init__(self, batch: tuple[int, int], index: Any) -> None:
        self._args = batch, index

    def __reduce__(self) -> tuple[Any, ...]:
        return _receive, self._args


class Notes:
    """What workers have noted of their last batches.

    Args:
        workers: How many there are.
        kept: How many batches back the states of a worker are kept.
        size: How many bytes a worker's states take at most.
    """

    def __init__(self, workers: int, kept: int, size: int) -> None:
        self._kept = kept
        self._heads = torch.full((workers, kept, _HEADER), -1, dtype=torch.int64).share_memory_()
        self._slots = torch.zeros((workers, kept, size), dtype=torch.uint8).share_memory_()

    def writer(self, worker: int) -> Callable[[tuple[int, int], bytes | None], None]:
        """Return what notes a worker's states after a batch, None if they have not changed."""
        heads, slots = self._heads[worker].numpy(), self._slots[worker].numpy()
        kept, size = slots.shape
        count, slot, length = 0, -1, 0

        def write(batch: tuple[int, int], payload: bytes | None) -> None:
            nonlocal count, slot, length
            if payload is not None:
                # The slot of a batch so far back that nobody asks for it.
                slot, length = (slot + 1) % kept, len(payload)
                if length <= size:
                    slots[slot, :length] = np.frombuffer(payload, dtype=np.uint8)
            head = heads[count % kept]
            head[:2] = -1
            head[2:] = slot, length
            head[:2] = batch
            count += 1

        return write

    def read(self, worker: int, batch: tuple[int, int]) -> bytes | None:
        """Return a worker's states after a batch, None if it has not made it, or long ago."""
        for *made, slot, length in self._heads[worker].tolist():
            if tuple(made) == batch and length <= self._slots.shape[2]:
                return self._slots[worker, slot, :length].numpy().tobytes()
        return None


class Tap:
    """Stands for a loader's `collate_fn` in its workers, and notes their states after it.

    Args:
        collate_fn: The loader's own.
        notes: Where to note them.
    """

    def __init__(self, collate_fn: Callable[[Any], Any], notes: Notes) -> None:
        self._collate_fn = collate_fn
        self._notes = notes
        self._write: Any = None
        self._last: Any = None

    def __call__(self, data: Any) -> Any:
        batch = self._collate_fn(data)
        self._note()
        return batch

    def _note(self) -> None:
        info: Any = get_worker_info()
        if self._write is None:
            self._write = self._notes.writer(info.id)
        states = _random.raw_states()
        held = _generators.get_states(_generators.found_in(info.dataset))
        payload = None
        if held or self._last is None or not _same(states, self._last):
            python, numpy, torch_ = self._last = states
            payload = pickle.dumps((python, numpy, torch_.numpy(), held), protocol=5)
        self._write(_current, payload)


def _same(a: Any, b: Any) -> bool:
    # The positions differ as soon as numbers are drawn, but for a whole turn of the generator.
    return (
        a[0] == b[0]
        and a[1][2:] == b[1][2:]
        and np.array_equal(a[1][1], b[1][1])
        and torch.equal(a[2], b[2])
    )


class Resume:
    """Stands for a loader's `worker_init_fn`, and sets a worker to its states of an earlier run.

    Args:
        init_fn: The loader's own, or None.
        states: The states of each worker, or None.
    """

    def __init__(self, init_fn: Callable[[int], None] | None, states: list[Any]) -> None:
        self._init_fn = init_fn
        self._states = states

    def __call__(self, worker: int) -> None:
        if self._init_fn is not None:
            self._init_fn(worker)
        states = self._states[worker]
        if states is not None:
            info: Any = get_worker_info()
            _random.set_states(states)
            _generators.set_states(_generators.found_in(info.dataset), states['held'])


class Pass:
    """One pass over the indices of a loader.

    Args:
        number: Its number among the passes of the same workers.
        first: The number of the first batch.
        before: The last batch that each worker had been told to make before.
    """

    def __init__(self, number: int, first: int, before: list[tuple[int, int] | None]) -> None:
        self.number = number
        self.first = self.drawn = first
        self.ended = False
        self.before = before
        self.ahead: deque[Any] = deque()


class Crew:
    """The workers of one iterator, and the indices they are given.

    It is put in the place of the loader's (batch) sampler when the iterator is made.

    Args:
        sampler: The loader's own.
        workers: How many workers there are.
        prefetch: How many batches each of them is ahead at most.
        size: How many bytes the states of a worker take at most.
        initial: The states that workers have begun with, if these are those of an earlier run.
    """

    def __init__(
        self, sampler: Any, workers: int, prefetch: int, size: int, initial: list[Any] | None
    ) -> None:
        self.sampler = sampler
        self.workers = workers
        self.ahead = workers * prefetch
        # One more than a worker can be ahead; one more that it may be writing.
        self.notes = Notes(workers, prefetch + 2, size)
        self.initial = initial or [None] * workers
        self.told: list[tuple[int, int] | None] = [None] * workers
        self.passes = 0
        self.current = Pass(0, 0, list(self.told))
        self.first: Pass | None = None  # the one with which the workers have started
        self.generator: torch.Generator | None = None
        self.born: torch.Tensor | None = None
        self.idle = False
        self.waiting: Any = None

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        if self.idle:
            return iter(())
        indices = iter(self.sampler)
        if self.born is None:
            # The seed of the workers is drawn next.
            generator = self.generator or torch.default_generator
            self.born = generator.get_state()
        if self.waiting is not None:
            self.waiting = indices
            return iter(())
        return self.numbered(indices, 0)

    def numbered(self, indices: Iterator[Any], first: int) -> Iterator[Any]:
        """Begin a pass over indices.

        Args:
            indices: The indices.
            first: The number of the first one.
        """
        self.passes += 1
        self.current = Pass(self.passes, first, list(self.told))
        self.current.ahead = deque(maxlen=self.ahead)
        return self._number(indices, self.current)

    def _number(self, indices: Iterator[Any], current: Pass) -> Iterator[_Numbered]:
        for index in indices:
            batch = current.number, current.drawn
            current.drawn += 1
            current.ahead.append(index)
            self.told[batch[1] % self.workers] = batch
            yield _Numbered(batch, index)
        current.ended = True

    def states(self, current: Pass | None, done: int) -> list[Any] | None:
        """Return the states of the workers, None if any is unknown.

        Args:
            current: A pass: the states after its batches that have been handed out; or None:
                those after everything that the workers have been told to do.
            done: How many batches of that pass have been handed out.
        """
        found = []
        for worker in range(self.workers):
            batch = self.told[worker]
            if current is not None:
                last = done - 1 - (done - 1 - worker) % self.workers
                within = last >= current.first
                batch = (current.number, last) if within else current.before[worker]
            states = self.initial[worker] if batch is None else self._read(worker, batch)
            if states is None and batch is not None:
                return None
            found.append(states)
        return found

    def _read(self, worker: int, batch: tuple[int, int]) -> dict[str, Any] | None:
        # A batch that was handed out is there; one that nobody has taken may still be made.
        until = time.monotonic() + _PATIENCE
        while (payload := self.notes.read(worker, batch)) is None:
            if batch != self.told[worker] or time.monotonic() > until:
                return None
            time.sleep(0.001)
        python, numpy, torch_, held = pickle.loads(payload)
        states = _random.plain((python, numpy, torch.from_numpy(torch_.copy())))
        return {**states, 'held': held}
