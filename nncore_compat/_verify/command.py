"""The command: runs both sides, compares, looks for the cause, and says what it found."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Collection, Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import __version__, _options, quirks
from . import children, files, words
from .children import Job, Outcome
from .display import Display, plural
from .search import explain
from .trace import Difference, Trace, compare

IDENTICAL, DIFFERENT, FAILED, INTERRUPTED = 0, 1, 2, 130
_SHOWN_FILES = 5


def obstacle(options: argparse.Namespace) -> str | None:
    """Return what stands in the way of a comparison, if anything does.

    Args:
        options: Those of the command line; they have been put into the environment.
    """
    if options.verify < 1:
        return f'N must be at least 1, but is {options.verify}'
    for name in ('resume', 'timeline', 'dry_run', 'plot_lr', 'report'):
        if getattr(options, name, None):
            option = f'--{name.replace("_", "-")}'
            return f'{option} has no meaning for nncore, which the script runs under as well'
    for name in ('WORLD_SIZE', 'SLURM_NTASKS'):
        if os.environ.get(name, '1') != '1':
            value = os.environ[name]
            return f'one process is compared with one, but a launcher has set {name}={value}'
    asked = _options.asked()
    for name in ('devices', 'num_nodes'):
        value = asked.get(name, 1)
        one = value == 1 or (name == 'devices' and _is_index(value))
        if not one:
            option = f'--{name.replace("_", "-")}'
            return f'one process is compared with one: leave out {option} {value}'
    if any(word in str(asked.get('strategy')) for word in ('spawn', 'fork', 'notebook')):
        return f'--strategy {asked["strategy"]} trains in other processes, which are not seen'
    return None


def _is_index(devices: Any) -> bool:
    if isinstance(devices, list):
        return len(devices) == 1
    return isinstance(devices, str) and devices.rstrip().rstrip(',').isdigit()


def run(count: int, target: list[str]) -> int:
    """Compare a script under nncore with itself under us, and print what came out.

    Args:
        count: How many training iterations.
        target: The script, or `-m` and a module, and its arguments.

    Returns:
        0 if the two are identical, 1 if not, 2 if they could not be compared, 130 after Ctrl-C.
    """
    if find_spec('nncore') is None:
        python = ' (it does not build on Python 3.13)' if sys.version_info >= (3, 13) else ''
        return _give_up(f"nncore is not installed: pip install 'nncore-compat[nncore]'{python}")
    with _folder() as folder, _terminating():
        session = Session(folder, count, target)
        try:
            return session.compare()
        except KeyboardInterrupt:
            session.display.clear()
            print('interrupted: nothing was compared to the end', file=sys.stderr)
            return INTERRUPTED
        finally:
            session.tell_of_files()


class Session:
    """The runs of one command.

    Args:
        folder: For all files of theirs.
        count: See `run`, as the others.
    """

    def __init__(self, folder: Path, count: int, target: list[str]) -> None:
        self.display = Display(count)
        self._folder = folder
        self._count = count
        self._settings = _options.asked()
        self._on = [name for name in quirks.QUIRKS if quirks.active(name)]
        self._target = target
        self._runs = 0
        self._definitions: dict[str, list[str]] = {}
        self._names = f'nncore {metadata.version("nncore")}', f'nncore_compat {__version__}'
        # What the script has written itself: put back, not put back, and elsewhere.
        self._restored: set[str] = set()
        self._left: set[str] = set()
        self._elsewhere: set[str] = set()

    def compare(self) -> int:
        """Run both sides, and say whether they are identical."""
        real = self._run(self._names[0], self._real_job())
        self._definitions = real.trace.notes.get('definitions', {})
        if not real.failed:
            problem = _nothing_seen(real.trace, os.path.basename(self._target[-1]))
            if problem:
                return _give_up(problem)
        self._follow_device(real.trace)
        ours = self._run(self._names[1], self._our_job(self._on))
        found = compare(real.trace, ours.trace)
        if real.failed or ours.failed:
            return self._tell_failure(real, ours, found)
        if found is None:
            self._tell_identical(real.trace, ours.trace)
            return IDENTICAL
        self._tell_difference(real, ours, found)
        return DIFFERENT

    def tell_of_files(self) -> None:
        """Say which files the script has written itself."""
        if self._elsewhere:
            print(f'the script itself wrote: {_listed(self._elsewhere)}')
        if self._left:
            print(f'changed in its work_dir, and not put back: {_listed(self._left)}')

    def _real_job(self, **more: Any) -> Job:
        return Job('nncore', self._target, self._count, **more)

    def _our_job(self, names: Collection[str], **more: Any) -> Job:
        env = {
            quirks.ENV: ','.join(names) or 'none',
            _options.ENV: json.dumps(self._settings),
            _options.LOOP: _options.loop(),
        }
        return Job('ours', self._target, self._count, env, self._definitions, **more)

    def _run(self, label: str, job: Job) -> Outcome:
        self._runs += 1
        folder = self._folder / str(self._runs)
        self.display.begin(label)
        try:
            outcome = children.run(job, folder, self.display.update)
        finally:
            self._put_back(folder)
        self.display.end(outcome.trace)
        return outcome

    def _put_back(self, folder: Path) -> None:
        trace = Trace(str(folder / 'trace'))
        trace.poll()
        wrote = files.read(str(children.journal(folder)))
        restored, left = files.restore(wrote, trace.work_dirs)
        self._restored.update(restored)
        self._left.update(left)
        known = {*restored, *left}
        self._elsewhere |= {
            one['path']
            for one in wrote
            if one['path'] not in known and not one['folder'] and _is_of_interest(one['path'])
        }
        # Checkpoints are large.
        shutil.rmtree(folder / 'work_dirs', ignore_errors=True)

    def _follow_device(self, trace: Trace) -> None:
        """Have our side run where the script has put its model."""
        if 'accelerator' in self._settings or 'devices' in self._settings:
            return
        kind, _, index = str(trace.notes.get('device', 'cpu')).partition(':')
        self._settings['accelerator'] = kind
        if index not in ('', '0'):
            self._settings['devices'] = [int(index)]

    def _tell_identical(self, real: Trace, ours: Trace) -> None:
        calls = real.count(what='hook', at='end')
        validations = real.count(what='epoch', mode='val')
        tests = real.count(what='epoch', mode='test')
        counts = (
            (real.trained, 'iteration'),
            (validations, 'validation'),
            (tests, 'test'),
            (calls, 'hook call'),
        )
        parts = [plural(number, word) for number, word in counts if number]
        parts.append('weights to the bit' if real.trained else 'results to the bit')
        print(f'identical: {", ".join(parts)}')
        if not validations and real.trained:
            print('  no validation: the stage has none, or the script ended before it')
        self._tell_conditions(real, ours)
        if ours.met:
            print(f'  quirks met that made no difference so far: {", ".join(ours.met)}')

    def _tell_conditions(self, real: Trace, ours: Trace) -> None:
        device, own = real.notes.get('device'), ours.notes.get('device')
        where = f'both on {device}' if device == own else f'on {device} and on {own}'
        torch = metadata.version('torch')
        print(f'  {" and ".join(self._names)}, torch {torch}, Python {platform.python_version()},')
        print(f'  {where}, both with the same random seeds where the script gives none')

    def _tell_difference(self, real: Outcome, ours: Outcome, found: Difference) -> None:
        change = found.changes[0] if found.changes else None
        shows = change is not None and words.has_tensor(change)
        ask: dict[str, Any] = {
            'until': found.index,
            'show': change.key if change and shows else None,
        }
        repeats, again, causes = True, None, None
        if ours.trace.met:
            causes = self._explain(real.trace, ours.trace)
        if shows or causes is None:
            again = self._run(f'{self._names[0]} once more', self._real_job(**ask))
            repeats = compare(real.trace, again.trace, found.index) is None
        if repeats and not ours.trace.met:
            # None says that it matters: better be sure.
            causes = self._explain(real.trace, ours.trace)
        lines = words.difference(found, self._names)
        detail: list[str] = []
        if again is not None and shows and repeats:
            more = self._run(f'{self._names[1]} once more', self._our_job(self._on, **ask))
            if again.shown.exists() and more.shown.exists():
                # Not before: it needs torch.
                from . import values

                detail = values.describe(again.shown, more.shown, self._names)
        if change is not None:
            detail = detail or [
                f'{self._names[0]} {change.nncore}',
                f'{self._names[1]} {change.ours}',
            ]
            lines += [f'    {one}' for one in detail]
            rest = words.others(found.changes)
            lines += [rest] if rest else []
        print('\n'.join(lines))
        print(
            f'  identical up to there: {plural(found.iterations, "iteration")}, '
            f'{plural(found.hook_calls, "hook call")}'
        )
        self._tell_conditions(real.trace, ours.trace)
        self._tell_cause(causes, repeats, real.trace, ours.trace)

    def _explain(self, real: Trace, ours: Trace) -> list[str] | None:
        def attempt(names: Collection[str]) -> tuple[bool, Collection[str]]:
            label = 'all' if len(names) == len(quirks.QUIRKS) else ','.join(names)
            outcome = self._run(f'{self._names[1]} --quirks {label}', self._our_job(names))
            same = not outcome.failed and compare(real, outcome.trace) is None
            return same, outcome.trace.met

        return explain(self._on, ours.met, attempt)

    def _tell_cause(
        self, causes: list[str] | None, repeats: bool, real: Trace, ours: Trace
    ) -> None:
        if causes is not None:
            named = ' and '.join(causes)
            spec = ','.join([*self._on, *causes])
            print(
                f'explained by the quirk{"s" if len(causes) > 1 else ""} {named}: '
                f'identical with --quirks {spec}'
            )
            for name in causes:
                print(f'  {name}: in nncore 0.4.7, {quirks.QUIRKS[name]}')
            harmless = [name for name in ours.met if name not in causes]
            if harmless:
                print(f'  also met, without being the cause: {", ".join(harmless)}')
        elif not repeats:
            print(
                'the script does not do the same twice under nncore itself: what differs is '
                'not the engine, but the time, an order or a random number'
            )
            if 'cuda' in str(real.notes.get('device')):
                print(
                    '  on a GPU, torch.use_deterministic_algorithms(True) helps, with the '
                    'environment variable CUBLAS_WORKSPACE_CONFIG=:4096:8'
                )
        else:
            print(
                'no quirk explains it, and nncore does the same each time: please report it, '
                'with the script and all that is written here'
            )

    def _tell_failure(self, real: Outcome, ours: Outcome, found: Difference | None) -> int:
        both = real.failed and ours.failed
        for name, outcome in zip(self._names, (real, ours), strict=True):
            if outcome.failed:
                print(f'the script fails under {name}:\n{_indented(outcome.words())}')
        ended = found is not None and any(not one or one['what'] == 'raised' for one in found.heads)
        if found is not None and not ended:
            print('\n'.join(words.difference(found, self._names)))
        end = 'under both' if both else 'under one of the two'
        return _give_up(f'the script fails {end}')


def _nothing_seen(trace: Trace, script: str) -> str | None:
    if not trace.records:
        return (
            f'{script} makes no nncore.engine.Engine in its own process '
            f'(it ended with code {trace.notes.get("code")})'
        )
    if not trace.notes.get('launched'):
        return f'{script} launches no engine (it ended with code {trace.notes.get("code")})'
    return None


def _give_up(why: str) -> int:
    print(f'could not compare: {why}', file=sys.stderr)
    return FAILED


def _is_of_interest(path: str) -> bool:
    # Temporary files come and go.
    temporary = os.path.realpath(tempfile.gettempdir()) + os.sep
    here = os.path.realpath(os.getcwd()) + os.sep
    return os.path.isfile(path) and (path.startswith(here) or not path.startswith(temporary))


def _listed(paths: set[str]) -> str:
    # As short as they can be said from here.
    names = sorted(min(path, os.path.relpath(path), key=len) for path in paths)
    more = f' and {len(names) - _SHOWN_FILES} more' if len(names) > _SHOWN_FILES else ''
    return ', '.join(names[:_SHOWN_FILES]) + more


def _indented(text: str) -> str:
    return '\n'.join(f'  {line}' for line in text.splitlines())


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix='nncore-compat-verify-'))
    try:
        yield path
    finally:
        # Whatever stands in the way of that is not what was asked for.
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """End the script with us, and put its files back, when we are told to end."""

    def end(*_: Any) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
