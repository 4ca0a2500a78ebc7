"""Files that are written whole or not at all, and what is said when they are not."""

import builtins
import errno
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from nncore_compat import _files, _unfinished, get_checkpoint

ROOT = Path(__file__).resolve().parent.parent
OLD, NEW = {'number': 1}, {'number': 2, 'weights': torch.ones(100_000)}


@pytest.fixture
def old(tmp_path):
    """A checkpoint that must be there, byte for byte, after whatever goes wrong."""
    path = tmp_path / 'run' / 'epoch_1.pth'
    _files.write(OLD, path)
    before = path.read_bytes()
    yield path
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_50_kills_leave_whole_files_and_nothing_else(tmp_path):
    run = subprocess.run(
        [sys.executable, ROOT / 'tests' / 'killed.py', tmp_path, '50'],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen['kills'] == 50 and seen['damaged'] == 0 and seen['unswept'] == 0
    assert seen['names'] == ['careless.pth', 'latest.pth', 'sharded', 'whole.pth']
    # Else they came at harmless moments.
    assert seen['left_over'] >= 10 and seen['careless_damaged'] >= 1


def test_a_file_is_what_torch_writes(tmp_path):
    _files.write(NEW, tmp_path / 'a' / 'b.pth', check=True)
    found = torch.load(tmp_path / 'a' / 'b.pth', weights_only=True)
    assert found['number'] == 2 and torch.equal(found['weights'], NEW['weights'])
    assert os.listdir(tmp_path / 'a') == ['b.pth']


class Full:
    """A disk that takes so many bytes."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def write(self, data):
        data = bytes(data)[: self._room]
        if not data:
            raise OSError(errno.ENOSPC, 'No space left on device')
        self._room -= len(data)
        return self._file.write(data)

    def fileno(self):
        return self._file.fileno()


@pytest.mark.parametrize('room', [0, 1, 500, 100_000, 401_000])
def test_a_full_disk(old, room, monkeypatch):
    def full(path, mode='r', *args, **kwargs):
        file = builtins.open(path, mode, *args, **kwargs)  # noqa: SIM115
        return Full(file, room) if mode == 'wb' else file

    monkeypatch.setattr(_files, 'open', full, raising=False)
    with pytest.raises(OSError, match='no space left on the disk') as raised:
        _files.write(NEW, old)
    assert raised.value.errno == errno.ENOSPC
    text = str(raised.value)
    assert str(old) in text and 'The old file is untouched' in text and 'on_error=' in text
    needed = int(re.search(r'needs ([\d,]+) bytes', text)[1].replace(',', ''))
    monkeypatch.undo()
    _files.write(NEW, old.parent.parent / 'other.pth')
    assert needed == os.path.getsize(old.parent.parent / 'other.pth')


def test_a_disk_that_is_full_indeed(tmp_path):
    disk = tmp_path / 'disk'
    disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=256k', 'x', disk]).returncode:
        pytest.skip('may not mount a small disk')
    try:
        _files.write(OLD, disk / 'a.pth')
        before = (disk / 'a.pth').read_bytes()
        with pytest.raises(_files.SaveError, match=r'which has 2\d\d,\d{3} bytes free'):
            _files.write(NEW, disk / 'a.pth')
        assert (disk / 'a.pth').read_bytes() == before
        assert os.listdir(disk) == ['a.pth']
    finally:
        subprocess.run(['umount', disk], check=True)


def test_a_limit_on_the_size_of_files(old):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(_files.SaveError, match=r'larger than .*ulimit -f') as raised:
            _files.write(NEW, old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.errno == errno.EFBIG


def test_a_folder_without_permission():
    # Not tmp_path: another user may not even look into it.
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top, 'run')
        _files.write(OLD, folder / 'a.pth')
        before = (folder / 'a.pth').read_bytes()
        os.chmod(top, 0o755)
        os.chmod(folder, 0o555)
        root = os.geteuid() == 0
        try:
            if root:
                os.seteuid(65534)
            with pytest.raises(_files.SaveError, match='no permission to write to its folder'):
                _files.write(NEW, folder / 'a.pth')
            with pytest.raises(_files.SaveError, match='no permission to write to its folder'):
                _files.point(folder / 'latest.pth', 'a.pth')
            assert _files.sweep(folder) == []
        finally:
            if root:
                os.seteuid(0)
            os.chmod(folder, 0o755)
        assert (folder / 'a.pth').read_bytes() == before
        assert os.listdir(folder) == ['a.pth']


@pytest.mark.parametrize(
    'number, words',
    [
        (errno.EROFS, 'the file system is read-only'),
        (errno.EDQUOT, 'the disk quota is used up'),
        (errno.EIO, 'Input/output error'),
    ],
)
@pytest.mark.parametrize('call', ['replace', 'fsync'])
def test_other_errors_of_the_system(old, number, words, call, monkeypatch):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(_files.SaveError, match=words) as raised:
        _files.write(NEW, old)
    assert raised.value.errno == number


def test_what_cannot_be_pickled(old):
    with pytest.raises(Exception, match='pickle'):
        _files.write({**NEW, 'function': lambda: None}, old)


def test_a_folder_that_vanished_is_made_again(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(_files, 'log', lambda text, **kwargs: said.append(text))
    _files.write(OLD, tmp_path / 'run' / 'a.pth')
    assert said == []
    os.remove(tmp_path / 'run' / 'a.pth')
    os.rmdir(tmp_path / 'run')
    _files.write(NEW, tmp_path / 'run' / 'a.pth')
    assert get_checkpoint(tmp_path / 'run' / 'a.pth')['number'] == 2
    assert len(said) == 1 and f'{tmp_path / "run"} has vanished' in said[0]

    os.remove(tmp_path / 'run' / 'a.pth')
    os.rmdir(tmp_path / 'run')
    (tmp_path / 'run').write_text('in the way')
    with pytest.raises(_files.SaveError, match='a part of its path is no folder'):
        _files.write(NEW, tmp_path / 'run' / 'a.pth')


def test_a_checked_file_that_is_not_what_was_written(old, monkeypatch):
    def careless(self, data):
        data = bytearray(data)
        if len(data) > 1000:
            data[len(data) // 2] ^= 1
        self._raw.write(data)
        return len(data)

    monkeypatch.setattr(_files._Whole, 'write', careless)
    with pytest.raises(_files.SaveError, match='read back, data/0 is damaged: its checksum'):
        _files.write(NEW, old, check=True)
    _files.write(NEW, old.parent.parent / 'unchecked.pth')


def sharded(path, **contents):
    with _files.write_folder(path, _files.temporary(path)) as new:
        for name, text in contents.items():
            Path(new, name).write_text(text)
            if text == 'fail':
                raise OSError(errno.ENOSPC, 'No space left on device')


def test_a_folder_takes_the_place_of_another(tmp_path):
    sharded(tmp_path / 'a', one='1', two='2')
    sharded(tmp_path / 'a', one='3')
    assert os.listdir(tmp_path) == ['a'] and os.listdir(tmp_path / 'a') == ['one']
    with pytest.raises(_files.SaveError, match='no space left on the disk'):
        sharded(tmp_path / 'a', one='4', two='fail')
    assert os.listdir(tmp_path) == ['a'] and (tmp_path / 'a' / 'one').read_text() == '3'


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    sharded(tmp_path / 'a', one='1')
    rename = os.rename

    def fail(source, target):
        if source.endswith('.tmp'):
            raise OSError(errno.EIO, 'Input/output error')
        rename(source, target)

    monkeypatch.setattr(os, 'rename', fail)
    with pytest.raises(_files.SaveError, match='Input/output error'):
        sharded(tmp_path / 'a', one='2')
    assert os.listdir(tmp_path) == ['a'] and (tmp_path / 'a' / 'one').read_text() == '1'


@pytest.fixture
def dead():
    """The number of a process that is gone."""
    process = subprocess.Popen(['true'])
    process.wait()
    return process.pid


def test_a_folder_put_aside_is_put_back(tmp_path, dead):
    host = _unfinished._HOST
    for name in ('a', 'b'):
        (tmp_path / f'.{name}.{dead}-0@{host}.old').mkdir()
        (tmp_path / f'.{name}.{dead}-0@{host}.tmp').mkdir()
    (tmp_path / 'b').mkdir()
    removed = _files.sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ['a', 'b']
    assert [os.path.basename(path)[:2] for path in removed] == ['.a', '.b', '.b']


def test_sweep_takes_only_what_is_left_over(tmp_path, dead):
    host, own = _unfinished._HOST, os.getpid()
    living = subprocess.Popen(['sleep', '60'])
    kept = {
        f'.a.pth.{living.pid}-0@{host}.tmp',
        '.a.pth.1-0@elsewhere.tmp',
        '.a.pth.tmp',
        f'.a.pth.{dead}.tmp',
        f'a.pth.{dead}-0@{host}.tmp',
        'epoch_1.pth',
        'notes.tmp',
    }
    gone = {f'.a.pth.{dead}-3@{host}.tmp', f'.b.{own}-99999@{host}.tmp', '.c.7-0@there.tmp'}
    for name in kept | gone:
        (tmp_path / name).write_text('x')
    (tmp_path / f'.link.{dead}-0@{host}.tmp').symlink_to('epoch_1.pth')
    (tmp_path / f'.shards.{dead}-0@{host}.tmp' / 'inside').mkdir(parents=True)
    long_ago = time.time() - 2 * 3600
    os.utime(tmp_path / '.c.7-0@there.tmp', (long_ago, long_ago))
    try:
        with _files.replacing(tmp_path / 'now.pth') as file:
            file.write(b'half')
            _files.sweep(tmp_path)
    finally:
        living.kill()
        living.wait()
    assert set(os.listdir(tmp_path)) == {*kept, 'now.pth'}
    assert _files.sweep(tmp_path / 'none') == []


def test_a_link_is_replaced(tmp_path):
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        _files.point(tmp_path / 'latest.pth', name)
    assert os.readlink(tmp_path / 'latest.pth') == 'epoch_2.pth'
    assert os.listdir(tmp_path) == ['latest.pth']
    (tmp_path / 'taken').mkdir()
    with pytest.raises(_files.SaveError, match='there is a folder of this name'):
        _files.point(tmp_path / 'taken', 'epoch_1.pth')
    assert sorted(os.listdir(tmp_path)) == ['latest.pth', 'taken']
