"""The runs of one comparison: both sides, and those that look for the cause."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__, _options, quirks
from . import children, files, verdict, words
from .children import Job, Outcome
from .display import Display
from .search import explain
from .trace import Difference, Trace, compare

IDENTICAL, DIFFERENT, FAILED = 0, 1, 2
_SHOWN_FILES = 5


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
        # What the script has written itself: not put back, and elsewhere.
        self._left: set[str] = set()
        self._elsewhere: set[str] = set()

    def compare(self) -> int:
        """Run both sides, and say whether they are identical."""
        real = self._run(self._names[0], self._real_job())
        self._definitions = real.trace.notes.get('definitions', {})
        if not real.failed:
            problem = _nothing_seen(real.trace, os.path.basename(self._target[-1]))
            if problem:
                return give_up(problem)
        self._follow_device(real.trace)
        ours = self._run(self._names[1], self._our_job(self._on))
        found = compare(real.trace, ours.trace)
        if real.failed or ours.failed:
            return self._tell_failure(real, ours, found)
        if found is None:
            _tell(verdict.identical(real.trace, ours.trace, self._names))
            return IDENTICAL
        self._tell_difference(real, ours, found)
        return DIFFERENT

    def tell_of_files(self) -> None:
        """Say which files the script has written itself."""
        if self._elsewhere:
            print(f'the script itself wrote: {_listed(self._elsewhere)}')
        if self._left:
            print(f'changed or lost in its work_dir, and not put back: {_listed(self._left)}')

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
        # Without an engine nobody knows which folder it is: then all is put back.
        restored, left = files.restore(wrote, trace.work_dirs or [os.sep])
        self._left.update(left)
        known = {*restored, *left}
        paths = {path for one in wrote for path in (one['path'], one.get('to')) if path}
        self._elsewhere |= {one for one in paths - known if _is_of_interest(one)}
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

    def _tell_difference(self, real: Outcome, ours: Outcome, found: Difference) -> None:
        change = found.changes[0] if found.changes else None
        shows = change is not None and words.has_tensor(change)
        ask: dict[str, Any] = {
            'until': found.index,
            'show': change.key if change and shows else None,
        }
        repeats, again, causes = True, None, None
        if ours.trace.met:
            causes = self._explain(real, ours)
        if shows or causes is None:
            again = self._run(f'{self._names[0]} once more', self._real_job(**ask))
            repeats = compare(real.trace, again.trace, found.index) is None
        if repeats and not ours.trace.met:
            # None says that it matters: better be sure.
            causes = self._explain(real, ours)
        shown: list[str] = []
        if again is not None and shows and repeats:
            more = self._run(f'{self._names[1]} once more', self._our_job(self._on, **ask))
            if again.shown.exists() and more.shown.exists():
                # Not before: it needs torch.
                from . import values

                shown = values.describe(again.shown, more.shown, self._names)
        _tell(verdict.different(found, shown, self._names))
        _tell(verdict.conditions(real.trace, ours.trace, self._names))
        if causes is not None:
            until = f', until the script fails under {self._names[0]}' if real.failed else ''
            _tell(verdict.explained(causes, self._on, ours.trace.met, until))
        else:
            _tell(verdict.unexplained(repeats, real.trace))

    def _explain(self, real: Outcome, ours: Outcome) -> list[str] | None:
        def attempt(names: Collection[str]) -> tuple[bool, Collection[str]]:
            label = 'all' if len(names) == len(quirks.QUIRKS) else ','.join(names)
            outcome = self._run(f'{self._names[1]} --quirks {label}', self._our_job(names))
            found = compare(real.trace, outcome.trace)
            if found is None:
                same = real.failed or not outcome.failed
            else:
                # Where it fails under nncore there is no more to compare.
                same = real.failed and _is_end(found.heads[0])
            return same, outcome.trace.met

        return explain(self._on, ours.trace.met, attempt)

    def _tell_failure(self, real: Outcome, ours: Outcome, found: Difference | None) -> int:
        # What differs before that has nothing to do with it.
        earlier = found is not None and not any(map(_is_end, found.heads))
        if found is not None and earlier:
            self._tell_difference(real, ours, found)
        later = ', later' if earlier else ''
        for name, outcome in zip(self._names, (real, ours), strict=True):
            if outcome.failed:
                print(f'the script fails under {name}{later}:\n{_indented(outcome.words())}')
        if earlier:
            return DIFFERENT
        both = real.failed and ours.failed
        if both and real.trace.work_dirs:
            print(
                'while they are compared, engines write to temporary folders: a script that looks '
                'for their files by itself (glob, os.listdir, open) does not find them'
            )
        return give_up(f'the script fails under {"both" if both else "one of the two"}')


def _is_end(head: dict[str, Any] | None) -> bool:
    return head is None or head['what'] == 'raised'


def _nothing_seen(trace: Trace, script: str) -> str | None:
    if not trace.records:
        return (
            f'{script} makes no nncore.engine.Engine in its own process '
            f'(it ended with code {trace.notes.get("code")})'
        )
    if not trace.notes.get('launched'):
        return f'{script} launches no engine (it ended with code {trace.notes.get("code")})'
    return None


def give_up(why: str) -> int:
    """Say why nothing was compared, and return the exit code."""
    print(f'could not compare: {why}', file=sys.stderr)
    return FAILED


def _tell(lines: list[str]) -> None:
    print('\n'.join(lines))


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
