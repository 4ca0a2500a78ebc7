"""CheckpointHook's own options, and the ways in which files come to the disk."""

import logging
import os
import threading
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from tiny import Net, Points, engine, stage
from torch.utils.data import DataLoader

from nncore_compat import CheckpointHook, Hook, _files

VALIDATED = {'validation': {'interval': 1}}


class Scored(Points):
    """A data set whose evaluation tells what it was given."""

    def __init__(self, scores):
        super().__init__()
        self.scores = iter(scores)

    def evaluate(self, outputs, logger=None):
        return {'acc': next(self.scores)}


def names(folder):
    return sorted(path.name for path in folder.glob('*.pth'))


def run(folder, hook, epochs=3, trainer=None, hooks=(), **kwargs):
    one = engine(
        folder, stages=stage(epochs=epochs, **kwargs), hooks=[hook, *hooks], trainer=trainer
    )
    one.launch()
    return one


def same(first, second):
    a, b = (torch.load(path, weights_only=True) for path in (first, second))
    for key in ('state_dict', 'optimizer'):
        torch.testing.assert_close(a[key], b[key], rtol=0, atol=0)
    return True


def test_within_epochs(tmp_path):
    run(tmp_path, CheckpointHook(every_n_iters=2))
    # Three iterations in an epoch; the sixth ends one that is saved anyway.
    assert names(tmp_path) == [
        f'{n}.pth' for n in (*(f'epoch_{k}' for k in (1, 2, 3)), *(f'iter_{k}' for k in (2, 4, 8)))
    ]
    meta = torch.load(tmp_path / 'iter_8.pth', weights_only=True)['meta']
    assert (meta['epoch'], meta['iter']) == (2, 8)


def test_old_files_go_when_a_new_one_is_safe(tmp_path, monkeypatch):
    there = []
    write = _files.write

    def seen(data, filename, **kwargs):
        write(data, filename, **kwargs)
        there.append(names(tmp_path))

    monkeypatch.setattr(_files, 'write', seen)
    (tmp_path / 'epoch_9.pth').write_bytes(b'of another run')
    run(tmp_path, CheckpointHook(every_n_iters=2, keep_last=2, create_symlink=True))
    assert names(tmp_path) == ['epoch_3.pth', 'epoch_9.pth', 'iter_8.pth', 'latest.pth']
    assert os.readlink(tmp_path / 'latest.pth') == 'epoch_3.pth'
    # Each time the new one is there before one of the two goes.
    assert [len(found) for found in there[2:]] == [3 + 1 + 1] * 4


def test_the_files_that_are_kept_are_known_after_a_resume(tmp_path):
    run(tmp_path, CheckpointHook(keep_last=2), epochs=3)
    assert names(tmp_path) == ['epoch_2.pth', 'epoch_3.pth']
    one = engine(tmp_path, stages=stage(epochs=4), hooks=[CheckpointHook(keep_last=2)])
    one.resume(str(tmp_path / 'epoch_3.pth'))
    one.launch()
    assert names(tmp_path) == ['epoch_3.pth', 'epoch_4.pth']


@pytest.mark.parametrize(
    ('metric', 'mode', 'epoch'), [('acc', None, 2), ('acc', 'min', 3), ('val_loss', None, 4)]
)
def test_the_best_is_kept(tmp_path, metric, mode, epoch):
    hook = CheckpointHook(save_best=metric, best_mode=mode)
    data = Scored([0.3, 0.9, 0.1, 0.5])
    one = engine(
        tmp_path,
        stages=stage(epochs=4, **VALIDATED),
        data_loaders={'train': DataLoader(Points(), 4), 'val': DataLoader(data, 4)},
        hooks=[hook],
    )
    losses = []

    class Sees(Hook):
        def after_stage(self, engine):
            losses.append(float(engine.trainer.callback_metrics['val_loss']))

    one.register_hook(Sees())
    one.launch()
    best = tmp_path / f'best_{metric}.pth'
    assert torch.load(best, weights_only=True)['meta']['epoch'] == epoch
    assert same(best, tmp_path / f'epoch_{epoch}.pth')


def test_a_metric_that_never_comes(tmp_path):
    one = engine(tmp_path, stages=stage(**VALIDATED), hooks=[CheckpointHook(save_best='mAP')])
    with pytest.raises(KeyError, match=r"save_best.*'mAP'.*epoch 1.*val_loss"):
        one.launch()


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'every_n_iters': 0}, 'every_n_iters must be a whole number of at least 1, but got 0'),
        ({'keep_last': 0}, 'keep_last must be a whole number of at least 1'),
        ({'on_error': 'ignore'}, "on_error must be 'raise' or 'warn', but got 'ignore'"),
        ({'save_best': 'acc', 'best_mode': 'high'}, "best_mode must be 'max' or 'min'"),
        ({'save_best': 1}, 'save_best must be the name of a metric, got 1'),
    ],
)
def test_what_is_refused(options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        CheckpointHook(**options)


@pytest.mark.parametrize('background', [False, True])
def test_a_file_that_cannot_be_written(tmp_path, background, caplog):
    (tmp_path / 'epoch_2.pth').mkdir()
    (tmp_path / 'epoch_2.pth' / 'in the way').write_text('')
    with pytest.raises(OSError, match=r'epoch_2\.pth'):
        run(tmp_path, CheckpointHook(background=background))
    assert torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['meta']['epoch'] == 1

    with caplog.at_level(logging.WARNING):
        one = run(tmp_path, CheckpointHook(on_error='warn', background=background))
    assert one.epoch == 3
    assert torch.load(tmp_path / 'epoch_3.pth', weights_only=True)['meta']['epoch'] == 3
    assert not list(tmp_path.glob('.*'))


def test_in_the_background(tmp_path, monkeypatch):
    threads, gate = [], threading.Event()
    write = _files.write

    def slowly(data, filename, **kwargs):
        threads.append(threading.current_thread())
        # Not before training has gone on, which it could not if it were waited for.
        assert gate.wait(60)
        write(data, filename, **kwargs)

    class Opens(Hook):
        def after_train_iter(self, engine):
            if engine.iter == 4:
                gate.set()

    torch.manual_seed(1)
    model = Net()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    engine(tmp_path / 'plain', model, stages=stage(epochs=3)).launch()
    monkeypatch.setattr(_files, 'write', slowly)
    model.load_state_dict(state)
    hook = CheckpointHook(background=True, create_symlink=True)
    engine(tmp_path / 'back', model, stages=stage(epochs=3), hooks=[hook, Opens()]).launch()
    assert threading.main_thread() not in threads
    for epoch in (1, 2, 3):
        # The copy was made before training went on.
        assert same(*(tmp_path / side / f'epoch_{epoch}.pth' for side in ('plain', 'back')))
    assert os.readlink(tmp_path / 'back' / 'latest.pth') == 'epoch_3.pth'
    sizes = [(tmp_path / side / 'epoch_3.pth').stat().st_size for side in ('plain', 'back')]
    assert abs(sizes[0] - sizes[1]) < 2000


def test_lightnings_background_plugin(tmp_path):
    run(tmp_path, CheckpointHook(), trainer={'plugins': [AsyncCheckpointIO()]})
    assert names(tmp_path) == ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']
    assert not list(tmp_path.glob('.*'))


def test_a_plugin_of_the_users(tmp_path):
    class Elsewhere(TorchCheckpointIO):
        def save_checkpoint(self, checkpoint, path, storage_options=None):
            target = Path(path)
            super().save_checkpoint(checkpoint, target.parent / 'far' / target.name)

    hook = CheckpointHook(keep_last=1)
    run(tmp_path, hook, trainer={'plugins': [Elsewhere()]})
    assert len(names(tmp_path / 'far')) == 3 and not names(tmp_path)
