"""A process that trains until it is done, or killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

from resume import environment
from resume.status import STATUS

SCRIPT = Path(__file__).with_name('training.py')
# Seconds without any progress after which a run counts as hanging.
LIMIT = 60


class Life:
    """A process that runs the script, from its start to its end."""

    def __init__(self, folder: Path, epochs: int, real: bool) -> None:
        self.folder = folder
        self.status = folder.parent / f'{folder.name}.status'
        self.status.write_bytes(STATUS.pack(b's', 0))
        argv = ['--resume', 'auto', str(SCRIPT), str(folder), str(epochs)]
        log = os.open(f'{folder}.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if real:
            self._process = subprocess.Popen(
                [sys.executable, '-m', 'nncore_compat', *argv],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self.pid = self._process.pid
        else:
            self.pid = os.fork()
            if self.pid == 0:
                _live(argv, log)
        os.close(log)

    def look(self) -> tuple[str, int]:
        """What it does, and in which iteration it is."""
        what, iteration = STATUS.unpack(self.status.read_bytes())
        return what.decode(), iteration

    def ended(self, seconds: float, until: str | None = None) -> int | None:
        """Wait; return the exit status if it ends meanwhile.

        Args:
            seconds: How long.
            until: Wait no longer than this is no more what it does.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end and (until is None or self.look()[0] == until):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        return None

    def kill(self) -> None:
        """Kill it, and then the workers of its loaders."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def _live(argv: list[str], log: int) -> None:
    """Be a process that was started by a command line, but for the time that imports take."""
    code = 1
    try:
        os.setsid()
        for stream in (1, 2):
            os.dup2(log, stream)
        from nncore_compat.__main__ import main

        sys.argv = ['nncore_compat', *argv]
        main(argv)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
