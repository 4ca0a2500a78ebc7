"""Run the whole matrix: `cd tests && python -m resume [--only WORD ...] [--folder DIR]`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

from resume.cases import AXES, MATRIX, Case
from resume.matrix import results

WIDTH = 40


def bar(done: int, total: int, different: int, seconds: float) -> str:
    """A line that shows how far it is."""
    full = WIDTH * done // total
    line = '#' * full + '.' * (WIDTH - full)
    return f'[{line}] {done}/{total}, {different} different, {seconds:.0f} s'


def table(verdicts: dict[Case, list[str]]) -> str:
    """How many cases of each value of each axis are identical."""
    lines = []
    for axis, values in zip(Case._fields, AXES, strict=False):
        for value in values:
            found = [f for case, f in verdicts.items() if getattr(case, axis) == value]
            equal = sum(not f for f in found)
            lines.append(f'{axis:10} {value!s:11} {equal:4} of {len(found):4} identical')
    return '\n'.join(lines)


def main() -> int:
    """Run the matrix, or a part of it, and print what came of it."""
    parser = argparse.ArgumentParser(prog='python -m resume', description=__doc__)
    parser.add_argument('--only', nargs='+', default=[], help='only cases that have all the words')
    parser.add_argument('--folder', help='where the files go')
    args = parser.parse_args()
    torch.set_num_threads(1)
    wanted = set(args.only)
    cases = [case for case in MATRIX if wanted <= set(map(str, case))]
    begun = time.monotonic()
    verdicts: dict[Case, list[str]] = {}
    with contextlib.ExitStack() as stack:
        # What the runs themselves say goes nowhere.
        out = os.fdopen(os.dup(1), 'w')
        stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, 'w'))))
        folder = args.folder or stack.enter_context(tempfile.TemporaryDirectory())
        for case, found in results(cases, Path(folder)):
            verdicts[case] = found
            if found:
                print(f'\rDIFFERENT {case}', *found, sep='\n    ', file=out)
            different = sum(map(bool, verdicts.values()))
            line = bar(len(verdicts), len(cases), different, time.monotonic() - begun)
            print('\r' + line, end='' if out.isatty() else '\n', file=out, flush=True)
    print('\n' + table(verdicts))
    equal = sum(not found for found in verdicts.values())
    print(f'{equal} of {len(cases)} identical, {time.monotonic() - begun:.0f} s')
    return int(equal < len(cases))


if __name__ == '__main__':
    sys.exit(main())
