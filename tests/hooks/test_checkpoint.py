"""CheckpointHook: files that load without running code."""

from collections import OrderedDict

import numpy as np
import pytest
import torch

import nncore_compat as E

from .fake_engine import FakeEngine, Linear, loaders, sgd


def run(hook, stages, folder):
    return FakeEngine(E.Buffer(), [hook], loaders(), stages, work_dir=str(folder)).run()


def test_files_links_and_lines_are_nncores(reference, ours):
    assert ours('checkpoints') == reference['checkpoints']


def test_contents_are_nncores(reference, reference_folder, ours, tmp_path):
    ours('checkpoints')
    theirs = reference_folder / 'checkpoints'
    files = sorted(path.relative_to(theirs) for path in theirs.rglob('*.pth'))
    assert len(files) == 5 + 4 + 5
    for file in files:
        expected = torch.load(theirs / file, weights_only=True)
        found = torch.load(tmp_path / file, weights_only=True)
        assert expected['meta'].pop('create_time')
        assert found['meta'].pop('create_time')
        assert str(found) == str(expected)
        torch.testing.assert_close(found['state_dict'], expected['state_dict'], rtol=0, atol=0)


class Node(dict):
    """As nncore's CfgNode."""

    def to_dict(self):
        return {'from': 'to_dict', **self}


def test_meta_is_plain_data(tmp_path):
    optimizer = torch.optim.Adam(Linear().parameters(), lr=0.1, betas=(0.8, 0.9))
    stages = [
        Node(epochs=1, optimizer=sgd, validation=Node(interval=np.int64(2))),
        OrderedDict(epochs=1, optimizer=optimizer, lr_schedule=dict(gamma=np.float64(0.5))),
    ]
    run(E.CheckpointHook(), stages, tmp_path)
    meta = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)['meta']
    assert (meta['epoch'], meta['iter']) == (2, 10)
    first, second = meta['stages']
    assert first['from'] == 'to_dict'
    assert first['validation'] == {'from': 'to_dict', 'interval': 2}
    assert first['optimizer'] == repr(sgd)
    assert second['lr_schedule'] == {'gamma': 0.5}
    assert second['optimizer']['type'] == 'Adam'
    assert second['optimizer']['betas'] == (0.8, 0.9)
    rebuilt = dict(second['optimizer'])
    again = getattr(torch.optim, rebuilt.pop('type'))(Linear().parameters(), **rebuilt)
    assert again.defaults == optimizer.defaults


def test_the_stages_are_not_touched(tmp_path):
    stages = [dict(epochs=1, optimizer=sgd, grad_clip=dict(max_norm=1))]
    run(E.CheckpointHook(), stages, tmp_path)
    assert stages == [dict(epochs=1, optimizer=sgd, grad_clip=dict(max_norm=1))]


def test_a_link_is_replaced_and_nothing_is_left_over(tmp_path):
    (tmp_path / 'latest.pth').symlink_to('gone.pth')
    stages = [dict(epochs=2, optimizer=sgd)]
    run(E.CheckpointHook(create_symlink=True), stages, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        'epoch_1.pth',
        'epoch_2.pth',
        'latest.pth',
    ]
    assert torch.load(tmp_path / 'latest.pth', weights_only=True)['meta']['epoch'] == 2


@pytest.mark.parametrize(('interval', 'epochs'), [(1, [1, 2, 3]), (2, [2, 3]), (0, [3]), (5, [3])])
def test_the_last_epoch_is_always_saved(interval, epochs, tmp_path):
    run(E.CheckpointHook(interval), [dict(epochs=3, optimizer=sgd)], tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f'epoch_{n}.pth' for n in epochs]


def test_other_processes_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr('nncore_compat.comm.is_main_process', lambda: False)
    engine = run(E.CheckpointHook(), [dict(epochs=1, optimizer=sgd)], tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert engine.lines == []
