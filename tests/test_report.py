"""`--report`: what it says is compared with what was done, with the files, and with a clock."""

import json
import os
import random
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, LambdaCallback, ModelCheckpoint
from torch.utils.data import DataLoader

from nncore_compat import (
    CheckpointHook,
    Hook,
    __main__,
    _clock,
    _options,
    _preview,
    _report,
    _resume,
    quirks,
)
from nncore_compat._clock import Clock


class Time:
    """A clock that goes on only where someone says how long something takes."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def take(self, seconds):
        self.now += seconds


class Slow(Hook):
    def __init__(self, takes):
        super().__init__()
        self._takes = takes

    def before_train_iter(self, engine):
        self._takes(100)

    def after_train_epoch(self, engine):
        self._takes(50)

    def before_val_iter(self, engine):
        self._takes(7)


class SlowPoints(tiny.Points):
    takes = None

    def __getitem__(self, index):
        if self.takes is not None:
            self.takes(3)
        return super().__getitem__(index)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where the report goes."""
    file = tmp_path / 'report.json'
    monkeypatch.setenv(_options.REPORT, str(file))
    monkeypatch.setattr(_report, '_launches', [])
    return file


@pytest.fixture
def ticks(monkeypatch):
    """A clock for the report alone."""
    clock = Time()
    monkeypatch.setattr(_clock, 'time', clock)
    return clock


def test_each_second_is_in_its_phase(path, ticks, tmp_path, monkeypatch):
    def taking(seconds, function):
        def call(*args, **kwargs):
            ticks.take(seconds)
            return function(*args, **kwargs)

        return call

    model = tiny.Net()
    model.forward = taking(10, model.forward)
    data = SlowPoints()
    data.takes = ticks.take
    loaders = {'train': DataLoader(data, 4), 'val': DataLoader(tiny.Points(6), 4)}

    def takes_half(*args):
        ticks.take(0.5)

    callback = LambdaCallback(on_train_batch_start=takes_half)
    engine = tiny.engine(
        tmp_path / 'w',
        model,
        tiny.stage(epochs=2, validation={'interval': 1}),
        loaders,
        hooks=[Slow(ticks.take), callback],
    )
    # 2 epochs of 3 iterations over 10 points, and validations of 2.
    monkeypatch.setattr(torch.optim.SGD, 'step', taking(1000, torch.optim.SGD.step))
    monkeypatch.setattr(torch.Tensor, 'backward', taking(20000, torch.Tensor.backward))
    engine.trainer.save_checkpoint = taking(300000, engine.trainer.save_checkpoint)
    engine.launch()

    (launch,) = json.loads(path.read_text())['launches']
    assert launch['seconds_by_phase'] == {
        'data': 2 * 10 * 3,
        'forward': 6 * 10,
        'backward': 6 * 20000,
        'step': 6 * 1000,
        'hooks': 6 * (100 + 0.5) + 2 * 50,
        'validation': 2 * 2 * (10 + 7),
        'testing': 0,
        'checkpoint': 2 * 300000,
        'other': 0,
    }
    assert launch['seconds'] == ticks.now
    took = {hook['name']: hook['seconds'] for hook in launch['hooks']}
    assert took['Slow'] == 6 * 100 + 2 * 50 and took['OptimizerHook'] == 0
    assert took['LambdaCallback'] == 6 * 0.5
    assert vars(callback)['on_train_batch_start'] is takes_half


def test_callbacks_are_timed_while_they_are_there(path, ticks, tmp_path):
    class Half(Callback):
        def on_train_batch_end(self, *args):
            ticks.take(0.5)

    class Swap(Hook):
        def after_train_epoch(self, engine):
            if engine.epoch == 0:
                engine.register_hook(second)
            elif engine.epoch == 1:
                engine.unregister_hook('Half')

    first, second = Half(), Half()
    stays = LambdaCallback(on_train_batch_end=lambda *args: ticks.take(7))
    engine = tiny.engine(tmp_path / 'w', stages=tiny.stage(epochs=3), hooks=[stays, first, Swap()])
    engine.launch()
    (launch,) = json.loads(path.read_text())['launches']
    took = {hook['name']: hook['seconds'] for hook in launch['hooks']}
    # Who has left the list by the end is in the sum alone.
    assert 'Half' not in took and took['Half_2'] == 6 * 0.5
    assert took['LambdaCallback'] == 9 * 7
    assert launch['seconds_by_phase']['hooks'] == 6 * 0.5 + 6 * 0.5 + 9 * 7
    assert launch['loop'] == 'lean'
    assert 'on_train_batch_end' not in {**vars(first), **vars(second)}


def test_runs_of_a_trainer_of_the_user(path, ticks, tmp_path):
    class Slow(Hook):
        def before_train_iter(self, engine):
            ticks.take(100)
            if engine.iter == 4:
                raise ArithmeticError('four')

        def before_val_iter(self, engine):
            ticks.take(7)

    def trainer(**kwargs):
        return Trainer(accelerator='cpu', default_root_dir=str(tmp_path), logger=False, **kwargs)

    data = SlowPoints(6)
    data.takes = ticks.take
    loaders = {'train': DataLoader(tiny.Points(), 4), 'val': DataLoader(data, 4)}
    stages = tiny.stage(epochs=2, validation={'interval': 1})
    engine = tiny.engine(tmp_path / 'w', None, stages, loaders, hooks=[Slow()])
    one = trainer(callbacks=[ModelCheckpoint(tmp_path / 'saved')])
    with pytest.raises(ArithmeticError):
        one.fit(engine.lightning_module)
    one.validate(engine.lightning_module)
    with pytest.raises(ValueError, match='accumulate_grad_batches'):
        trainer(accumulate_grad_batches=2).fit(engine.lightning_module)

    training, evaluation, refused = json.loads(path.read_text())['launches']
    assert training['what'] == 'training' and training['ended'] == 'failed'
    assert training['error'] == 'ArithmeticError: four' and training['iterations'] == 4
    assert training['seconds_by_phase']['hooks'] == 5 * 100
    assert training['seconds_by_phase']['validation'] == 6 * 3 + 2 * 7
    assert training['seconds'] == 5 * 100 + 6 * 3 + 2 * 7
    assert training['loop'] == "stock: the Trainer is its user's"
    files = [file['file'] for file in training['checkpoints']]
    assert sorted(files) == sorted(
        [str(tmp_path / 'w' / 'epoch_1.pth'), *map(str, (tmp_path / 'saved').glob('*.ckpt'))]
    )
    assert len(files) == 2
    assert evaluation['what'] == 'evaluation (val)' and evaluation['ended'] == 'finished'
    assert evaluation['seconds_by_phase']['testing'] == evaluation['seconds'] == 6 * 3
    assert refused['ended'] == 'failed' and 'accumulate_grad_batches' in refused['error']


def test_a_phase_within_another_is_taken_from_it(ticks):
    clock = Clock()
    with clock.during('hooks', 'A'):
        ticks.take(1)
        with pytest.raises(KeyError), clock.during('backward'):
            ticks.take(10)
            raise KeyError
        with clock.during('hooks', 'B'):
            ticks.take(100)
        ticks.take(1000)
        with clock.during('validation'), clock.during('hooks', 'A'):
            ticks.take(10000)
    ticks.take(0.5)
    assert clock.by_name('hooks') == {'A': 1001, 'B': 100}
    found = clock.by_phase()
    assert found['hooks'] == 1101 and found['backward'] == 10 and found['other'] == 0.5
    assert found['validation'] == 10000 and sum(found.values()) == ticks.now


def test_what_ran(path, tmp_path):
    loaders = {'train': DataLoader(tiny.Points(), 4), 'val': DataLoader(tiny.Points(6), 4)}
    stages = [tiny.stage(validation={'interval': 1}), tiny.stage(epochs=2)]
    saver = ModelCheckpoint(monitor='val_loss', filename='{epoch}')
    engine = tiny.engine(
        tmp_path / 'w',
        stages=stages,
        data_loaders=loaders,
        hooks=[saver, CheckpointHook(keep_last=2)],
    )
    engine.launch()
    engine.launch(eval='val')

    report = json.loads(path.read_text())
    for package in ('torch', 'lightning', 'torchmetrics', 'numpy'):
        assert report['versions'][package] == metadata.version(package)
    assert report['python'] == sys.version.split()[0]
    training, evaluation = report['launches']
    assert training['what'] == 'training' and training['ended'] == 'finished'
    assert evaluation['what'] == 'evaluation (val)' and evaluation['iterations'] == 0
    assert evaluation['checkpoints'] == [] and evaluation['seconds_by_phase']['testing'] > 0
    assert training['work_dir'] == str(tmp_path / 'w') and training['iterations'] == 9
    assert training['model'] == {'class': 'Net', 'parameters': 6, 'trainable': 6}
    assert training['stages'] == [*map(dict, stages)] and training['resumed_from'] is None
    assert training['strategy'] == type(engine.trainer.strategy).__name__
    assert training['loop'] == 'lean' and training['device'] == 'cpu'
    assert [hook['name'] for hook in training['hooks']] == list(engine.hooks)
    assert {hook['name'] for hook in training['hooks'] if hook['kind'] == 'callback'} == {
        'ModelCheckpoint'
    }
    # The end of the first of two stages is validated, which nncore does not.
    assert training['quirks'] == {'on': [], 'met': ['skip-stage-end-validation']}

    files = {one['file']: one for one in training['checkpoints']}
    there = {str(file): file.stat().st_size for file in (tmp_path / 'w').rglob('*') if saved(file)}
    assert {name: one['bytes'] for name, one in files.items() if one['bytes']} == there
    # One was written and has been removed.
    assert files[str(tmp_path / 'w' / 'epoch_1.pth')]['bytes'] is None
    for epoch in (1, 2, 3):
        one = files[str(tmp_path / 'w' / f'epoch_{epoch}.pth')]
        assert (one['epochs_done'], one['iterations_done']) == (epoch, 3 * epoch)


def test_a_resumed_run_counts_what_it_did_itself(path, tmp_path):
    tiny.engine(tmp_path, stages=tiny.stage(epochs=1)).launch()
    file = str(tmp_path / 'epoch_1.pth')
    tiny.engine(tmp_path, stages=tiny.stage(epochs=3)).launch(resume=file)
    first, second = json.loads(path.read_text())['launches']
    assert (first['iterations'], first['resumed_from']) == (3, None)
    assert (second['iterations'], second['resumed_from']) == (6, file)


def test_what_is_resumed_from_holds_in_another_folder(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.engine(tmp_path, stages=tiny.stage(epochs=1)).launch()
    sources = ['epoch_1.pth', Path('epoch_1.pth'), torch.load('epoch_1.pth'), 'auto']
    for source in sources:
        engine = tiny.engine(tmp_path, stages=tiny.stage(epochs=2))
        engine.launch(resume=source)
        if source != 'auto':
            os.remove('epoch_2.pth')
    launches = json.loads(path.read_text())['launches'][1:]
    file = str(tmp_path / 'epoch_1.pth')
    assert [one['resumed_from'] for one in launches] == [
        file,
        file,
        'the given checkpoint',
        file,
    ]
    assert _resume._place('https://x.y/z.pth', 'https://x.y/z.pth') == 'https://x.y/z.pth'


def test_each_launch_has_its_own_quirks_and_resume(path, tmp_path, monkeypatch):
    monkeypatch.setattr(quirks, '_active', frozenset())
    stages = [tiny.stage(validation={'interval': 1}), tiny.stage(validation={'interval': 1})]
    loader = DataLoader(tiny.Points(), 4)
    tiny.engine(tmp_path / 'a', stages=stages).launch()
    file = str(tmp_path / 'a' / 'epoch_1.pth')

    hook = {'type': 'EvalHook', 'interval': 2}
    engine = tiny.engine(tmp_path / 'b', stages=stages, data_loaders=loader, hooks=[hook])
    engine.resume(file)
    engine.launch(eval='val')
    engine.launch()
    # Nothing is left to do. What is done by hand before is no part of a launch.
    engine.val_epoch()
    engine.launch()
    # This resets the counters.
    engine.launch(eval='val')
    engine.launch()
    engine.launch(resume=file)

    launches = json.loads(path.read_text())['launches'][1:]
    begun = ['single-loader', 'inexact-resume']
    met = ['skip-stage-end-validation', 'eval-interval']
    assert [
        (one['what'], one['resumed_from'], sorted(one['quirks']['met'])) for one in launches
    ] == [
        ('evaluation (val)', file, sorted(begun)),
        ('training', file, sorted(begun + met)),
        ('training', None, []),
        ('evaluation (val)', None, []),
        ('training', None, sorted(met)),
        ('training', file, sorted(['inexact-resume', *met])),
    ]
    for handler in engine.logger.handlers:
        handler.flush()
    (log,) = (tmp_path / 'b').glob('*.log')
    lines = log.read_text().splitlines()
    summed = [line.partition('this run: ')[2] for line in lines if 'this run: ' in line]
    assert [sorted(line.split(', ')) for line in summed] == [
        sorted(begun + met),
        sorted(met),
        sorted(['inexact-resume', *met]),
    ]
    # Each is said once.
    assert sum('`--quirks ' in line for line in lines) == 4


def saved(file):
    return file.suffix in ('.pth', '.ckpt') and not file.is_symlink()


@pytest.mark.parametrize(
    ('error', 'ending', 'text'),
    [
        (ValueError('no such thing'), 'failed', 'ValueError: no such thing'),
        (KeyboardInterrupt(), 'interrupted', 'KeyboardInterrupt: '),
        (SystemExit(143), 'signal SIGTERM', 'SystemExit: 143'),
        (SystemExit(3), 'exit 3', 'SystemExit: 3'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_how_it_ended(path, tmp_path, error, ending, text):
    class Ends(Hook):
        def after_train_iter(self, engine):
            if engine.iter == 1:
                raise error

    engine = tiny.engine(tmp_path, hooks=[Ends()])
    with pytest.raises(type(error)):
        engine.launch()
    (launch,) = json.loads(path.read_text())['launches']
    assert (launch['ended'], launch['error'], launch['iterations']) == (ending, text, 1)
    assert engine._clock is None and '_forward_context' not in vars(engine)


def test_training_is_the_same_with_and_without(path, tmp_path, monkeypatch):
    def train(folder):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        loaders = {
            'train': DataLoader(tiny.Points(), 4, shuffle=True),
            'val': DataLoader(tiny.Points(6), 4),
        }
        stages = tiny.stage(epochs=2, validation={'interval': 1})
        engine = tiny.engine(folder, stages=stages, data_loaders=loaders, hooks=['EvalHook'])
        engine.launch()
        draws = random.random(), np.random.rand(), torch.rand(1).item()
        lines = (folder / 'metrics.json').read_text().splitlines()
        kept = [{k: v for k, v in json.loads(x).items() if 'time' not in k} for x in lines]
        return engine.model.state_dict(), draws, kept

    reported = train(tmp_path / 'a')
    monkeypatch.delenv(_options.REPORT)
    plain = train(tmp_path / 'b')
    assert len(json.loads(path.read_text())['launches']) == 1
    assert reported[1:] == plain[1:]
    assert all(map(torch.equal, reported[0].values(), plain[0].values()))


def test_a_report_that_cannot_be_written_stops_nobody(path, tmp_path, caplog, monkeypatch):
    path.mkdir()
    engine = tiny.engine(tmp_path / 'w')
    engine.logger.propagate = True
    engine.launch()
    assert 'the report could not be written' in caplog.text
    assert (tmp_path / 'w' / 'epoch_1.pth').exists()


@pytest.mark.parametrize('eval', [False, 'val'])
def test_a_launch_that_is_refused(path, tmp_path, eval):
    path.write_text('of an earlier run')
    engine = tiny.engine(tmp_path / 'w', tiny.Net().to('meta'))
    with pytest.raises(ValueError, match="on the device 'meta'"):
        engine.launch(eval=eval)
    (launch,) = json.loads(path.read_text())['launches']
    assert launch['what'] == ('evaluation (val)' if eval else 'training')
    assert launch['ended'] == 'failed' and launch['iterations'] == 0
    assert launch['error'].startswith(
        "ValueError: Net: fc.weight, fc.bias are on the device 'meta'"
    )
    assert launch['work_dir'] == str(tmp_path / 'w')


def test_a_launch_that_cannot_make_its_folder(path, tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError('no room')

    engine = tiny.engine(tmp_path / 'w')
    monkeypatch.setattr(engine, '_agree_on_work_dir', refuse)
    with pytest.raises(OSError, match='no room'):
        engine.launch()
    (launch,) = json.loads(path.read_text())['launches']
    assert (launch['ended'], launch['error']) == ('failed', 'OSError: no room')


def started(monkeypatch, path, script, *options):
    """Run a script as the command line does."""
    monkeypatch.setattr(__main__, 'install', lambda: None)
    monkeypatch.setattr(sys, 'argv', list(sys.argv))
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setitem(sys.modules, '__main__', sys.modules['__main__'])
    __main__.main(['--report', str(path), *options, str(script)])


def test_an_earlier_report_is_gone_when_the_script_begins(tmp_path, monkeypatch):
    """A script may fail before its launch, and may have none."""
    for name in (_options.REPORT, quirks.ENV, 'RANK', 'SLURM_PROCID'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    monkeypatch.setattr(quirks, '_active', None)
    script, path = tmp_path / 'script.py', tmp_path / 'report.json'
    script.write_text(f'import os\nassert not os.path.exists({str(path)!r})\n')
    path.write_text('of an earlier run')
    started(monkeypatch, path, script)
    assert not path.exists()

    # Not in those who take part in a run that has begun.
    script.write_text('')
    path.write_text('of this run')
    started(monkeypatch, path, script)
    monkeypatch.delenv(_options.REPORT)
    for name in ('RANK', 'SLURM_PROCID'):
        monkeypatch.setenv(name, '1')
        started(monkeypatch, path, script)
        monkeypatch.delenv(name)
        monkeypatch.delenv(_options.REPORT)
    assert path.read_text() == 'of this run'

    # What is written is the file that a link leads to.
    link = tmp_path / 'link.json'
    link.symlink_to(path)
    started(monkeypatch, link, script)
    assert not path.exists() and link.is_symlink()


def test_a_preview_leaves_the_report(tmp_path, monkeypatch):
    """It writes none."""
    monkeypatch.setenv(_options.REPORT, '')
    path = tmp_path / 'report.json'
    path.write_text('of an earlier run')
    monkeypatch.setattr(_preview, 'asked', lambda: _preview.TIMELINE)
    (tmp_path / 'script.py').write_text('')
    started(monkeypatch, path, tmp_path / 'script.py')
    assert path.read_text() == 'of an earlier run'


@pytest.mark.parametrize('name', ['no/such/folder/report.json', '.'])
def test_a_place_that_cannot_be_is_refused_before_the_script(name, tmp_path):
    argv = [sys.executable, '-m', 'nncore_compat', '--report', name, 'absent.py']
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    expected = os.path.abspath(tmp_path / name)
    assert f'--report: expected a file in a folder that exists, but got {expected}' in done.stderr
