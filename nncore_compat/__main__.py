"""`python -m nncore_compat [options] script.py args...`: run an nncore script on Lightning."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from importlib import import_module

from . import __version__, _options, _preview, _runner, quirks
from ._alias import install

# What can stand in a script's place: the module whose `main` does it, and what it does.
COMMANDS = {
    'convert': ('_convert', 'IN OUT --to nncore|lightning|weights: a checkpoint of another kind'),
    'plot': ('_plot', 'WORK_DIR ... [-o FILE]: losses, metrics and learning rates of runs'),
    'summary': ('_summary', 'WORK_DIR ...: stages, epochs, best metrics and checkpoints of runs'),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a script or module with `nncore.engine` served by nncore_compat.

    Args:
        argv: The command line without the program's name. Default: that of this process.

    Raises:
        SystemExit: As the script ends, or with code 2 for a wrong command line.
    """
    argv = sys.argv[1:] if argv is None else argv
    # A script of this name goes first.
    if argv and argv[0] in COMMANDS and not os.path.exists(argv[0]):
        module, _ = COMMANDS[argv[0]]
        command = import_module(f'.{module}', __package__)
        command.main(argv[1:], f'{_program()} {argv[0]}')
        return
    parser, valued = options_parser(_program())
    own, target = split(argv, valued)
    options = parser.parse_args(own)
    if not target:
        parser.error('no script given: script.py or -m module')
    if target == ['-m']:
        parser.error('-m needs the name of a module')

    inherited = _options.reports_to()
    settle(parser, options)
    if options.verify is not None:
        from ._verify import command
        from ._verify.obstacles import obstacle

        problem = obstacle(options)
        if problem:
            parser.error(f'--verify: {problem}')
        sys.exit(command.run(options.verify, list(target)))
    install()
    if not _preview.asked():
        _options.begin_report(inherited)
        try:
            _start_processes()
        except (TypeError, ValueError) as error:
            parser.error(str(error))
    with to_its_plan() if _preview.asked() == _preview.PLAN else contextlib.nullcontext():
        if target[0] == '-m':
            _runner.run_module(target[1], target[2:])
        else:
            _runner.run_script(target[0], target[1:])


def settle(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Have every engine of this process and of its children do as the options say.

    Args:
        parser: The parser that has read them, which is told what is wrong.
        options: The options.
    """
    where, spec = '--quirks', options.quirks
    if spec is None:
        where, spec = quirks.ENV, os.environ.get(quirks.ENV, 'none')
    try:
        quirks.enable(spec)
    except ValueError as error:
        parser.error(f'{where}: {error}')

    try:
        _options.enable(_options.parse(options))
        if options.resume is not None:
            _options.resume_from(options.resume)
        if options.report is not None:
            _options.report_to(options.report)
        _preview_as(options)
    except ValueError as error:
        parser.error(str(error))
    if options.loop is not None:
        _options.run_in(options.loop)
    if options.progress is not None:
        _options.show(options.progress)


def _preview_as(options: argparse.Namespace) -> None:
    if options.timeline:
        _preview.ask(_preview.TIMELINE)
    if options.dry_run:
        _preview.ask(_preview.PLAN)
    if options.plot_lr is not None:
        _preview.draw_to(options.plot_lr)


@contextlib.contextmanager
def to_its_plan() -> Iterator[None]:
    """Have a script that never comes to a launch end with what was found until then.

    Raises:
        SystemExit: It ended by itself.
    """
    _preview.shown = False
    try:
        yield
    finally:
        noted = sys.modules.get(f'{__package__}._preflight')
        if noted is not None and noted.pending:
            noted.report()
    # IPython does not let a SystemExit through.
    if not _preview.shown:
        print('dry run: the script ended without engine.launch(), so there is nothing to show')
        sys.exit(1)


def _start_processes() -> None:
    # Only where it was asked for: this imports torch, before the script could say a word.
    if _options.asked().get('devices', 1) != 1 or _options.asked().get('num_nodes', 1) != 1:
        from ._lightning.trainer import start_processes

        start_processes()


def _program() -> str:
    by_name = os.path.basename(sys.argv[0]).startswith('nncore-compat')
    return 'nncore-compat' if by_name else 'python -m nncore_compat'


def options_parser(prog: str) -> tuple[argparse.ArgumentParser, set[str]]:
    """Return the parser of our own options, and those of them that are followed by a value.

    Args:
        prog: What the command is called.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f'{prog} [options] (script.py | -m module) [args ...]',
        description='Run a training script written for nncore on Lightning, unchanged. '
        'All that follows the script or module belongs to it.\n'
        'Instead of a script, each with a --help of its own:\n'
        + '\n'.join(f'  {name} {what}' for name, (_, what) in COMMANDS.items()),
        epilog=_table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        '--timeline',
        action='store_true',
        help='at the launch, show which hooks and callbacks are called when, and do not train',
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='at the launch, show what it would do (stages, batches, learning rates, hooks, ...) '
        'and what is wrong, and do not train: exit code 1 if training would fail, else 0',
    )
    parser.add_argument(
        '--verify',
        nargs='?',
        type=int,
        const=20,
        metavar='N',
        help='run the first N iterations (default: 20) and a validation under nncore too, in '
        'temporary folders, and say whether all hook calls, losses and weights are the same; exit '
        'code 0 if so, 1 if not, 2 if that could not be found out',
    )
    parser.add_argument('--version', action='version', version=f'nncore-compat {__version__}')
    valued: list[argparse.Action] = [
        parser.add_argument(
            '--quirks',
            metavar='all|none|NAME,...',
            help='what nncore 0.4.7 does instead of what it documents, by name, see below '
            f'(default: environment variable {quirks.ENV}, else none)',
        ),
        parser.add_argument(
            '--resume',
            metavar='auto|PATH',
            help="go on from a checkpoint; auto: from the newest one in the engine's work_dir that "
            'can be read, if there is any, with the records of the run that was interrupted',
        ),
        parser.add_argument(
            '--plot-lr',
            metavar='FILE',
            help='as --dry-run, and draw the learning rates to a png, svg, pdf or html file',
        ),
        parser.add_argument(
            '--report',
            metavar='OUT.json',
            help='write what ran: versions, devices, strategy, precision, hooks and callbacks in '
            'order, time by phase and by hook, checkpoints, quirks',
        ),
        parser.add_argument(
            '--loop',
            choices=_options.LOOPS,
            help="stock: train in Lightning's own loop over batches, which is slower (default: "
            'the lean one, wherever it does the same)',
        ),
        parser.add_argument(
            '--progress',
            choices=_options.PROGRESSES,
            help='what draws the live bar, on a terminal; plain: no bar, only the lines that a '
            'file gets (default: auto: rich if it is installed, else tqdm; plain under CI)',
        ),
    ]
    valued += _options.add_arguments(parser)
    return parser, {name for action in valued for name in action.option_strings}


def _table() -> str:
    lines = ['quirks, and what each brings back:']
    for name, text in quirks.QUIRKS.items():
        lines += [f'  {name}', textwrap.indent(textwrap.fill(text, 72), ' ' * 6)]
    return '\n'.join(lines)


def split(argv: Sequence[str], valued: set[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Cut where our options end: argparse would go on to read the script's.

    Args:
        argv: The command line without the program's name.
        valued: The options that are followed by a value.
    """
    index = 0
    while index < len(argv) and argv[index].startswith('-') and argv[index] != '-m':
        # The number of `--verify` may be left out.
        number = argv[index] == '--verify' and argv[index + 1 : index + 2]
        index += 2 if argv[index] in valued or (number and number[0].isdigit()) else 1
    return argv[:index], argv[index:]


if __name__ == '__main__':
    main()
