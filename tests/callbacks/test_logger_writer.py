"""LightningLoggerWriter, loggers of the Trainer by name, and what they are told at the end."""

import argparse
import contextlib
import csv
import json
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import Net, engine, stage

from nncore_compat import EventWriterHook, Hook, LightningLoggerWriter, _options, as_callback

STAGES = stage(epochs=3, validation={'interval': 1})
VERSION = Path('lightning_logs', 'version_0')


class Mine(Logger):
    """Notes its calls."""

    name, version = 'mine', 0

    def __init__(self):
        super().__init__()
        self.params, self.rows, self.ends, self.saves = [], [], [], 0

    def log_hyperparams(self, params):
        self.params.append(params)

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))

    def save(self):
        self.saves += 1

    def finalize(self, status):
        self.ends.append(status)


class Raise(Hook):
    """Ends the run in an iteration."""

    def __init__(self, error, at=4):
        super().__init__()
        self.error, self.at = error, at

    def after_train_iter(self, engine):
        if engine.iter == self.at:
            raise self.error


def hooks(logger, *others):
    writers = [{'type': 'LightningLoggerWriter', 'logger': logger}, 'JSONWriter']
    return [{'type': 'EventWriterHook', 'interval': 2, 'writers': writers}, *others]


def launch(folder, logger, *others, resume=None, **kwargs):
    one = engine(folder, stages=STAGES, hooks=hooks(logger, *others), **kwargs)
    with contextlib.suppress(ZeroDivisionError, SystemExit, KeyboardInterrupt, StopIteration):
        one.launch(resume=resume)
    return one


def read(folder):
    with open(folder / VERSION / 'metrics.csv', newline='') as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_names_steps_and_values(tmp_path):
    """What is in metrics.json, with the tags and steps of TensorBoard."""
    logger = Mine()
    launch(tmp_path, logger, meta={'seed': 3})
    lines = [json.loads(line) for line in (tmp_path / 'metrics.json').read_text().splitlines()]
    assert len(lines) == len(logger.rows) == logger.saves == 9
    for line, (_, row) in zip(lines, logger.rows, strict=True):
        mode = line.pop('mode')
        del line['iter']
        named = ('epoch', 'lr', 'time', 'data_time')
        assert row == {k if k in named else f'{k}/{mode}': v for k, v in line.items()}
    # As TensorboardWriter counts: a validation comes one later than the epoch before it.
    assert [step for step, _ in logger.rows] == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert logger.params == [
        {
            'seed': 3,
            'stages': [
                {
                    'epochs': 3,
                    'optimizer': {'type': 'SGD', 'lr': 0.1},
                    'validation': {'interval': 1},
                }
            ],
        }
    ]
    assert logger.ends == ['success']


@pytest.mark.parametrize(
    'meta, expected',
    [
        (None, {}),
        (argparse.Namespace(lr=0.1, _p=1), {'lr': 0.1}),
        ('words', {'meta': 'words'}),
        ({'f': print}, {'f': '<built-in function print>'}),
    ],
)
def test_hyperparameters_of_any_meta(tmp_path, meta, expected):
    logger = Mine()
    one = engine(tmp_path, hooks=hooks(logger), meta=meta)
    one._run.arrangement.check(one.hooks['EventWriterHook'])
    one.hooks['EventWriterHook'].before_launch(one)
    (params,) = logger.params
    assert {k: v for k, v in params.items() if k != 'stages'} == expected


@pytest.mark.parametrize('name', ['csv', 'CSVLogger', {'type': 'CSVLogger', 'version': 0}])
def test_csv_by_name(tmp_path, name):
    launch(tmp_path, name, meta={'seed': 3})
    rows = read(tmp_path)
    assert len(rows) == 9 and {'loss/train', 'loss/val', 'acc/val', 'lr', 'step'} <= {
        key for row in rows for key in row
    }
    params = yaml.safe_load((tmp_path / VERSION / 'hparams.yaml').read_text())
    assert params['seed'] == 3 and params['stages'][0]['epochs'] == 3


@pytest.mark.parametrize('as_object', [False, True])
def test_csv_goes_on_where_its_run_is_taken_up(tmp_path, as_object):
    """With what a run has that was never interrupted; the clock is left out."""

    def logger(folder):
        return CSVLogger(folder, version=0) if as_object else 'csv'

    def untimed(folder):
        rows = read(folder)
        return [{k: v for k, v in row.items() if 'time' not in k} for row in rows]

    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    launch(whole, logger(whole))
    launch(cut, logger(cut), Raise(ZeroDivisionError(), at=7))
    assert len(read(cut)) == 7
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.filterwarnings('ignore', category=DeprecationWarning)
        launch(cut, logger(cut), resume='auto')
    assert untimed(cut) == untimed(whole)
    assert [path.name for path in (cut / 'lightning_logs').iterdir()] == ['version_0']
    assert not list((cut / VERSION).glob('*.kept'))
    # A start that takes nothing up has a version of its own, unless it is told which.
    if not as_object:
        launch(cut, 'csv')
        assert (cut / 'lightning_logs' / 'version_1').exists()


def test_tensorboard_goes_on_without_what_came_later(tmp_path):
    launch(tmp_path, 'tensorboard', Raise(ZeroDivisionError(), at=7))
    launch(tmp_path, 'tensorboard', resume='auto')
    (folder,) = (tmp_path / 'lightning_logs').iterdir()
    assert len(list(folder.glob('*tfevents*'))) == 2
    log = EventAccumulator(str(folder)).Reload()
    assert [event.step for event in log.Scalars('loss/train')] == [2, 3, 5, 6, 8, 9]
    assert [event.step for event in log.Scalars('acc/val')] == [4, 7, 10]


@pytest.mark.parametrize(
    'error', [ZeroDivisionError(), KeyboardInterrupt(), SystemExit(143), StopIteration()]
)
def test_a_run_that_fails_is_told_so(tmp_path, error):
    logger, of_trainer = Mine(), Mine()
    launch(tmp_path, logger, Raise(error), trainer={'logger': of_trainer})
    assert logger.ends == ['failed']
    assert set(of_trainer.ends) == {'failed'}
    assert [step for step, _ in logger.rows] == [2, 3, 4, 5]


def test_a_model_that_fails_leaves_whole_files(tmp_path):
    def change(output):
        if len(seen) == 4:
            raise ValueError('in the model')
        seen.append(1)
        return output

    seen = []
    one = engine(tmp_path, Net(change), hooks=[EventWriterHook(interval=1)], stages=STAGES)
    with pytest.raises(ValueError, match='in the model'):
        one.launch()
    writers = one.hooks['EventWriterHook']._writers
    assert writers[2]._writer.all_writers is None  # Closed.
    log = EventAccumulator(str(tmp_path / 'tf_logs')).Reload()
    lines = (tmp_path / 'metrics.json').read_text().splitlines()
    assert len(log.Scalars('loss/train')) == len(lines) == 3
    # And again, with the same engine.
    seen.clear()
    one.model.change = lambda output: output
    one.launch()
    assert one._failure is None
    assert len((tmp_path / 'metrics.json').read_text().splitlines()) > 3


def test_a_service_that_fails(tmp_path):
    """An error of its library's own is survived, a wrong argument is not."""
    kind = type('ServiceError', (Exception,), {'__module__': 'service.errors'})

    class Bad(Mine):
        error = kind('no answer')

        def log_metrics(self, metrics, step=None):
            raise self.error

    class Picky(Mine):
        def log_hyperparams(self, params):
            raise kind('changed')

    one = launch(tmp_path, Bad())
    assert one.iter == 9
    picky = Picky()
    launch(tmp_path, picky)
    assert len(picky.rows) == 9
    wrong = type('WrongValue', (ValueError,), {'__module__': 'service.errors'})
    for error in (wrong('x'), TypeError('x'), torch.OutOfMemoryError('x'), RuntimeError('x')):
        Bad.error = error
        with pytest.raises(type(error)):
            launch(tmp_path, Bad())
    # Of the package that the logger itself is in: one's own.
    own = type('OwnError', (Exception,), {'__module__': __name__})
    Bad.error = own('x')
    with pytest.raises(own):
        launch(tmp_path, Bad())


def test_wrong_configurations_are_told_before_there_are_files(tmp_path):
    folder = tmp_path / 'run'
    for bad, words in (
        ('CVSLogger', r"unknown logger 'CVSLogger' \(EventWriterHook.writers\[0\].logger.type\)"),
        ('CVSLogger', "did you mean 'CSVLogger'.*Accepted: .*csv"),
        (print, 'must be a Lightning Logger, a dict or a str.*log_metrics'),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            engine(folder, hooks=hooks(bad))
    with pytest.raises(ValueError, match=r"unknown logger 'cvs' \(trainer.logger.type\)"):
        engine(folder, trainer={'logger': 'cvs'})
    assert not folder.exists()
    # An argument that the class does not know, at the launch.
    one = engine(folder, hooks=hooks({'type': 'csv', 'nmae': 'x'}))
    with pytest.raises(TypeError, match='nmae'):
        one.launch()


def test_loggers_of_the_trainer_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv(_options.ENV, json.dumps({'logger': 'csv,tensorboard'}))
    one = engine(tmp_path, stages=STAGES, meta={'seed': 3}, trainer={'log_every_n_steps': 1})
    one.launch()
    assert [type(x) for x in one.trainer.loggers] == [CSVLogger, TensorBoardLogger]
    assert {'train_loss', 'val_loss', 'acc'} <= {key for row in read(tmp_path) for key in row}
    assert yaml.safe_load((tmp_path / VERSION / 'hparams.yaml').read_text())['seed'] == 3
    # Lightning gives the next one a version of its own.
    log = EventAccumulator(str(tmp_path / 'lightning_logs' / 'version_1')).Reload()
    assert 'train_loss' in log.Tags()['scalars'] and 'hp_metric' in log.Tags()['scalars']
    for given in (True, {'type': 'CSVLogger', 'name': 'x'}, ['csv'], Mine()):
        monkeypatch.delenv(_options.ENV, raising=False)
        one = engine(tmp_path / 'other', trainer={'logger': given})
        assert len(one.trainer.loggers) == 1


def test_in_a_trainer_of_lightnings(tmp_path):
    hook = EventWriterHook(writers=[LightningLoggerWriter('csv')])
    callback = as_callback(hook)
    assert callback.hook._writers[0].make is not None
