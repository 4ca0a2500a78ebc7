"""Every command of examples/distributed.md, as it stands there, with two processes here."""

import os
import re
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from paths import ROOT, python_path

EXAMPLES = ROOT / 'examples'
MARKDOWN = (EXAMPLES / 'distributed.md').read_text()
BLOCKS = re.findall(r'```bash\n(.*?)```', MARKDOWN, re.S)
COMMANDS = [re.sub(r'\\\n\s*', '', block).splitlines() for block in BLOCKS]

# What srun tells its processes. The port is the default one in a job, which may be taken here.
SRUN = f"""#!{sys.executable}
import os, socket, subprocess, sys

count, command = sys.argv[1].removeprefix('--ntasks='), sys.argv[2:]
job = dict(SLURM_NTASKS=count, SLURM_STEP_NUM_TASKS=count, SLURM_NNODES='1')
job.update(SLURM_JOB_ID='7', SLURM_NODEID='0', SLURM_JOB_NODELIST='localhost')
with socket.socket() as one:
    one.bind(('127.0.0.1', 0))
    job['MASTER_PORT'] = str(one.getsockname()[1])
environments = [
    dict(os.environ, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank), **job)
    for rank in range(int(count))
]
processes = [subprocess.Popen(command, env=env) for env in environments]
sys.exit(max(process.wait() for process in processes))
"""


@pytest.fixture
def shell(tmp_path):
    """Run command lines at the same time, in a folder that has the examples; return the output."""
    shutil.copytree(EXAMPLES, tmp_path / 'examples')
    programs = tmp_path / 'bin'
    programs.mkdir()
    # As where an environment is active, which need not be the case here.
    for name, code in {
        'srun': SRUN,
        'scontrol': '#!/bin/sh\necho localhost\n',
        'python': f'#!/bin/sh\nexec {sys.executable} "$@"\n',
        'torchrun': f'#!/bin/sh\nexec {sys.executable} -m torch.distributed.run "$@"\n',
    }.items():
        (programs / name).write_text(code)
        (programs / name).chmod(0o755)

    def run(commands, cwd, fast):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(('NNCORE_COMPAT', 'SLURM'))}
        env = {
            **kept,
            'PATH': os.pathsep.join((str(programs), os.environ['PATH'])),
            'PYTHONPATH': python_path(ROOT) if fast else str(ROOT),
            'OMP_NUM_THREADS': '1',
        }

        def one(command):
            options = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240)
            return subprocess.run(command, shell=True, cwd=cwd, env=env, **options)

        with ThreadPoolExecutor(len(commands)) as pool:
            done = list(pool.map(one, commands))
        output = ''.join(one.stdout for one in done)
        assert [one.returncode for one in done] == [0] * len(done), output[-5000:]
        return output

    return run


def free_port():
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return str(one.getsockname()[1])


def name(commands):
    words = commands[0].split()
    return '-'.join(re.sub(r'[^a-z]', '', word) for word in [*words[:2], Path(words[-1]).stem])


@pytest.mark.slow
@pytest.mark.parametrize('commands', COMMANDS[:-1], ids=name)
def test_command(commands, shell, tmp_path):
    port = free_port()
    here = [line.replace('=node0', '=127.0.0.1').replace('=29500', f'={port}') for line in commands]
    output = shell(here, tmp_path, fast=True)
    expected = re.search(r'All of them end with\n\n```\n(.*?)```', MARKDOWN, re.S)[1]
    # From the first process alone, whichever command that came of.
    lines = re.findall(r'^(?:Processes|Batches|Weights).*\n', output, re.M)
    assert ''.join(lines) == expected
    assert output.count('Saving checkpoint to') == 2


@pytest.mark.slow
def test_project(reference_installed, shell, tmp_path):
    output = shell(COMMANDS[-1], tmp_path / 'examples' / 'project', fast=False)
    assert 'Launcher: elastic (gloo)' in output
    # 1438 digits, 32 at a time in all.
    assert 'Epoch [4][45/45]' in output
    assert re.search(r'Epoch \(val\) \[4\].* accuracy: 0\.9', output)


def test_there_are_all_kinds_of_commands():
    words = ['--devices 2', 'torchrun --standalone', '--nnodes=2', 'srun', 'tools/launch.py']
    for word, lines in zip(words, COMMANDS, strict=True):
        assert all(word in line for line in lines)
    assert [len(lines) for lines in COMMANDS] == [1, 1, 2, 1, 1]
