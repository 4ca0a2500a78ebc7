"""Running a script in a process of its own, and reading what it writes down."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .trace import Trace

_PACKAGES = str(Path(__file__).resolve().parents[2])
# By code, and not by file: the folder of a file would be on the path of the script.
_CODE = f"""\
import sys
sys.path.insert(0, {_PACKAGES!r})
from nncore_compat._verify.child import main
sys.path.remove({_PACKAGES!r})
main(sys.argv[1])
"""
# Seconds that a script has to end by itself once it was stopped.
_GRACE = 30
_PAUSE = 0.05
# Of what a script says at its end, how much is shown.
_LINES = 40


@dataclass
class Job:
    """A script to be run on one of the two sides.

    Args:
        side: `nncore` or `ours`.
        target: The script or `-m module`, and its arguments.
        count: After how many training batches it ends.
        env: More environment variables: our own options.
        definitions: What events nncore's own hooks define.
        until: The record after which it ends.
        show: The name of what is to be kept as a tensor then.
    """

    side: str
    target: list[str]
    count: int
    env: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, list[str]] | None = None
    until: int | None = None
    show: str | None = None


class Outcome(NamedTuple):
    """What came of a job.

    Args:
        trace: What it has written down.
        code: Its exit code; negative: the signal that killed it.
        folder: Where its files are.
    """

    trace: Trace
    code: int
    folder: Path

    @property
    def failed(self) -> bool:
        """Whether the script did not come to an end."""
        ended = self.trace.notes.get('end')
        return ended not in ('stopped', 'exit') or (self.code != 0 and not self.trace.records)

    @property
    def shown(self) -> Path:
        """Where the tensor is that was to be kept."""
        return self.folder / 'shown'

    def words(self) -> str:
        """Return the last that the script said."""
        for name in ('stderr', 'stdout'):
            text = (self.folder / name).read_bytes().decode(errors='replace').strip()
            if text:
                lines = text.splitlines()
                return '\n'.join([*(['...'] if lines[_LINES:] else []), *lines[-_LINES:]])
        return f'it said nothing, and ended with code {self.code}'


def journal(folder: Path) -> Path:
    """Return the file of a run that says which files it has written."""
    return folder / 'files'


def run(job: Job, folder: Path, tell: Callable[[Trace], None]) -> Outcome:
    """Run a job to its end.

    Args:
        job: The job.
        folder: A new folder for all that it writes.
        tell: Called several times per second with what there is so far.
    """
    folder.mkdir(parents=True)
    places = {name: str(folder / name) for name in ('trace', 'files', 'shown')}
    spec = {**asdict(job), **places, 'folder': str(folder / 'work_dirs')}
    (folder / 'job.json').write_text(json.dumps(spec), encoding='utf-8')
    trace, stopped = Trace(places['trace']), None
    with contextlib.ExitStack() as stack:
        out, err = (stack.enter_context((folder / n).open('wb')) for n in ('stdout', 'stderr'))
        process = stack.enter_context(_process(job, folder, out, err))
        while process.poll() is None:
            time.sleep(_PAUSE)
            trace.poll()
            tell(trace)
            if stopped is None and trace.notes.get('end') == 'stopped':
                stopped = time.monotonic()
            if stopped is not None and time.monotonic() > stopped + _GRACE:
                break
    trace.poll()
    # Whatever it has done when it was to end.
    code = 0 if trace.notes.get('end') == 'stopped' else process.returncode
    return Outcome(trace, code, folder)


@contextlib.contextmanager
def _process(job: Job, folder: Path, out: Any, err: Any) -> Iterator[Any]:
    process = start(str(folder / 'job.json'), _environment(job, folder), out, err)
    try:
        yield process
    finally:
        _end(process)


def start(file: str, env: dict[str, str], out: Any, err: Any) -> Any:
    """Start the process of a job.

    Args:
        file: The job.
        env: Its environment.
        out: Where its standard output goes.
        err: Where its errors go.

    Returns:
        A `subprocess.Popen`.
    """
    # Private, but what multiprocessing itself does.
    flags: list[str] = getattr(subprocess, '_args_from_interpreter_flags', list)()
    # Its own group: Ctrl-C is for us, and what it has started ends with it.
    apart: dict[str, Any] = {'start_new_session': True}
    if os.name == 'nt':
        apart = {'creationflags': subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
    return subprocess.Popen(
        [sys.executable, *flags, '-c', _CODE, file],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        **apart,
    )


def _environment(job: Job, folder: Path) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith('NNCORE_COMPAT')}
    env.setdefault('PYTHONHASHSEED', '0')
    # Nothing is to be seen elsewhere of a run that is only looked at.
    env.update(WANDB_MODE='disabled', WANDB_SILENT='true', WANDB_DIR=str(folder), **job.env)
    return env


def _end(process: Any) -> None:
    if hasattr(os, 'killpg'):
        # Its workers too, which may outlive it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()
