"""The axes of the matrix, and the part of it that every test run goes through."""

from __future__ import annotations

import itertools
from typing import NamedTuple

BATCHES = 7
EPOCHS = (2, 2)
WINDOW = 3

# By position, the epoch (from 0) in which, or after which, a run is resumed.
POSITIONS = {'inside': 0, 'boundary': 1, 'after': 2, 'last': 3}
# By moment, how many batches of that epoch were done. `middle` is between two optimizer steps,
# `window` while gradients are accumulated; `end` is CheckpointHook's turn in after_train_epoch,
# `validated` a callback's after the validation and `over` one's when the epoch ends.
MOMENTS = {
    'middle': 3,
    'window': 5,
    'end': BATCHES,
    'validated': BATCHES,
    'over': BATCHES,
}
OPTIMIZERS = ('sgd', 'adam')
PRECISIONS = ('fp32', 'bf16', 'fp16')
WORKERS = ('none', 'two', 'persistent')
PROCESSES = (1, 2)


class Config(NamedTuple):
    """A training run: what all the moments at which it can be resumed have in common."""

    optimizer: str  # of the second stage; the first one has SGD
    precision: str
    workers: str
    processes: int
    interval: int  # of OptimizerHook

    def __str__(self) -> str:
        return '-'.join(map(str, self))


class Case(NamedTuple):
    """A run, and the moment at which it is resumed."""

    position: str
    moment: str
    optimizer: str
    precision: str
    workers: str
    processes: int
    lacks: str = ''  # what is taken out of the checkpoint, see `controls`

    def __str__(self) -> str:
        return '-'.join(str(value) for value in self if value)

    @property
    def config(self) -> Config:
        """The run that is resumed: gradients are accumulated where that is what is tested."""
        return Config(*self[2:6], interval=WINDOW if self.moment == 'window' else 1)

    @property
    def done(self) -> int:
        """How many iterations were done."""
        return POSITIONS[self.position] * BATCHES + MOMENTS[self.moment]

    @property
    def file(self) -> str:
        """The checkpoint that it is resumed from."""
        names = {'end': 'epoch', 'validated': 'validated', 'over': 'over'}
        if self.moment in names:
            return f'{names[self.moment]}_{POSITIONS[self.position] + 1}.pth'
        return f'iter_{self.done}.pth'


AXES = (tuple(POSITIONS), tuple(MOMENTS), OPTIMIZERS, PRECISIONS, WORKERS, PROCESSES)
MATRIX = [Case(*values) for values in itertools.product(*AXES)]


# Pairs of axes of which any two values meet in the reduced matrix, by number of processes: two of
# them take long.
PAIRS = {
    1: list(itertools.combinations(Case._fields[:5], 2)),
    2: [('moment', 'optimizer'), ('position', 'workers'), ('optimizer', 'precision')],
}


def reduced(processes: int) -> list[Case]:
    """A part of the matrix, in which all values have their turn.

    Args:
        processes: How many processes the cases have.
    """
    cases = [case for case in MATRIX if case.processes == processes]
    chosen: list[Case] = []
    configs: set[Config] = set()
    missing = set().union(*map(_pairs, cases))
    while missing:
        # Of equals one that needs no further uninterrupted run.
        best = max(cases, key=lambda case: (len(_pairs(case) & missing), case.config in configs))
        chosen.append(best)
        configs.add(best.config)
        missing -= _pairs(best)
    return chosen


def _pairs(case: Case) -> set[tuple]:
    values = case._asdict()
    return {(a, b, values[a], values[b]) for a, b in PAIRS[case.processes]}


def by_config(cases: list[Case]) -> dict[Config, list[Case]]:
    """Cases that need the same uninterrupted run, together."""
    groups: dict[Config, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.config, []).append(case)
    return groups


def in_order(cases: list[Case]) -> list[Case]:
    """Cases as they are run: with those that need the same uninterrupted run."""
    return [case for group in by_config(cases).values() for case in group]
