"""Cases, run in as many processes as each of them asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from resume import pair
from resume.cases import Case, in_order
from resume.runs import differences


def results(cases: Iterable[Case], folder: Path) -> Iterator[tuple[Case, list[str]]]:
    """Run cases; one that fails differs, and the others are run all the same.

    Args:
        cases: The cases.
        folder: Where the files go.

    Yields:
        Each case, with a list of differences.
    """
    cases = list(cases)
    left = [case for case in cases if case.processes == 1]
    together = [case for case in cases if case.processes == 2]
    while left:
        try:
            for case, found in differences(left, folder / 'alone'):
                left.remove(case)
                yield case, found
        except Exception as error:
            failed = in_order(left)[0]
            left.remove(failed)
            yield failed, [f'failed: {type(error).__name__}: {error}']
    yield from pair.run(together, folder / 'together')
