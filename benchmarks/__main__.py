"""`python -m benchmarks QUESTION...`: measure, and write JSON, a table and a chart."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import report
from .measure import Workers, chosen, run
from .questions import QUESTIONS

# What a title says of the clock.
CLOCKS = {'wall': '', 'cpu': ', CPU time', 'typical': ', median iteration'}


def main(argv: list[str] | None = None) -> None:
    """Answer the questions of a command line."""
    options = _parser().parse_args(argv)
    names = list(QUESTIONS) if 'all' in options.questions else options.questions
    options.out.mkdir(parents=True, exist_ok=True)
    workers = Workers(options.device)
    try:
        answered = [answer(name, options, workers) for name in names]
    finally:
        workers.close()
    sys.exit(not all(answered))


def answer(name: str, options: argparse.Namespace, workers: Workers) -> bool:
    """Measure one question and write its files, anew after every case.

    Returns:
        Whether there was something to measure, and all of it was.
    """
    title, cases = QUESTIONS[name]
    result: dict[str, Any] = {
        'question': name,
        'title': title + CLOCKS[options.clock],
        'rounds': 1 if options.quick else options.rounds,
        'quick': options.quick,
        'clock': options.clock,
        'surroundings': report.surroundings(options.device),
        'cases': [],
        'notes': [],
    }
    whole = True
    for case in cases:
        entries = chosen(case, options.contestants)
        if not entries or not all(word in case.name for word in options.cases):
            continue
        if case.needs_compiler and not compiler():
            result['notes'].append(f'{case.name}: not measured, there is no C++ compiler.')
            continue
        case = replace(case.smaller() if options.quick else case, entries=entries)
        try:
            found = run(case, result['rounds'], not options.quick, workers, progress)
        except RuntimeError as error:
            whole = False
            progress(str(error) + '\n')
            result['notes'].append(f'{case.name}: {str(error).strip().splitlines()[-1]}')
            continue
        for metric in case.metrics:
            shown = options.clock if metric == 'wall' and 'iters' in case.spec else metric
            result['cases'].append(report.summary(case, shown, found))
        write(result, options.out / name)
    progress('')
    if not result['cases']:
        print(f'{name}: nothing was measured.', *result['notes'], file=sys.stderr)
        return False
    print(report.table(result))
    return whole


def write(result: dict[str, Any], path: Path) -> None:
    """Write the figures, the table, and the chart where there is matplotlib."""
    path.with_suffix('.json').write_text(json.dumps(result, indent=1) + '\n')
    path.with_suffix('.md').write_text(report.table(result))
    if importlib.util.find_spec('matplotlib'):
        from .chart import draw

        draw(result, path.with_suffix('.png'))


def compiler() -> str | None:
    """The C++ compiler that torch.compile would take on the CPU."""
    return shutil.which(os.environ.get('CXX', 'g++')) or shutil.which('clang++')


def progress(text: str) -> None:
    """Show on one line of the terminal what is going on."""
    if sys.stderr.isatty():
        print(f'\r\x1b[K{text}', end='', file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks',
        epilog='\n'.join(f'{name:14}{title}' for name, (title, _) in QUESTIONS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('questions', nargs='+', choices=[*QUESTIONS, 'all'], metavar='QUESTION')
    parser.add_argument('--quick', action='store_true', help='one short round, to see it work')
    parser.add_argument('--rounds', type=int, default=7, help='turns of each contestant')
    parser.add_argument(
        '--contestants',
        nargs='+',
        metavar='NAME',
        help="only these; 'ours@PATH' is another source tree, 'ours --option' has an option of "
        'the runner',
    )
    parser.add_argument(
        '--cases', nargs='+', default=[], metavar='WORD', help='only those named so'
    )
    parser.add_argument(
        '--clock',
        choices=list(CLOCKS),
        default='wall',
        help='time on the wall; CPU time, for a machine that has other work; or the median '
        'iteration',
    )
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/benchmarks'))
    return parser


if __name__ == '__main__':
    main()
