"""What a data loader's workers note: the states of their random generators after each batch.

A worker is told with the indices which batch it makes, and writes into shared memory. The main
process looks there when it needs to know; the batches themselves are left alone.
"""

from __future__ import annotations

import ctypes
import pickle
import random
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from . import _generators, _plain, _random

# A pass over the indices and, in it, the number of a batch.
Batch = tuple[int, int]

# In a worker: the batch that it is making.
_current: Batch = (0, 0)


class Numbered:
    """Indices on their way to a worker: they arrive as they were, and `_current` is set.

    Args:
        batch: The batch to be made of them.
        index: The indices.
    """

    def __init__(self, batch: Batch, index: Any) -> None:
        self._args = batch, index

    def __reduce__(self) -> tuple[Any, ...]:
        return _receive, self._args


def _receive(batch: Batch, index: Any) -> Any:
    global _current
    _current = batch
    return index


class Notes:
    """The states of each worker after its last batches.

    Args:
        workers: How many workers there are.
        kept: How many batches back the states of a worker are kept.
        size: How many bytes they take at most.
    """

    def __init__(self, workers: int, kept: int, size: int) -> None:
        # Pass, number, slot and length for each of a worker's last batches.
        self._heads = torch.full((workers, kept, 4), -1, dtype=torch.int64).share_memory_()
        self._slots = torch.zeros((workers, kept, size), dtype=torch.uint8).share_memory_()

    def writer(self, worker: int) -> Callable[[Batch, bytes | None], None]:
        """Return what notes the states after a batch, None for the same as after the last one."""
        heads, slots = self._heads[worker].numpy(), self._slots[worker].numpy()
        kept, size = slots.shape
        count, slot, length = 0, -1, 0

        def write(batch: Batch, states: bytes | None) -> None:
            nonlocal count, slot, length
            if states is not None:
                # The slot that was taken longest ago: that batch is not asked for any more.
                slot, length = (slot + 1) % kept, len(states)
                if length <= size:
                    slots[slot, :length] = np.frombuffer(states, dtype=np.uint8)
            head = heads[count % kept]
            head[2:] = slot, length
            head[:2] = batch  # last, as this says that it is there
            count += 1

        return write

    def read(self, worker: int, batch: Batch) -> dict[str, Any] | None:
        """Return a worker's states after a batch; None if it has not made it, or long ago."""
        for *made, slot, length in self._heads[worker].tolist():
            if tuple(made) == batch and length <= self._slots.shape[2]:
                return _unpacked(self._slots[worker, slot, :length].numpy().tobytes())
        return None


class Tap:
    """Stands for a loader's `collate_fn` in its workers: what a worker does last for a batch.

    Args:
        collate_fn: The loader's own.
        notes: Where to note the states.
    """

    def __init__(self, collate_fn: Callable[[Any], Any], notes: Notes) -> None:
        self._collate_fn = collate_fn
        self._notes = notes
        self._write: Any = None
        self._last: Any = None

    def __call__(self, data: Any) -> Any:
        batch = self._collate_fn(data)
        info: Any = get_worker_info()
        if self._write is None:
            self._write = self._notes.writer(info.id)
            self._watch = _NumpyWatch()
        states = random.getstate(), self._watch.state(), torch.get_rng_state().numpy().tobytes()
        held = _generators.raw_states(_generators.found_in(info.dataset))
        changed = held or states != self._last
        self._last = states
        self._write(_current, _packed(states, held) if changed else None)
        return batch


class _NumpyWatch:
    """Asks numpy for its state only where that may have changed: it takes its time."""

    def __init__(self) -> None:
        # It may have been set to another bit generator, or be too old to tell.
        found = getattr(np.random, 'get_bit_generator', lambda: None)()
        self._address = found.ctypes.state_address if type(found) is np.random.MT19937 else None
        self._seen = b''
        self._state: Any = None

    def state(self) -> Any:
        """Return a new object only if numbers were drawn."""
        seen = ctypes.string_at(self._address, 625 * 4) if self._address else b''
        # Of two numbers of a normal distribution that are drawn at once, the second is kept.
        if not seen or seen != self._seen or self._state.kept:
            self._seen, self._state = seen, _NumpyState(np.random.get_state())
        return self._state


class _NumpyState:
    def __init__(self, state: Any) -> None:
        self.state = state
        self.kept = bool(state[3])

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, _NumpyState):
            return self is other
        return self.state[2:] == other.state[2:] and np.array_equal(self.state[1], other.state[1])


def _packed(states: tuple[Any, _NumpyState, bytes], held: list[Any]) -> bytes:
    (version, words, gauss), numpy, torch_ = states
    python = version, array('I', words).tobytes(), gauss
    return pickle.dumps((python, numpy.state, torch_, held), protocol=5)


def _unpacked(data: bytes) -> dict[str, Any]:
    (version, words, gauss), numpy, torch_, held = pickle.loads(data)
    python = version, tuple(array('I', words)), gauss
    state = torch.frombuffer(bytearray(torch_), dtype=torch.uint8)
    return {**_random.plain(python, numpy, state), 'held': _plain.state(held)}


class Resume:
    """Stands for a loader's `worker_init_fn`: sets workers to their states of an earlier run.

    Args:
        init_fn: The loader's own, or None.
        states: The states of each worker, None for one that had not made a batch.
    """

    def __init__(self, init_fn: Callable[[int], None] | None, states: list[Any]) -> None:
        self._init_fn = init_fn
        # Tensors of some types cannot be sent to a process.
        self._states = _plain.restored(states)

    def __call__(self, worker: int) -> None:
        if self._init_fn is not None:
            self._init_fn(worker)
        states = self._states[worker]
        if states is not None:
            info: Any = get_worker_info()
            _random.set_states(states)
            _generators.set_states(_generators.found_in(info.dataset), states['held'])
