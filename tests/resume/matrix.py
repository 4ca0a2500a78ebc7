"""Cases, run in as many processes as each of them asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from resume import pair
from resume.cases import Case
from resume.runs import differences


def results(
    cases: Iterable[Case], folder: Path, control: str | None = None
) -> Iterator[tuple[Case, list[str]]]:
    """Run cases; one that fails differs, and the others are run all the same.

    Args:
        cases: The cases.
        folder: Where the files go.
        control: What is not restored: a key of ``CONTROLS``.

    Yields:
        Each case, with a list of differences.
    """
    left = [case for case in cases if case.processes == 1]
    together = [case for case in cases if case.processes == 2]
    while left:
        try:
            for case, found in differences(left, folder / 'alone', control):
                left.remove(case)
                yield case, found
        except Exception as error:
            yield left.pop(0), [f'failed: {type(error).__name__}: {error}']
    yield from pair.run(together, folder / 'together', control)
