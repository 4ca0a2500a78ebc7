"""What Windows and macOS lack is not needed: links, fork, fcntl, most signals."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from paths import TESTS, python_path

from nncore_compat import _files

ROOT = TESTS.parent

SCRIPT = """
import importlib, os, pkgutil, signal, sys
import torch, torch.distributed, torch.utils.tensorboard
import lightning.pytorch

for name in ('fork', 'forkpty', 'register_at_fork', 'getuid', 'killpg', 'mkfifo', 'setsid',
             'O_DIRECTORY', 'O_NOFOLLOW', 'sched_getaffinity', 'symlink'):
    vars(os).pop(name, None)
for name in ('SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGHUP', 'SIGQUIT', 'sigwaitinfo', 'sigwait',
             'pthread_kill', 'alarm', 'setitimer'):
    vars(signal).pop(name, None)
for name in ('fcntl', 'grp', 'pwd', 'resource', 'termios'):
    sys.modules[name] = None
import nncore_compat
for found in pkgutil.walk_packages(nncore_compat.__path__, 'nncore_compat.'):
    if '__main__' not in found.name and '_site' not in found.name:
        importlib.import_module(found.name)

import tiny
from torch.utils.data import DataLoader

if __name__ == '__main__':
    torch.multiprocessing.set_start_method('spawn')
    data = tiny.Points(8)
    loaders = dict(train=DataLoader(data, 4, num_workers=2), val=DataLoader(data, 4))
    one = tiny.engine(
        sys.argv[1],
        data_loaders=loaders,
        stages=tiny.stage(validation=dict(interval=1)),
        hooks=[dict(type='CheckpointHook', create_symlink=True, every_n_iters=1)],
    )
    one.launch()
    again = tiny.engine(sys.argv[1], data_loaders=loaders, stages=tiny.stage(epochs=2))
    again.resume(os.path.join(sys.argv[1], 'latest.pth'))
    assert again.epoch == 1
"""


@pytest.mark.slow
def test_a_run_without_what_other_systems_lack(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    env = {**os.environ, 'PYTHONPATH': python_path(ROOT, TESTS), 'OMP_NUM_THREADS': '1'}
    run = subprocess.run(
        [sys.executable, script, tmp_path / 'w'], env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert 'Traceback' not in run.stderr
    assert torch.load(tmp_path / 'w' / 'latest.pth', weights_only=True)['meta']['iter'] == 2


@pytest.mark.parametrize('hard', [True, False])
def test_the_newest_file_where_there_are_no_links(tmp_path, monkeypatch, hard):
    """One more name of it, or a copy; in place of what was there, whatever that was."""

    def refuse(*args, **kwargs):
        raise OSError(95, 'not supported')

    link = tmp_path / 'latest.pth'
    for name in ('one.pth', 'two.pth'):
        (tmp_path / name).write_text(name)
    _files.point(link, 'one.pth')
    assert link.is_symlink()
    monkeypatch.setattr(os, 'symlink', refuse)
    if not hard:
        monkeypatch.setattr(os, 'link', refuse)
    _files.point(link, 'two.pth')
    assert link.read_text() == 'two.pth' and not link.is_symlink()
    assert os.path.samefile(link, tmp_path / 'two.pth') == hard
    # Replaced as a whole, the file of this name stays what it was.
    with _files.replacing(tmp_path / 'two.pth') as file:
        file.write(b'new')
    assert link.read_text() == 'two.pth'
    (tmp_path / 'folder').mkdir()
    _files.point(link, 'folder')
    assert sorted(os.listdir(tmp_path)) == ['folder', 'latest.pth', 'one.pth', 'two.pth']


def test_a_file_that_someone_reads_on_windows(tmp_path, monkeypatch):
    """It cannot be replaced before that one is through with it."""
    seen = []

    def replace(new, path, really=os.replace):
        seen.append(path)
        if len(seen) < 3:
            raise PermissionError(13, 'in use')
        really(new, path)

    monkeypatch.setattr(os, 'replace', replace)
    monkeypatch.setattr(_files.platform, 'system', lambda: 'Windows')
    monkeypatch.setattr(_files.time, 'sleep', lambda seconds: None)
    with _files.replacing(tmp_path / 'a') as file:
        file.write(b'x')
    assert len(seen) == 3 and Path(tmp_path / 'a').read_text() == 'x'
