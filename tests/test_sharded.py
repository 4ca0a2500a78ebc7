"""Folders written by several processes, read in one; and hostile ones, which run nothing."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_convert import convert, refused
from test_formats import same
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from nncore_compat import _formats, _sharded

SCRIPT = Path(__file__).parent / 'fixtures' / 'sharded.py'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    # Lightning and torch alone, of whom a process was once seen to die.
    for _ in range(3):
        out = tmp_path_factory.mktemp('sharded')
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', str(SCRIPT), str(out)],
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    return out


def test_what_two_processes_have_written(folder, tmp_path, capsys):
    whole = torch.load(folder / 'whole.pth')
    read = _sharded.read(folder / 'folder')
    assert _formats.kind(read) == 'lightning' and _formats.position(read) == (2, 0, 4, 4)
    # Each process has statistics of its own, and any one of them is saved.
    weights = {k: v for k, v in whole['weights'].items() if 'running' not in k}
    assert same({key: read['state_dict'][key] for key in weights}, weights)
    assert len(list((folder / 'folder').glob('*.distcp'))) == 2

    # PyTorch's own converter, which trusts what it reads.
    dcp_to_torch_save(folder / 'folder', tmp_path / 'dcp.pth')
    theirs = torch.load(tmp_path / 'dcp.pth', weights_only=False)
    assert same(read['state_dict'], theirs['state_dict'])
    assert same(read['optimizer_states'][0], theirs['optimizer_0'])

    file = torch.load(convert(folder / 'folder', tmp_path / 'a.pth', 'nncore'))
    assert 'epoch 2, iter 4' in capsys.readouterr().out
    assert same(file['optimizer']['state'], whole['states'])
    assert [group['params'] for group in file['optimizer']['param_groups']] == [
        [0, 1, 2, 3, 4],
        [5],
    ]
    bare = {name.removeprefix('model.'): value for name, value in read['state_dict'].items()}
    assert same(file['state_dict'], bare)
    parameters = [torch.zeros_like(state['exp_avg']) for state in whole['states'].values()]
    optimizer = torch.optim.Adam([{'params': parameters[:5]}, {'params': parameters[5:]}])
    optimizer.load_state_dict(file['optimizer'])
    assert [group['lr'] for group in optimizer.param_groups] == [0.05, 0.1]


ran = []


def run():
    ran.append(1)


class Evil:
    def __reduce__(self):
        return run, ()


def test_nothing_is_run_unasked(folder, tmp_path, capsys):
    ours = tmp_path / 'plain'
    state = {'state_dict': {'a.weight': torch.ones(2)}, 'list': [torch.zeros(1), {'x': 1}, 'text']}
    dcp.save(state, checkpoint_id=ours)
    assert same(_sharded.read(ours), state)

    for name, write in (
        ('index', lambda path: (path / '.metadata').write_bytes(pickle.dumps(Evil()))),
        ('global', lambda path: (path / '.metadata').write_bytes(b'cos\nsystem\n(S"false"\ntR.')),
        ('rest', lambda path: (path / 'meta.pt').write_bytes(pickle.dumps(Evil()))),
        ('value', lambda path: dcp.save({**state, 'evil': Evil()}, checkpoint_id=path)),
    ):
        path = tmp_path / name
        dcp.save(state, checkpoint_id=path)
        write(path)
        ran.clear()
        with pytest.raises(RuntimeError, match=f"cannot read checkpoint '.*{name}"):
            _sharded.read(path)
        assert not ran
        assert name in refused(capsys, path, tmp_path / 'out.pth', '--to', 'weights')
        if name == 'value':
            # So much for whether the test could fail.
            _sharded.read(path, weights_only=False)
            assert ran
    assert not (tmp_path / 'out.pth').exists()


def test_damaged_folders(folder, tmp_path):
    path = tmp_path / 'plain'
    dcp.save({'state_dict': {'a.weight': torch.ones(2)}}, checkpoint_id=path)
    index, part = path / '.metadata', path / '__0_0.distcp'
    for file in (index, part):
        good = file.read_bytes()
        for bad in (b'', good[: len(good) // 2], b'\x00' * len(good)):
            file.write_bytes(bad)
            with pytest.raises(RuntimeError, match="cannot read checkpoint '.*plain"):
                _sharded.read(path)
        file.write_bytes(good)
    part.unlink()
    with pytest.raises(RuntimeError, match='__0_0'):
        _sharded.read(path)
