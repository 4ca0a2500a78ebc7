"""`python -m benchmarks QUESTION...`: measure, and write JSON, a table and a chart."""

from __future__ import annotations

import argparse
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


def main(argv: list[str] | None = None) -> None:
    """Answer the questions of a command line."""
    parser = _parser()
    options = parser.parse_args(argv)
    names = list(QUESTIONS) if 'all' in options.questions else options.questions
    options.out.mkdir(parents=True, exist_ok=True)
    workers = Workers(options.device)
    try:
        for name in names:
            answer(name, options, workers)
    finally:
        workers.close()


def answer(name: str, options: argparse.Namespace, workers: Workers) -> None:
    """Measure one question and write its files."""
    title, cases = QUESTIONS[name]
    result: dict[str, Any] = {
        'question': name,
        'title': title,
        'rounds': 1 if options.quick else options.rounds,
        'quick': options.quick,
        'clock': options.clock,
        'surroundings': report.surroundings(options.device),
        'cases': [],
        'notes': [],
    }
    if options.clock == 'cpu':
        result['title'] += ', CPU time'
    for case in cases:
        entries = chosen(case, options.contestants)
        if not entries or not all(word in case.name for word in options.cases):
            continue
        if case.needs_compiler and not compiler():
            result['notes'].append(f'{case.name}: not measured, there is no C++ compiler.')
            continue
        case = replace(case.smaller() if options.quick else case, entries=entries)
        found = run(case, result['rounds'], not options.quick, workers, progress)
        for metric in case.metrics:
            shown = options.clock if metric == 'wall' else metric
            result['cases'].append(report.summary(case, shown, found))
    progress('')
    if not result['cases']:
        sys.exit('\n'.join(result['notes']) or f'{name}: no case of these names and contestants')
    text = report.table(result)
    print(text)
    path = options.out / name
    path.with_suffix('.json').write_text(json.dumps(result, indent=1) + '\n')
    path.with_suffix('.md').write_text(text)
    if not options.no_chart:
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
        choices=['wall', 'cpu', 'typical'],
        default='wall',
        help='time on the wall; CPU time, for a machine that has other work; or the median '
        'iteration',
    )
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/benchmarks'))
    parser.add_argument('--no-chart', action='store_true', help='write no PNG')
    return parser


if __name__ == '__main__':
    main()
