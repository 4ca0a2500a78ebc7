"""Two processes that go through cases together: `python -m resume.pair FOLDER`.

Cases come as one JSON line on stdin, results go back as JSON lines on stdout, from rank 0.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from resume import environment
from resume.cases import Case, in_order

# Seconds that a single case may take, the start of the processes among it.
LIMIT = 120


def run(cases: Sequence[Case], folder: Path) -> Iterator[tuple[Case, list[str]]]:
    """Have two processes run the cases; where they fail, the case differs and others follow.

    Args:
        cases: The cases.
        folder: Where the files go.

    Yields:
        Each case, with a list of differences.
    """
    left = list(cases)
    while left:
        for case, found in _attempt(list(left), folder):
            left.remove(case)
            yield case, found
        if left:
            errors = [(folder / f'{rank}.stderr').read_text()[-2000:] for rank in (0, 1)]
            failed = in_order(left)[0]
            left.remove(failed)
            yield failed, [f'rank {rank} failed: {text}' for rank, text in enumerate(errors)]


def _attempt(cases: Sequence[Case], folder: Path) -> Iterator[tuple[Case, list[str]]]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'meeting').unlink(missing_ok=True)
    processes = []
    with contextlib.ExitStack() as stack:
        for rank in (0, 1):
            stderr = stack.enter_context((folder / f'{rank}.stderr').open('w'))
            process = subprocess.Popen(
                [sys.executable, '-m', 'resume.pair', str(folder / 'files')],
                env=environment(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=2, LOCAL_WORLD_SIZE=2),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
            stack.callback(_end, process)
            processes.append(process)
        for process in processes:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(cases))
                process.stdin.close()
        lines: queue.Queue = queue.Queue()
        for process in processes:
            threading.Thread(target=_read, args=(process, lines), daemon=True).start()
        for _ in cases:
            try:
                line = lines.get(timeout=LIMIT)
            except queue.Empty:
                return
            # One that has failed: the other one may wait for it for long.
            if line is None:
                return
            case, found = json.loads(line)
            yield Case(*case), found


def _read(process: subprocess.Popen, lines: queue.Queue) -> None:
    for line in process.stdout:
        lines.put(line)
    if process.wait() != 0:
        lines.put(None)


def _end(process: subprocess.Popen) -> None:
    # A short while, in which it says what has failed, or that nothing has.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def main() -> None:
    """Take part as one of the two."""
    folder = Path(sys.argv[1])
    cases = [Case(*case) for case in json.load(sys.stdin)]
    results = os.fdopen(os.dup(1), 'w')
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    import datetime

    import torch

    from nncore_compat.comm import init_dist, is_main_process
    from resume.runs import differences

    torch.set_num_threads(1)
    init_dist(
        launcher='torch',
        method='fork',
        init_method=f'file://{folder.parent / "meeting"}',
        rank=int(os.environ['RANK']),
        world_size=2,
        timeout=datetime.timedelta(seconds=LIMIT / 2),
    )
    for case, found in differences(cases, folder):
        if is_main_process():
            results.write(json.dumps([case, found]) + '\n')
            results.flush()


if __name__ == '__main__':
    main()
