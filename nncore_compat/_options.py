"""Where to run and where to resume, as the command line says; the environment tells children."""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
from typing import Any

ENV = 'NNCORE_COMPAT_TRAINER'
RESUME = 'NNCORE_COMPAT_RESUME'
LOOP = 'NNCORE_COMPAT_LOOP'
LOOPS = ('auto', 'stock')
REPORT = 'NNCORE_COMPAT_REPORT'
PROGRESS = 'NNCORE_COMPAT_PROGRESS'
PROGRESSES = ('auto', 'rich', 'tqdm', 'plain')

# What to resume from instead of a file: the newest checkpoint that can be read.
AUTO = 'auto'

# Options of the runner that are arguments of Lightning's Trainer, with their help.
OPTIONS = {
    '--accelerator': ('NAME', 'cpu, cuda, mps, tpu, or another that Lightning knows'),
    '--devices': ('N|LIST|auto', 'how many devices, or which: 2, 0,1 or auto (default: 1)'),
    '--num-nodes': ('N', 'number of machines (default: 1)'),
    '--strategy': (
        'NAME',
        'ddp, ddp_spawn, fsdp2, fsdp2_sharded, ... (default: by devices)',
    ),
    '--precision': ('NAME', "Lightning's precision in place of amp: bf16-mixed, 64-true, ..."),
}


def add_arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Add the options to the parser of the runner."""
    group = parser.add_argument_group('where to run', 'Lightning checks the values.')
    actions = [
        group.add_argument(name, metavar=metavar, help=text)
        for name, (metavar, text) in OPTIONS.items()
    ]
    actions.append(
        group.add_argument(
            '--trainer',
            action='append',
            default=[],
            metavar='KEY=VALUE',
            help="any other argument of Lightning's Trainer, such as logger=csv; may be given "
            'several times',
        )
    )
    return actions


def parse(options: argparse.Namespace) -> dict[str, Any]:
    """Return the Trainer's arguments among the options.

    Raises:
        ValueError: An option cannot be read.
    """
    found: dict[str, Any] = {}
    for text in options.trainer:
        key, equals, value = text.partition('=')
        if not equals or not key.isidentifier():
            raise ValueError(f'--trainer: expected KEY=VALUE, but got {text!r}')
        found[key] = _literal(value)
    for option in OPTIONS:
        key = option[2:].replace('-', '_')
        value = getattr(options, key)
        if value is None:
            continue
        if key in found:
            raise ValueError(f'{option} {value} and --trainer {key}={found[key]} contradict')
        found[key] = value
    for key in ('devices', 'num_nodes'):
        value = found.get(key)
        if isinstance(value, str) and value.lstrip('-').isdigit():
            found[key] = int(value)
    if not isinstance(found.get('num_nodes', 1), int):
        raise ValueError(f'--num-nodes must be a whole number, but got {found["num_nodes"]!r}')
    return found


def enable(settings: dict[str, Any]) -> None:
    """Have every engine of this process and of its children run with these settings."""
    if settings:
        os.environ[ENV] = json.dumps(settings)


def asked() -> dict[str, Any]:
    """Return the settings of the command line.

    Raises:
        ValueError: The environment variable holds something else.
    """
    text = os.environ.get(ENV) or '{}'
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{ENV} must be a JSON object of the Trainer's arguments, but is {text!r}")
    return found


def resume_from(source: str) -> None:
    """Have every engine of this process and of its children resume.

    Args:
        source: 'auto', a file (or a folder, of a sharded checkpoint) or a URL.

    Raises:
        ValueError: There is no such file.
    """
    if source != AUTO and '://' not in source:
        # The script may be about to change to another folder.
        path = os.path.abspath(os.path.expanduser(source))
        if not os.path.exists(path):
            raise ValueError(
                f"--resume: there is no {path}. Accepted: '{AUTO}', the file of a checkpoint, a URL"
            )
        source = path
    os.environ[RESUME] = source


def resumes_from() -> str | None:
    """Return where the command line wants to resume, if it does."""
    return os.environ.get(RESUME) or None


def run_in(loop: str) -> None:
    """Have every engine of this process and of its children train in a loop.

    Args:
        loop: One of `LOOPS`.
    """
    os.environ[LOOP] = loop


def loop() -> str:
    """Return the loop that was asked for: 'auto' or 'stock'.

    Raises:
        ValueError: The environment variable holds something else.
    """
    return _one_of(LOOPS, LOOP)


def show(progress: str) -> None:
    """Have every engine of this process and of its children show its progress in a way.

    Args:
        progress: One of `PROGRESSES`.
    """
    os.environ[PROGRESS] = progress


def progress() -> str:
    """Return how progress is shown: 'auto', 'rich', 'tqdm' or 'plain'.

    Raises:
        ValueError: The environment variable holds something else.
    """
    return _one_of(PROGRESSES, PROGRESS)


def _one_of(names: tuple[str, ...], variable: str) -> str:
    name = os.environ.get(variable) or 'auto'
    if name not in names:
        raise ValueError(f'{variable} must be one of {", ".join(names)}, but is {name!r}')
    return name


def report_to(path: str) -> None:
    """Have what runs in this process and its children reported.

    Args:
        path: The JSON file.

    Raises:
        ValueError: It cannot be written there.
    """
    # The script may be about to change to another folder.
    path = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(path) or not os.path.isdir(os.path.dirname(path)):
        raise ValueError(f'--report: expected a file in a folder that exists, but got {path}')
    os.environ[REPORT] = path


def begin_report(inherited: str | None) -> None:
    """Remove the report of an earlier run: this one may come to no launch, and write none.

    A process that takes part in a run which has begun leaves it: a child of one that has said where
    the report goes, and all but the first of those that a launcher starts.

    Args:
        inherited: What `reports_to` returned before this process was told.
    """
    path = reports_to()
    first = all(os.environ.get(name, '0') == '0' for name in ('RANK', 'SLURM_PROCID'))
    if path is None or path == inherited or not first:
        return
    # Of a link, the file that it leads to, which is what is written. What cannot be removed cannot
    # be written either, and that is said at the launch.
    path = os.path.realpath(path)
    if os.path.isfile(path):
        with contextlib.suppress(OSError):
            os.remove(path)


def reports_to() -> str | None:
    """Return the file for the report, if one was asked for."""
    return os.environ.get(REPORT) or None


def _literal(text: str) -> Any:
    try:
        value = ast.literal_eval(text)
        json.dumps(value)
    except (ValueError, SyntaxError, TypeError):
        return {'true': True, 'false': False, 'none': None}.get(text.lower(), text)
    return value
