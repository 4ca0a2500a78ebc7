"""The lines of metrics.json, in columns: there may be millions of them.

A resumed run appends to the file of the run before. What that one had written of the epochs that
come again does not belong to the weights there are in the end: it is put aside.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

from .find import START

# A place is where in the run a record was written: epoch, iteration within it, and whether it is
# of a validation, in one number that grows.
_HALF = 1 << 33
_END = _HALF - 2


def place_of(epoch: int, iteration: int | None, validation: bool = False) -> int:
    """Return a place; None for the end of the epoch."""
    within = _END if iteration is None else min(iteration << 1, _END)
    return epoch * _HALF + within + validation


def epoch_of(place: int) -> int:
    """Return the epoch of a place, from 1."""
    return place // _HALF


def iteration_of(place: int) -> int | None:
    """Return the iteration within the epoch, from 1; None for its end."""
    within = (place % _HALF) & ~1
    return None if within == _END else within >> 1


class Block:
    """Records of one mode that have the same keys."""

    def __init__(self, mode: str, keys: tuple[str, ...]) -> None:
        self.mode = mode
        self.keys = keys
        self.places = array('q')
        self.columns = [array('d') for _ in keys]

    def take_from(self, place: int) -> Block:
        """Cut off and return what is at a place or after it."""
        row = bisect_left(self.places, place)
        tail = Block(self.mode, self.keys)
        tail.places, self.places = self.places[row:], self.places[:row]
        for index, column in enumerate(self.columns):
            tail.columns[index], self.columns[index] = column[row:], column[:row]
        return tail


class Records:
    """All that a run has written of its losses, metrics and learning rates.

    ``cuts`` has, for each step back, the places of the last record before it (0 if there is none)
    and of the first after it; ``aside`` what was put aside for it.
    """

    def __init__(self) -> None:
        self.blocks: dict[tuple[str, tuple[str, ...]], Block] = {}
        self.cuts: list[tuple[int, int]] = []
        self.aside: list[Records] = []
        self.unreadable = 0
        self.torn = False
        self._last = -1
        self._modes: set[str] = set()
        self._training = 0

    def __len__(self) -> int:
        return sum(len(block.places) for block in self.blocks.values())

    def read(self, lines: Iterable[bytes]) -> Records:
        """Add the lines of a file, as far as they can be read."""
        torn = b''
        for line in lines:
            torn = b''
            try:
                self.add(json.loads(line))
            except (ValueError, TypeError, KeyError, OverflowError):
                if not self._mend(line):
                    torn = line
                    self.unreadable += bool(line.strip())
        # The last one may be on its way yet, or never have come.
        self.torn = bool(torn.strip()) and not torn.endswith(b'\n')
        self.unreadable -= self.torn
        return self

    def _mend(self, line: bytes) -> bool:
        # Where a process died within a line, the next one went on in it.
        start = line.rfind(START)
        if start <= 0:
            return False
        self.unreadable += 1
        try:
            self.add(json.loads(line[start:]))
        except (ValueError, TypeError, KeyError, OverflowError):
            return False
        return True

    def add(self, record: dict[str, Any]) -> None:
        """Add one record, which is used up."""
        mode, epoch, iteration = record.pop('mode'), record.pop('epoch'), record.pop('iter')
        training = mode == 'train'
        if training:
            place = epoch * _HALF + (iteration << 1)
        else:
            place = self._after_training(epoch, iteration)
        if place <= self._last and (place < self._last or mode in self._modes):
            self._step_back(place)
        if place != self._last:
            self._last, self._modes = place, set()
        self._modes.add(mode)
        if training:
            self._training = place
        if type(record.get('lr')) is list:
            record.update(_rates(record.pop('lr')))
        if not self._append(mode, place, record):
            numbers = {key: v for key, v in record.items() if isinstance(v, (int, float))}
            self._append(mode, place, numbers)

    def _append(self, mode: str, place: int, record: dict[str, Any]) -> bool:
        """Append a record to its block; return whether all of it were numbers."""
        keys = tuple(record)
        block = self.blocks.get((mode, keys)) or Block(mode, keys)
        try:
            for column, value in zip(block.columns, record.values(), strict=True):
                column.append(value)
        except TypeError:
            for column in block.columns:
                del column[len(block.places) :]
            return False
        block.places.append(place)
        self.blocks[mode, keys] = block
        return True

    def _after_training(self, epoch: int, iteration: int) -> int:
        """Return the place of a validation: after an epoch, or in the midst of the next one."""
        if iteration <= 0 or epoch_of(self._training) != epoch + 1:
            return place_of(epoch, None, True)
        # A hook that validates within an iteration sees the number of those before it.
        within = iteration_of(self._training)
        return place_of(epoch + 1, iteration + (within == iteration + 1), True)

    def _step_back(self, place: int) -> None:
        gone = Records()
        for key, block in self.blocks.items():
            tail = block.take_from(place)
            if tail.places:
                gone.blocks[key] = tail
        self.blocks = {key: block for key, block in self.blocks.items() if block.places}
        if gone.blocks:
            self.aside.append(gone)
            self.cuts.append((self.last, place))
        self._last = -1

    def modes(self) -> list[str]:
        """Return the modes that there are records of: train, val, test, in this order."""
        order = ['train', 'val', 'test']
        modes = {block.mode for block in self.blocks.values()}
        return sorted(modes, key=lambda mode: (order.index(mode) if mode in order else 9, mode))

    def keys(self, *modes: str) -> list[str]:
        """Return the keys in records of these modes, of all if none is given."""
        found: dict[str, None] = {}
        for block in self.blocks.values():
            if not modes or block.mode in modes:
                found.update(dict.fromkeys(block.keys))
        return list(found)

    def series(self, mode: str, key: str) -> tuple[array[int], array[float]]:
        """Return the places and values of a key, in order; both empty where there are none."""
        blocks = [b for b in self.blocks.values() if b.mode == mode and key in b.keys]
        if len(blocks) == 1:
            (block,) = blocks
            return block.places, block.columns[block.keys.index(key)]
        pairs = sorted(
            pair
            for block in blocks
            for pair in zip(block.places, block.columns[block.keys.index(key)], strict=True)
        )
        return array('q', (place for place, _ in pairs)), array('d', (v for _, v in pairs))

    def ends(self) -> dict[int, int]:
        """Return, for each epoch that was trained, its last iteration that was recorded."""
        found: dict[int, int] = {}
        for block in self.blocks.values():
            row = 0
            while block.mode == 'train' and row < len(block.places):
                epoch = epoch_of(block.places[row])
                row = bisect_left(block.places, (epoch + 1) * _HALF, row)
                last = iteration_of(block.places[row - 1]) or 0
                found[epoch] = max(last, found.get(epoch, 0))
        return found

    @property
    def last(self) -> int:
        """The place of the last record; 0 if there is none."""
        return max((block.places[-1] for block in self.blocks.values() if block.places), default=0)


def _rates(groups: list[Any]) -> dict[str, float]:
    """Return the learning rates of parameter groups under names of their own."""
    rates: dict[str, float] = {}
    for index, group in enumerate(groups):
        named = group if isinstance(group, Mapping) else {str(index): group}
        rates.update((f'lr[{name}]', rate) for name, rate in named.items())
    return rates
