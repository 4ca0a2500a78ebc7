"""What a case is made of: who takes part, and what they are to do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One row of a case: who does it, and how its spec differs."""

    worker: str
    extra: dict[str, Any] = field(default_factory=dict)


RAW = {'raw': Entry('raw')}
NNCORE = {'nncore': Entry('nncore')}
OURS = {'ours': Entry('ours')}
ENGINES = {**NNCORE, **OURS}
RAW_LOGGED = {'raw+log': Entry('raw', {'log': True})}
LIGHTNING = {'lightning': Entry('lightning')}
LOGGED = {'lightning+log': Entry('lightning', {'log': True})}
ALL = {**RAW, **RAW_LOGGED, **ENGINES, **LIGHTNING, **LOGGED}


@dataclass(frozen=True)
class Case:
    """What the contestants of a row do, as one job each per round.

    Args:
        name: What the table calls it.
        function: Name of the function in the module of the contestant.
        entries: Who takes part, by the name in the table.
        spec: What the function is given.
        x: The number on the axis of the chart, where a question is about growth.
        metrics: Which of the results are shown; each is a case of its own in the table.
        unit: ``s`` or ``MB``, or a count.
        fresh: Whether each job has a process of its own.
        processes: How many processes train together.
        needs_compiler: Whether a C++ compiler must be there.
    """

    name: str
    function: str
    entries: dict[str, Entry]
    spec: dict[str, Any]
    x: int | None = None
    metrics: tuple[str, ...] = ('wall',)
    unit: str = 's'
    fresh: bool = False
    processes: int = 1
    needs_compiler: bool = False

    def smaller(self) -> Case:
        """The same with as few iterations as will do to see it run."""
        small = {'skip': 2, 'iters': 10, 'size': 100, 'times': 20, 'batches': 3, 'epochs': 2}
        spec = {
            key: min(value, small[key]) if key in small else value
            for key, value in self.spec.items()
        }
        return replace(self, spec=spec)


def mlp(name: str = 'mlp', iters: int = 500, **spec: Any) -> tuple[str, dict[str, Any]]:
    """The tiny model, whose time is mostly that of the loop around it."""
    return name, {'net': 'mlp', 'skip': 50, 'iters': iters, **spec}


NETS = (
    mlp(),
    ('cnn', {'net': 'cnn', 'skip': 20, 'iters': 200}),
    ('transformer', {'net': 'transformer', 'skip': 5, 'iters': 50}),
)


def cases(function: str, entries: dict[str, Entry], *specs: Any, **options: Any) -> list[Case]:
    """A case for every (name, spec)."""
    return [Case(name, function, entries, spec, **options) for name, spec in specs]


def kinds(entries: dict[str, Entry]) -> dict[str, Entry]:
    """The entries, told whose functions a task is about."""
    modules = {'nncore': 'engine', 'ours': 'engine'}
    return {
        label: Entry(entry.worker, {'kind': modules.get(entry.worker, entry.worker), **entry.extra})
        for label, entry in entries.items()
    }


def command(name: str, **argvs: tuple[str, list[str]]) -> Case:
    """A case of command lines: (contestant, arguments of Python) by name."""
    entries = {label: Entry(worker, {'argv': argv}) for label, (worker, argv) in argvs.items()}
    return Case(name, 'tasks.startup:command', entries, {})


def growth(name: str, entries: dict[str, Entry], specs: dict[int, dict[str, Any]]) -> list[Case]:
    """A case of the tiny model for every x."""
    return [
        Case(f'{name}: {x}', 'train', entries, {**mlp()[1], **spec}, x=x)
        for x, spec in specs.items()
    ]
