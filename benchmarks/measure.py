"""Runs the cases of a question: rounds in which every contestant has its turn."""

from __future__ import annotations

import re
from collections.abc import Callable

from .cases import Case, Entry
from .crew import Worker


def run(
    case: Case,
    rounds: int,
    warm_up: bool,
    workers: Workers,
    say: Callable[[str], None],
) -> dict[str, list[dict[str, float]]]:
    """What every contestant measured, by round.

    Args:
        case: What they do.
        rounds: How many times.
        warm_up: Whether a first round is thrown away.
        workers: The processes.
        say: Told what is going on.
    """
    found: dict[str, list[dict[str, float]]] = {label: [] for label in case.entries}
    first = -1 if warm_up and not case.fresh else 0
    for index in range(first, rounds):
        for label, entry in case.entries.items():
            say(f'{case.name}: round {index + 1}/{rounds}, {label}')
            result = workers.ask(case, entry)
            if index >= 0:
                found[label].append(result)
    return found


class Workers:
    """The processes that were started so far, by contestant and number of processes.

    Args:
        device: ``cpu`` or ``cuda``.
        start: Starts one.
    """

    def __init__(self, device: str, start: Callable[..., Worker] = Worker) -> None:
        self._device = device
        self._start = start
        self._live: dict[tuple[str, int], Worker] = {}

    def ask(self, case: Case, entry: Entry) -> dict[str, float]:
        """The result of one job."""
        spec = {'device': self._device, **case.spec, **entry.extra}
        if case.processes > 1:
            spec['processes'] = case.processes
        key = (entry.worker, case.processes)
        if case.fresh:
            worker = self._start(*key, self._device)
            try:
                return worker.ask(case.function, spec)
            finally:
                worker.close()
        if key not in self._live:
            self._live[key] = self._start(*key, self._device)
        try:
            return self._live[key].ask(case.function, spec)
        except RuntimeError:
            self._live.pop(key).close()
            raise

    def close(self) -> None:
        """End them all."""
        for worker in self._live.values():
            worker.close()
        self._live.clear()


def chosen(case: Case, contestants: list[str] | None) -> dict[str, Entry]:
    """Those entries of a case that were asked for; all, without a choice.

    ``ours@PATH`` and ``ours --option`` take the place of ours beside ours itself.
    """
    if contestants is None:
        return case.entries
    found = {}
    for label, entry in case.entries.items():
        plain, *variant = label.split(', ', 1)
        for name in contestants:
            if name == plain:
                found[label] = entry
            elif plain == 'ours' and re.match('ours[@ ]', name):
                found[', '.join([name, *variant])] = Entry(name, entry.extra)
    return found
