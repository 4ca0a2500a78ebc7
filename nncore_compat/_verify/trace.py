"""What a process has written down, read while it is being written, and where two of them part."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

ABSENT = 'nothing'
# Stands before a digest: the value itself is to be had from another run.
MARK = '#'


class Record(NamedTuple):
    """Something that happened."""

    head: dict[str, Any]
    changed: dict[str, str]
    gone: list[str]


class Trace:
    """The records of a process, and what it has noted.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self.records: list[Record] = []
        self.met: list[str] = []
        self.work_dirs: list[str] = []
        self.notes: dict[str, Any] = {}
        # What runs: the mode of the epoch, and its batches so far; and all training batches.
        self.mode = ''
        self.batches = self.trained = 0
        self._path = path
        self._read = 0

    def poll(self) -> None:
        """Read what is new."""
        try:
            with open(self._path, 'rb') as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return
        # The last line may not be all there.
        data = data[: data.rfind(b'\n') + 1]
        self._read += len(data)
        for line in data.splitlines():
            self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        if 'head' in line:
            self.records.append(Record(**line))
            head = line['head']
            if head['what'] == 'epoch':
                self.mode, self.batches = head['mode'], 0
            elif head['what'] == 'batch':
                self.batches += 1
                self.trained += head['mode'] == 'train'
            return
        note = line['note']
        for key, values in (('met', self.met), ('work_dir', self.work_dirs)):
            if note.get(key) and note[key] not in values:
                values.append(note[key])
        self.notes.update(note)

    def count(self, **head: Any) -> int:
        """Return how many records there are of a kind."""
        return sum(head.items() <= record.head.items() for record in self.records)


class Change(NamedTuple):
    """Something that the two sides do not have alike."""

    key: str
    nncore: str
    ours: str


@dataclass
class Difference:
    """Where two traces part.

    Args:
        index: Of the first record that differs.
        before: What the record before was, the same on both sides.
        heads: What the two do; None for nothing more.
        changes: Where they do the same, what differs then.
        state: What was known up to there, the same on both sides.
        iterations: How many training batches there had been by then.
        hook_calls: How many calls of hooks.
    """

    index: int
    before: dict[str, Any] | None
    heads: tuple[dict[str, Any] | None, dict[str, Any] | None]
    changes: list[Change]
    state: dict[str, str]
    iterations: int
    hook_calls: int


def compare(nncore: Trace, ours: Trace, until: int | None = None) -> Difference | None:
    """Return the first difference of two traces.

    Args:
        nncore: One.
        ours: The other.
        until: The last record that is looked at, counted from 0. Default: all.
    """
    # Each engine has a state of its own.
    states: dict[Any, dict[str, str]] = {}
    before: dict[str, Any] | None = None
    batches = calls = 0
    # The engine's count when the last batch came: as long as that stands, the iteration runs.
    running: str | None = None

    def iterations(state: dict[str, str]) -> int:
        return batches - (running is not None and state.get('engine.iter') == running)

    end = None if until is None else until + 1
    for index, (a, b) in enumerate(zip_longest(nncore.records[:end], ours.records[:end])):
        head = (a or b).head
        state = states.setdefault(head.get('engine'), {})
        if a is None or b is None or a.head != b.head:
            heads = a and a.head, b and b.head
            return Difference(index, before, heads, [], state, iterations(state), calls)
        changes = _changes(a, b, state) if a != b else []
        state.update(a.changed)
        for key in a.gone:
            state.pop(key, None)
        if head['what'] == 'batch' and head['mode'] == 'train':
            batches, running = batches + 1, state.get('engine.iter')
        if changes:
            heads = a.head, b.head
            return Difference(index, before, heads, changes, state, iterations(state), calls)
        calls += head['what'] == 'hook' and head['at'] == 'end'
        before = head
    return None


def _changes(a: Record, b: Record, state: dict[str, str]) -> list[Change]:
    def value(record: Record, key: str) -> str:
        return ABSENT if key in record.gone else record.changed.get(key, state.get(key, ABSENT))

    keys = dict.fromkeys((*a.changed, *b.changed, *a.gone, *b.gone))
    pairs = (Change(key, value(a, key), value(b, key)) for key in keys)
    return [pair for pair in pairs if pair.nncore != pair.ours]
