"""`python -m nncore_compat plot WORK_DIR...`: losses, metrics and learning rates of runs."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence

EXAMPLES = """\
examples:
  plot work_dirs/20240131120000                        a chart in the terminal
  plot work_dirs/20240131120000 -o curves.png          a picture (also .svg, .pdf)
  plot work_dirs/ -o curves.html                       all runs in a folder, to look into
  plot old new --labels old,new --keys loss,acc -o compared.png
  plot run --smooth 0.9 --log --x epoch -o curves.png
"""
PICTURES = ('.png', '.svg', '.pdf')
PAGES = ('.html', '.htm')


def main(argv: Sequence[str], prog: str = 'python -m nncore_compat plot') -> None:
    """Draw the curves of runs.

    Args:
        argv: The command line after the word `plot`.
        prog: What stands before it.

    Raises:
        SystemExit: With code 2, if it cannot be done.
    """
    parser = _parser(prog)
    options = parser.parse_args(argv)
    try:
        _check(options)
        _plot(options)
    except (OSError, ImportError, ValueError) as error:
        parser.exit(2, f'{prog}: error: {error}\n')


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f'{prog} WORK_DIR ... [-o FILE] [options]',
        description='Draw what runs of nncore or nncore_compat, also unfinished ones,\n'
        'have written to metrics.json: losses, metrics and learning rates, with stages,\n'
        'best epochs and resumes marked. Nothing in a work dir is changed.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_runs(parser)
    parser.add_argument(
        '-o',
        '--output',
        metavar='FILE',
        help='the file to write: a picture (.png, .svg, .pdf; needs matplotlib) or a page for the '
        'browser (.html), which shows values under the mouse (default: a chart of text)',
    )
    parser.add_argument(
        '--keys',
        type=_list,
        default=[],
        metavar='KEY,...',
        help='what to draw, in this order; * matches anything, as in loss*,acc,lr (default: all '
        'losses and metrics, and the learning rate)',
    )
    parser.add_argument(
        '--smooth',
        type=float,
        default=0.0,
        metavar='0...1',
        help="the weight of the past in the training's curves, as in TensorBoard (default: 0)",
    )
    parser.add_argument(
        '--x', choices=('iter', 'epoch'), default='iter', help='the x axis (default: iter)'
    )
    parser.add_argument('--log', action='store_true', help='a logarithmic axis for losses')
    parser.add_argument(
        '--labels', type=_list, default=[], metavar='NAME,...', help='what to call the runs'
    )
    parser.add_argument(
        '--dpi', type=int, default=120, metavar='N', help='dots per inch of a .png (default: 120)'
    )
    return parser


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add what all commands have that look at runs."""
    parser.add_argument(
        'work_dirs',
        nargs='+',
        metavar='WORK_DIR',
        help='the work dir of a run, a folder with several of them, or a file of metrics',
    )
    for name, word in (('--high', 'highest'), ('--low', 'lowest')):
        parser.add_argument(
            name,
            type=_list,
            default=[],
            metavar='KEY,...',
            help=f'metrics whose {word} value is the best (default: what EvalHook tracks, else '
            'by their names)',
        )


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(',') if part.strip()]


def _check(options: argparse.Namespace) -> None:
    """Refuse what cannot be done before anything is read, which may take a while."""
    if not 0 <= options.smooth < 1:
        raise ValueError(f'--smooth must be from 0 to below 1, but got {options.smooth:g}')
    if not 10 <= options.dpi <= 1200:
        raise ValueError(f'--dpi must be from 10 to 1200, but got {options.dpi}')
    if options.output is None:
        return
    if os.path.isdir(options.output):
        raise ValueError(f'-o: {options.output!r} is a folder; give the name of a file')
    if not options.output.lower().endswith((*PICTURES, *PAGES)):
        accepted = ', '.join((*PICTURES, PAGES[0]))
        raise ValueError(f'-o must end in {accepted}, but got {options.output!r}')
    folder = os.path.dirname(options.output) or '.'
    if not os.path.isdir(folder):
        raise ValueError(f'-o: there is no folder {folder!r}')


def _plot(options: argparse.Namespace) -> None:
    from ._plots.panels import drawing
    from ._runs.find import places
    from ._runs.run import Run

    runs = [Run(place, options.high, options.low) for place in places(options.work_dirs)]
    if options.labels and len(options.labels) != len(runs):
        found = ', '.join(run.folder for run in runs)
        raise ValueError(
            f'--labels has {len(options.labels)} names for {len(runs)} runs, which are {found}'
        )
    drawn = drawing(runs, options.keys, options.smooth, options.labels)
    _say(drawn.notes)
    if options.output is None:
        from ._plots.terminal import chart

        width = min(shutil.get_terminal_size().columns, 120)
        colour = sys.stdout.isatty() and not os.environ.get('NO_COLOR')
        print(chart(drawn, width, options.x, options.log, colour))
        return
    if options.output.lower().endswith(PAGES):
        from ._plots.page import page

        with open(options.output, 'w', encoding='utf-8') as file:
            file.write(page(drawn, options.x, options.log))
    else:
        from ._plots.picture import picture

        figure = picture(drawn, options.x, options.log)
        figure.savefig(options.output, dpi=options.dpi)
    print(options.output)


def _say(notes: Sequence[str]) -> None:
    for note in notes:
        print(f'note: {note}', file=sys.stderr)
