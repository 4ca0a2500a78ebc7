"""Lightning's loggers and profilers, their files read back with other tools."""

import os
import re

import pytest
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.profilers import AdvancedProfiler
from tiny import engine, stage

STAGES = stage(epochs=2, validation={'interval': 1})


def test_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name='tb', version='v')
    one = engine(
        tmp_path / 'work', stages=STAGES, trainer={'logger': logger, 'log_every_n_steps': 1}
    )
    one.launch()
    events = EventAccumulator(str(tmp_path / 'tb' / 'v'))
    events.Reload()
    # Lightning writes hp_metric with the hyperparameters.
    tags = {'train_loss', 'train_loss_step', 'val_loss', 'acc', 'epoch', 'hp_metric'}
    assert set(events.Tags()['scalars']) == tags
    steps = {tag: [event.step for event in events.Scalars(tag)] for tag in tags}
    assert steps['train_loss_step'] == [0, 1, 2, 3, 4, 5]
    assert steps['train_loss'] == [2, 5] and steps['val_loss'] == steps['acc'] == [2, 5]
    values = [event.value for event in events.Scalars('val_loss')]
    assert values[-1] == pytest.approx(one.trainer.callback_metrics['val_loss'].item())


def test_wandb_offline(tmp_path, monkeypatch):
    monkeypatch.setenv('WANDB_SILENT', 'true')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    logger = WandbLogger(save_dir=tmp_path, offline=True, project='tiny')
    one = engine(tmp_path / 'work', stages=STAGES, trainer={'logger': logger})
    try:
        one.launch()
        summary = dict(logger.experiment.summary)
    finally:
        logger.experiment.finish()
    assert summary['val_loss'] == pytest.approx(one.trainer.callback_metrics['val_loss'].item())
    assert {'train_loss', 'acc'} <= set(summary)
    assert list((tmp_path / 'wandb').glob('offline-run-*/*.wandb'))


def test_a_logger_of_ones_own(tmp_path):
    class Mine(Logger):
        name, version = 'mine', 0
        rows, ends = [], []

        def log_hyperparams(self, params, *args, **kwargs):
            pass

        def log_metrics(self, metrics, step=None):
            self.rows.append((step, sorted(metrics)))

        def finalize(self, status):
            self.ends.append(status)

    engine(tmp_path, stages=STAGES, trainer={'logger': Mine()}).launch()
    epoch = [['acc', 'epoch', 'val_loss'], ['epoch', 'train_loss']]
    assert Mine.rows == [(step, keys) for step in (2, 5) for keys in epoch]
    assert Mine.ends == ['success']


def test_simple_profiler(tmp_path, capfd, caplog):
    engine(tmp_path, trainer={'profiler': 'simple'}).launch()
    text = caplog.text + ''.join(capfd.readouterr())
    (calls,) = set(re.findall(r'training_step\s*\|[^|]*\|\s*(\d+)', text))
    assert calls == '3'


def test_advanced_profiler(tmp_path):
    profiler = AdvancedProfiler(dirpath=tmp_path, filename='profile')
    engine(tmp_path / 'work', trainer={'profiler': profiler}).launch()
    (file,) = tmp_path.glob('*profile*.txt')
    text = file.read_text()
    assert 'training_step' in text and 'function calls' in text


def test_a_run_with_callbacks_trains_the_same(tmp_path):
    plain, watched = (engine(tmp_path / name, stages=STAGES) for name in ('a', 'b'))
    watched.register_hook(['LearningRateMonitor', 'ModelCheckpoint'])
    states = []
    for one in (plain, watched):
        torch.manual_seed(1)
        one.launch()
        states.append((one.model.fc.weight.tolist(), torch.get_rng_state().tolist()))
    assert states[0] == states[1]
    assert os.listdir(tmp_path / 'b' / 'lightning_logs')
