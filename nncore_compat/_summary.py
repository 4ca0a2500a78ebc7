"""`python -m nncore_compat summary WORK_DIR...`: runs as tables."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence

from ._plot import add_runs

EXAMPLES = """\
examples:
  summary work_dirs/20240131120000             one run: stages, epochs, best values, checkpoints
  summary work_dirs/                           several runs: a line for each, to compare
  summary work_dirs/ --sort acc                the best one first
  summary work_dirs/20240131120000 --json | jq .[0].best
"""


def main(argv: Sequence[str], prog: str = 'python -m nncore_compat summary') -> None:
    """Print what runs have done.

    Args:
        argv: The command line after the word `summary`.
        prog: What stands before it.

    Raises:
        SystemExit: With code 2, if it cannot be done.
    """
    parser = _parser(prog)
    options = parser.parse_args(argv)
    try:
        _summarize(options)
    except BrokenPipeError:
        # As of `| head`. Python would complain once more at its end.
        sys.stdout = None
    except (OSError, ValueError) as error:
        parser.exit(2, f'{prog}: error: {error}\n')


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f'{prog} WORK_DIR ... [options]',
        description='Tell what runs of nncore or nncore_compat, also unfinished ones,\n'
        'have done: how far they are, their best values and in which checkpoint these are,\n'
        'how long they took. Nothing in a work dir is changed.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_runs(parser)
    parser.add_argument(
        '--epochs',
        choices=('some', 'all', 'none'),
        default='some',
        help='which epochs are listed (default: some, if there are more than twenty)',
    )
    parser.add_argument('--full', action='store_true', help='all of each run, where there are more')
    parser.add_argument(
        '--sort', metavar='KEY', help='of several runs, the one with the best KEY first'
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='read checkpoints to their ends, for their checksums (some 0.3 s per GB)',
    )
    parser.add_argument('--json', action='store_true', help='a JSON list with an object per run')
    return parser


def _summarize(options: argparse.Namespace) -> None:
    from ._runs.facts import facts
    from ._runs.find import places
    from ._runs.run import Run
    from ._runs.tables import comparison, details

    found = places(options.work_dirs)
    told = [facts(Run(place, options.high, options.low, options.check)) for place in found]
    if options.sort:
        told = _sorted(told, options.sort)
    if options.json:
        print(json.dumps(told, indent=2, allow_nan=False))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 200
    if len(told) > 1 and not options.full:
        print(comparison(told, width))
    else:
        print('\n\n'.join(details(one, width, options.epochs) for one in told))


def _sorted(told: list[dict], key: str) -> list[dict]:
    values = [next((entry for entry in one['best'] if entry['key'] == key), None) for one in told]
    known = [entry for entry in values if entry is not None]
    if not known:
        names = dict.fromkeys(entry['key'] for one in told for entry in one['best'])
        raise ValueError(f'--sort: no run has a best {key!r}. There are: {", ".join(names)}')
    sign = -1 if known[0]['high'] else 1
    last = float('inf')
    order = sorted(
        range(len(told)),
        key=lambda n: last if (entry := values[n]) is None else sign * entry['value'],
    )
    return [told[n] for n in order]
