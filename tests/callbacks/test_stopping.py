"""Runs that callbacks end before their time, and metrics that are not there."""

from datetime import timedelta

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from tiny import Net, Points, engine, stage
from torch.utils.data import DataLoader

from nncore_compat import Hook
from nncore_compat.hooks.base import HOOK_NAMES

VALIDATED = {'validation': {'interval': 1}}


class Calls(Hook):
    """Writes down its events."""

    def __init__(self):
        super().__init__()
        self.calls = []


for _name in HOOK_NAMES:
    setattr(Calls, _name, lambda self, engine, _name=_name: self.calls.append(_name))


class Script(Net):
    """Returns losses of validation, or of training, that a test has written down by epoch."""

    def __init__(self, losses, split='val'):
        super().__init__()
        self.losses = losses
        self.split = split
        self.epoch = -1

    def forward(self, data, mode, **kwargs):
        output = super().forward(data, mode)
        if mode == self.split:
            output['loss'] = output['loss'] * 0 + self.losses[self.epoch]
        return output


class Epochs(Hook):
    """Tells the model which epoch it is."""

    def before_train_epoch(self, engine):
        engine.model.epoch += 1


# The best is 1.0 at epoch 3; of 1.1, 1.0 and 1.2 the third is the third without improvement.
LOSSES = [1.5, 1.2, 1.0, 1.1, 1.0, 1.2, 0.1, 0.1]


def saved(tmp_path):
    return sorted(int(path.stem.split('_')[1]) for path in tmp_path.glob('epoch_*.pth'))


@pytest.mark.parametrize('interval', [1, 4])
def test_early_stopping(tmp_path, interval):
    calls, stop = Calls(), EarlyStopping(monitor='val_loss', patience=3)
    stages = [stage(epochs=8, **VALIDATED), stage(**VALIDATED)]
    checkpoints = {'type': 'CheckpointHook', 'interval': interval}
    one = engine(
        tmp_path, Script(LOSSES), stages=stages, hooks=[checkpoints, stop, Epochs(), calls]
    )
    one.launch()
    assert (one.epoch, stop.stopped_epoch, stop.wait_count) == (6, 5, 3)
    assert stop.best_score == torch.tensor(1.0)
    assert calls.calls.count('after_val_epoch') == calls.calls.count('after_train_epoch') == 6
    assert calls.calls[-3:] == ['after_val_epoch', 'after_stage', 'after_launch']
    assert saved(tmp_path) == ([1, 2, 3, 4, 5, 6] if interval == 1 else [4, 6])
    meta = torch.load(tmp_path / 'epoch_6.pth', weights_only=True)['meta']
    assert (meta['epoch'], meta['iter']) == (6, 18)
    again = engine(tmp_path / 'again', Script(LOSSES), stages=stages)
    again.resume(str(tmp_path / 'epoch_6.pth'))
    assert (again.epoch, again.iter, again.stage) == (6, 18, 0)


def test_a_full_run_saves_nothing_more(tmp_path):
    stop = EarlyStopping(monitor='val_loss', patience=99)
    hooks = [{'type': 'CheckpointHook', 'interval': 2}, stop]
    engine(tmp_path, stages=stage(epochs=3, **VALIDATED), hooks=hooks).launch()
    assert saved(tmp_path) == [2, 3]


def test_the_log_says_why(tmp_path, capfd, caplog):
    stop = EarlyStopping(monitor='val_loss', patience=3, verbose=True)
    one = engine(
        tmp_path,
        Script(LOSSES),
        stages=stage(epochs=8, **VALIDATED),
        hooks=[stop, Epochs()],
    )
    one.launch()
    log = ''.join(path.read_text() for path in tmp_path.glob('*.log'))
    assert 'Stopped after epoch 6 of 8, as a callback asked' in log
    text = caplog.text + ''.join(capfd.readouterr())
    assert 'Monitored metric val_loss did not improve in the last 3 records' in text


def test_without_validation_training_is_looked_at(tmp_path):
    best = ModelCheckpoint(monitor='train_loss', filename='{epoch}')
    stop = EarlyStopping(monitor='train_loss', patience=3)
    model = Script(LOSSES, 'train')
    one = engine(tmp_path, model, stages=stage(epochs=8), hooks=[Epochs(), best, stop])
    one.launch()
    assert (one.epoch, stop.stopped_epoch) == (6, 5)
    assert best.best_model_path.endswith('epoch=2.ckpt')


def test_validation_that_begins_late(tmp_path):
    class Begins(Hook):
        def after_train_epoch(self, engine):
            if engine.epoch == 1:
                engine.stages[0]['validation'] = {'interval': 1}

    calls = Calls()
    stop = EarlyStopping(monitor='train_loss', patience=9)
    one = engine(tmp_path, stages=stage(epochs=4), hooks=[Begins(), stop, calls])
    one.launch()
    assert calls.calls.count('after_val_epoch') == 3 and one.epoch == 4


class StopsAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.should_stop = True


def test_a_stop_inside_an_epoch(tmp_path):
    calls = Calls()
    hooks = [{'type': 'CheckpointHook', 'interval': 2}, StopsAt(5), calls]
    one = engine(tmp_path, stages=[stage(epochs=4, **VALIDATED), stage()], hooks=hooks)
    one.launch()
    # Three iterations are an epoch, so the second one lacks its third.
    assert (one.epoch, one.iter) == (1, 5)
    epoch = ['before_train_epoch', *['before_train_iter', 'after_train_iter'] * 3]
    validation = ['before_val_epoch', *['before_val_iter', 'after_val_iter'] * 2, 'after_val_epoch']
    assert calls.calls == [
        *['before_launch', 'before_stage'],
        *[*epoch, 'after_train_epoch', *validation],
        *epoch[:-2],
        *['after_stage', 'after_launch'],
    ]
    # The weights are no longer those of the end of epoch 1.
    assert saved(tmp_path) == []
    log = ''.join(path.read_text() for path in tmp_path.glob('*.log'))
    assert 'Stopped in epoch 2 of 5 after 2 of 3 iterations' in log


def test_a_stop_in_the_last_iteration(tmp_path):
    calls = Calls()
    one = engine(tmp_path, stages=stage(epochs=4, **VALIDATED), hooks=[StopsAt(6), calls])
    one.launch()
    assert (one.epoch, one.iter) == (2, 6)
    assert calls.calls[-3:] == ['after_val_epoch', 'after_stage', 'after_launch']


def test_workers_end_when_training_stops(tmp_path):
    import multiprocessing

    loader = DataLoader(Points(), 4, num_workers=1)
    one = engine(tmp_path, data_loaders={'train': loader}, hooks=[StopsAt(1)])
    one.launch()
    assert one.iter == 1 and multiprocessing.active_children() == []


@pytest.mark.parametrize('interval', ['step', 'epoch'])
def test_timer(tmp_path, interval, monkeypatch):
    timer = Timer(duration=timedelta(seconds=100), interval=interval)
    elapsed = iter([10] * 3 + [90] + [110] * 99)
    monkeypatch.setattr(Timer, 'time_elapsed', lambda self, stage=None: next(elapsed))
    one = engine(tmp_path, stages=stage(epochs=9), hooks=[timer])
    # It would look for the timer's state.
    one.unregister_hook('CheckpointHook')
    one.launch()
    # By step it looks after each, and once at the start; by epoch after each.
    assert one.iter == (4 if interval == 'step' else 12)


def test_a_launch_after_a_stop(tmp_path):
    stop = StopsAt(2)
    one = engine(tmp_path, stages=stage(epochs=2), hooks=[stop])
    one.launch()
    assert one.iter == 2
    stop.step = -1
    one.reset_states()
    one.launch()
    assert (one.iter, one.epoch) == (6, 2)


def test_a_key_that_never_comes(tmp_path):
    keys = ["'train_loss'", "'val_loss'", "'acc'"]
    for callback in (EarlyStopping('acc_1'), ModelCheckpoint(monitor='acc_1')):
        one = engine(tmp_path, stages=stage(epochs=2, **VALIDATED), hooks=[callback])
        with pytest.raises(Exception, match='acc_1') as info:
            one.launch()
        assert all(key.strip("'") in str(info.value) for key in keys), info.value
        assert one.epoch == 1, 'at the first validation'
    for callback in (EarlyStopping('loss'), ModelCheckpoint(monitor='loss')):
        one = engine(tmp_path, stages=stage(epochs=2), hooks=[callback])
        with pytest.raises((RuntimeError, KeyError), match='loss.*train_loss'):
            one.launch()
        assert one.epoch == 1, 'at the end of the first epoch'


@pytest.mark.parametrize('name', ['EarlyStopping', 'ModelCheckpoint'])
def test_validation_monitored_where_none_takes_place(tmp_path, name):
    hooks = [{'type': name, 'monitor': 'val_loss'}]
    one = engine(tmp_path, stages=[stage(), stage(validation={'interval': 0})], hooks=hooks)
    with pytest.raises(ValueError, match=f"{name} monitors 'val_loss'.*no stage validates"):
        one.launch()
    assert one.iter == 0
    lax = [{'type': 'EarlyStopping', 'monitor': 'val_loss', 'strict': False}]
    engine(tmp_path, hooks=lax).launch()
