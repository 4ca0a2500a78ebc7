"""A whole project, laid out as published ones are, does the same under nncore and under us.

What is run are the command lines that its users type, each in a copy of the project of its own.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from parity.compare import compare_runs
from parity.sides import HERE, OURS, environment

PROJECT = HERE.parent / 'project'
CONFIGS = 'configs/clips/localizer'
SIDES = ('reference', 'ours')
# Seconds after which a command counts as hanging; none needs a tenth of it.
LIMIT = 240


class Job(NamedTuple):
    """A command line.

    Args:
        argv: What follows tools/launch.py.
        makes: Files that it must leave behind.
        given: A job and the file of it that the other side made, here as given.pth.
        processes: How many processes torchrun starts; 1 is plain Python.
        devices: Whether our side starts the processes itself, without torchrun.
    """

    argv: str
    makes: str = ''
    given: tuple[str, str] | None = None
    processes: int = 1
    devices: bool = False


TWO_STAGES = f'{CONFIGS}_2s_5e_clips.py'
JOBS = {
    'train': Job(TWO_STAGES, 'work_dirs/localizer_2s_5e_clips/epoch_5.pth'),
    'train_amp': Job(
        f'{CONFIGS}_3e_clips.py --amp bf16 --seed 5 --work_dir amp', 'amp/epoch_3.pth'
    ),
    'train_two': Job(
        f'{CONFIGS}_hl_2e_clips.py --launcher torch --work_dir two',
        'two/epoch_2.pth two/latest.pth',
        processes=2,
    ),
    'resume': Job(
        f'{TWO_STAGES} --resume given.pth --work_dir resumed --debug',
        'resumed/epoch_3.pth resumed/epoch_5.pth',
        given=('train', 'work_dirs/localizer_2s_5e_clips/epoch_2.pth'),
    ),
    'resume_two': Job(
        f'{TWO_STAGES} --resume given.pth --work_dir resumed',
        'resumed/epoch_2.pth resumed/epoch_5.pth',
        given=('train', 'work_dirs/localizer_2s_5e_clips/epoch_1.pth'),
        processes=2,
    ),
    'dump': Job(
        f'{CONFIGS}_3e_clips.py --dump --checkpoint given.pth',
        'saliency_val.jsonl',
        given=('train', 'work_dirs/localizer_2s_5e_clips/epoch_5.pth'),
    ),
    'eval_two': Job(
        f'{CONFIGS}_hl_2e_clips.py --eval --checkpoint given.pth',
        given=('train_two', 'two/epoch_2.pth'),
        processes=2,
        devices=True,
    ),
}


@pytest.fixture(scope='module')
def results(request, reference_installed, tmp_path_factory):
    """The results to come of what is tested: job -> (future of the reference, future of ours)."""
    folder = tmp_path_factory.mktemp('project')
    tested = [i.callspec.params['name'] for i in request.session.items if i.fspath == __file__]
    needed = {job.given[0] for job in map(JOBS.get, tested) if job.given}.union(tested)
    futures = {}
    # One more than cores: a torchrun waits most of the time.
    with ThreadPoolExecutor(3) as pool:
        for name in JOBS:
            if name in needed:
                futures[name] = [pool.submit(run, name, side, folder, futures) for side in SIDES]
        yield futures
        for future in (f for pair in futures.values() for f in pair):
            future.cancel()


def run(name, side, folder, futures):
    """Run a job on one side; return its exit status and the folder it ran in."""
    job, reference = JOBS[name], side == 'reference'
    cwd = folder / name / side
    shutil.copytree(PROJECT, cwd, ignore=shutil.ignore_patterns('__pycache__', 'work_dirs'))
    if job.given is not None:
        source, file = job.given
        _, trained = futures[source][reference].result()
        shutil.copy(trained / file, cwd / 'given.pth')
    launcher, streams = [], [f'{cwd}.stdout', f'{cwd}.stderr']
    runner = [] if reference else list(OURS)
    torchrun = job.processes > 1 and (reference or not job.devices)
    if torchrun:
        launcher = ['-m', 'torch.distributed.run', '--standalone', '--redirects=3']
        launcher += [f'--nproc-per-node={job.processes}', f'--log-dir={cwd}.ranks']
        streams = [f'{cwd}.launcher', subprocess.STDOUT]
    elif job.processes > 1:
        runner += ['--devices', str(job.processes)]
    argv = [sys.executable, *launcher, *runner, 'tools/launch.py', *job.argv.split()]
    status = call(argv, cwd, environment(reference), *streams)
    if torchrun:
        for end in ('stdout', 'stderr'):
            ranks = sorted(Path(f'{cwd}.ranks').glob(f'*/attempt_0/*/{end}.log'))
            Path(f'{cwd}.{end}').write_bytes(b''.join(path.read_bytes() for path in ranks))
    return status, cwd


def call(argv, cwd, env, stdout, stderr):
    """Run a command to its end, or kill it and all that it has started after LIMIT seconds."""
    with contextlib.ExitStack() as stack:
        out, err = (
            stack.enter_context(open(s, 'wb')) if isinstance(s, str) else s
            for s in (stdout, stderr)
        )
        # No bytecode: it would be compared.
        env = {**env, 'PYTHONDONTWRITEBYTECODE': '1'}
        process = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        try:
            return process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            for pid in [process.pid, *descendants(process.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return process.wait()


def descendants(pid):
    """All processes below one; torchrun puts its own into sessions of their own."""
    children = []
    with contextlib.suppress(OSError):
        for task in Path(f'/proc/{pid}/task').iterdir():
            children += map(int, (task / 'children').read_text().split())
    return children + [pid for child in children for pid in descendants(child)]


@pytest.mark.slow
@pytest.mark.parametrize('name', JOBS)
def test_project(name, results):
    """Logs, streams, metrics, events, checkpoints, file names and exit status are the same."""
    statuses, folders = zip(*(future.result() for future in results[name]), strict=True)
    for status, folder in zip(statuses, folders, strict=True):
        words = Path(f'{folder}.stdout').read_text()[-500:] + Path(f'{folder}.stderr').read_text()
        assert status == 0, f'{folder.name}: {status}\n{words[-3000:]}'
    differences = compare_runs(*folders)
    assert not differences, '\n'.join(differences)
    made = {str(path.relative_to(folders[0])) for path in folders[0].rglob('*')}
    assert made >= set(JOBS[name].makes.split())
    if '--eval' in JOBS[name].argv:
        new = made - {str(path.relative_to(PROJECT)) for path in PROJECT.rglob('*')}
        assert new == {'given.pth'}
