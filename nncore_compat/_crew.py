"""The workers of a data loader: where they are, and making them go on from there.

The one place with private names of torch: those of an iterator at the start of an epoch.
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch

from . import _generators
from . import _loader_parts as parts
from ._worker_notes import Batch, Notes, Numbered, Resume, Tap

# Seconds to wait for a batch that was asked for and is not wanted any more.
_PATIENCE = 60.0


class Pass:
    """One pass over the indices of a loader.

    Args:
        number: Its number among the passes of the same workers.
        first: The number of its first batch.
        before: The last batch that each worker had been told of before.
        ahead: How many indices are drawn ahead of the batch that is handed out.
    """

    def __init__(self, number: int, first: int, before: list[Batch | None], ahead: int) -> None:
        self.number = number
        self.first = self.drawn = first
        self.ended = False
        self.before = before
        self.last: deque[Any] = deque(maxlen=ahead)


class Crew:
    """The workers of one iterator, which takes this for its sampler.

    Args:
        loader: The loader.
        initial: The states that the workers begin with, where these are those of an earlier run.
    """

    def __init__(self, loader: Any, initial: list[Any] | None = None) -> None:
        self.workers: int = loader.num_workers
        self.initial = initial or [None] * self.workers
        # The state of the generator that the workers' seed is drawn from.
        self.born: torch.Tensor | None = None
        # The pass with which they have started.
        self.first: Pass | None = None
        self.current: Pass | None = None
        self.ahead: int = self.workers * loader.prefetch_factor
        self._sampler = parts.indices(loader)
        self._generator = loader.generator
        self._told: list[Batch | None] = [None] * self.workers
        self._passes = 0
        self._asleep = self._holding = False
        self._held: Iterator[Any] = iter(())
        held = _generators.raw_states(_generators.found_in(loader.dataset))
        size = 16384 + 2 * len(pickle.dumps(held))
        # A worker may be as far ahead, and writing of one more.
        self._notes = Notes(self.workers, loader.prefetch_factor + 2, size)

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Any]:
        # Torch asks twice at first, and after the first time draws the seed of the workers.
        if self._asleep:
            return iter(())
        indices = iter(self._sampler)
        if self.born is None:
            generator = self._generator or torch.default_generator
            self.born = generator.get_state()
        if self._holding:
            self._held = indices
            return iter(())
        return self.number(indices)

    def start(self, loader: Any) -> Iterator[Any]:
        """Start the workers, with a pass."""
        more: dict[str, Any] = {'collate_fn': Tap(loader.collate_fn, self._notes)}
        if any(self.initial):
            more['worker_init_fn'] = Resume(loader.worker_init_fn, self.initial)
        if self._asleep:
            more['generator'] = torch.Generator()
            more['generator'].set_state(self.born)
        with parts.lent(loader, self, **more):
            iterator = iter(loader)
        self.first = self.current
        return iterator

    def start_asleep(self, loader: Any, born: torch.Tensor) -> None:
        """Start persistent workers as if they had been there: no random number is drawn.

        Args:
            loader: The loader.
            born: The state of the generator when they were first started.
        """
        self._asleep, self.born = True, born
        self.start(loader)
        self._asleep = False

    def hold(self, loader: Any) -> tuple[Any, Iterator[Any]]:
        """Begin an epoch but hold back its indices; return the iterator and the indices."""
        self._holding = True
        iterator = iter(loader) if parts.persists(loader) else self.start(loader)
        self._holding = False
        return iterator, self._held

    def go_on(self, iterator: Any, indices: Iterator[Any], done: int, starting: bool) -> None:
        """Begin a pass where `hold` has stopped, at another batch than the first.

        Args:
            iterator: The iterator.
            indices: The indices of the batches from there on.
            done: How many batches there are before.
            starting: Whether the workers have started with this epoch.
        """
        iterator._sampler_iter = self.number(indices, done)
        if starting:
            self.first = self.current
        for _ in range(done % self.workers):
            next(iterator._worker_queue_idx_cycle)
        for _ in range(self.ahead):
            iterator._try_put_index()

    def number(self, indices: Iterator[Any], first: int = 0) -> Iterator[Numbered]:
        """Begin a pass.

        Args:
            indices: The indices of its batches.
            first: The number of the first batch.
        """
        self._passes += 1
        self.current = Pass(self._passes, first, list(self._told), self.ahead)
        return self._number(indices, self.current)

    def _number(self, indices: Iterator[Any], current: Pass) -> Iterator[Numbered]:
        for index in indices:
            batch = current.number, current.drawn
            current.drawn += 1
            current.last.append(index)
            self._told[batch[1] % self.workers] = batch
            yield Numbered(batch, index)
        current.ended = True

    def states(self, current: Pass | None, done: int) -> list[Any] | None:
        """Return the random states of the workers, None if any is not known.

        Args:
            current: A pass, for the states after those of its batches that are handed out; None
                for the states after all that the workers have been told of.
            done: How many batches of that pass are handed out.
        """
        found = []
        for worker in range(self.workers):
            batch = self._told[worker]
            if current is not None:
                last = done - 1 - (done - 1 - worker) % self.workers
                batch = current.before[worker]
                if last >= current.first:
                    batch = current.number, last
            if batch is None:
                found.append(self.initial[worker])
                continue
            states = self._read(worker, batch)
            if states is None:
                return None
            found.append(states)
        return found

    def _read(self, worker: int, batch: Batch) -> dict[str, Any] | None:
        until = time.monotonic() + _PATIENCE
        while (states := self._notes.read(worker, batch)) is None:
            # What is handed out is there; the last one that it was told of may still be made.
            if batch != self._told[worker] or time.monotonic() > until:
                return None
            time.sleep(0.001)
        return states


def begin(loader: Any, crew: Crew | None) -> tuple[Iterator[Any], Crew | None]:
    """Begin an epoch with a loader's workers, and start these if they are not there.

    Args:
        loader: The loader.
        crew: The workers of an epoch before.

    Returns:
        The iterator and its workers; None for workers that somebody else has started.
    """
    if parts.persists(loader):
        return iter(loader), crew
    crew = Crew(loader)
    return crew.start(loader), crew


def state(loader: Any, crew: Crew | None, current: Pass | None, done: int) -> dict[str, Any]:
    """Return where a loader's workers are, as plain data and tensors.

    Args:
        loader: The loader.
        crew: Its workers, None if there are none or they are not known.
        current: The pass that is running, None between epochs.
        done: How many of its batches are handed out.
    """
    found: dict[str, Any] = {'crew': None, 'lost': False, 'ahead': None, 'ended': False}
    if crew is None:
        return {**found, 'lost': parts.persists(loader) or done > 0}
    over = current is None or (current.ended and done >= current.drawn)
    if current is not None:
        last = list(current.last)
        ahead = last[len(last) - max(0, current.drawn - done) :]
        found['ahead'] = parts.plain(ahead, 'the order of the samples')
        found['ended'] = current.ended
    if over and not loader.persistent_workers:
        return found
    states = crew.states(None if over else current, done)
    if states is None:
        return {**found, 'lost': True}
    # Those that have started with this epoch are to start with it again.
    born = None if current is crew.first and not over else crew.born
    return {**found, 'crew': {'states': states, 'born': born}}


def restart(loader: Any, state: dict[str, Any]) -> Crew | None:
    """Have the workers there again that were there before the epoch.

    Args:
        loader: The loader, with no workers.
        state: Where it was.
    """
    known, same = state.get('crew'), state['workers'] == loader.num_workers
    if not same:
        parts.warn(f'it had {state["workers"]} workers, and now has {loader.num_workers}')
    elif state.get('lost'):
        parts.warn('the random states of its workers are not known')
    if known is None or known['born'] is None or not loader.persistent_workers:
        return None
    crew = Crew(loader, known['states'] if same else None)
    crew.start_asleep(loader, known['born'])
    return crew


def go_on(
    loader: Any, state: dict[str, Any], crew: Crew | None
) -> tuple[Iterator[Any], Crew | None]:
    """Go on within an epoch.

    Args:
        loader: The loader.
        state: Where it was.
        crew: The workers that were there before the epoch, None if they have started with it.

    Returns:
        The iterator and its workers.
    """
    done, ahead, ended = state['done'], state.get('ahead'), state.get('ended', False)
    if ended and not ahead:
        parts.restore_sampling(loader, state)
        return iter(()), crew
    if ahead is None or state['length'] != parts.length(loader):
        ahead, ended = [], False
    starting, known = crew is None, state.get('crew')
    with parts.as_at(loader, state['start'], state):
        if crew is None:
            fits = state['workers'] == loader.num_workers
            crew = Crew(loader, known['states'] if known and fits else None)
        iterator, indices = crew.hold(loader)
        for _ in range(done + len(ahead) + ended):
            next(indices, None)
    # Those that had been drawn already: the generators may have been elsewhere by then.
    crew.go_on(iterator, chain(ahead, indices), done, starting)
    return iterator, crew
