"""An engine's stages in a Trainer of a Lightning user, beside the engine's launch and nncore."""

import contextlib
import json
import logging
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from parity.compare import compare_runs
from tiny import Net, Points, engine, stage
from torch.utils.data import DataLoader

from nncore_compat import CheckpointHook, Engine, Hook, _options, _report, as_callback
from nncore_compat._lightning import guest
from nncore_compat.hooks.base import HOOK_NAMES

# Makes every script of nncore train in a Trainer with Lightning's own settings.
PRELUDE = """
import logging, tempfile, warnings
from lightning.pytorch import Trainer
from nncore_compat import Engine

warnings.filterwarnings('ignore')
logging.getLogger('lightning.pytorch').setLevel(logging.ERROR)

def launch(self, **kwargs):
    self._kwargs = kwargs
    trainer = Trainer(
        accelerator='cpu',
        default_root_dir=tempfile.mkdtemp(),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = self.lightning_module
    trainer.fit(module)

Engine.launch = launch
"""
SCRIPTS = ['three_stages.py', 'validation.py', 'accumulate.py', 'freezing.py', 'workers.py']


class Random(Net):
    """Draws random numbers in every forward."""

    def forward(self, data, mode, **kwargs):
        noisy = {**data, 'x': data['x'] + 0.1 * torch.randn_like(data['x'])}
        return super().forward(noisy, mode, **kwargs)


class Log(Hook):
    """Writes down the events, with all counters."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls


def _log(event):
    def method(self, e):
        grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        amp = e.get_amp_type(), e.trainer.precision
        self.calls.append((event, e.stage, e.epoch, e.iter, e.mode, grad, inference, amp))

    return method


for _name in HOOK_NAMES:
    setattr(Log, _name, _log(_name))


def build(folder, calls=None, **kwargs):
    torch.manual_seed(5)
    loaders = {
        'train': DataLoader(Points(), 4, shuffle=True),
        'val': DataLoader(Points(6), 4),
        'test': DataLoader(Points(5), 4),
    }
    val = {'validation': {'interval': 1}}
    stages = [stage(epochs=2, **val), stage(optimizer={'type': 'Adam', 'lr': 0.01}, **val)]
    hooks = [
        {'type': 'EventWriterHook', 'interval': 1},
        Log([] if calls is None else calls),
    ]
    return engine(folder, Random(), stages, loaders, hooks=hooks, **kwargs)


def user(folder, **kwargs):
    return Trainer(accelerator='cpu', default_root_dir=str(folder), **kwargs)


def result(one):
    with open(f'{one.work_dir}/metrics.json') as file:
        rows = [json.loads(line) for line in file]
    weights = [p.tolist() for p in one.model.parameters()]
    rows = [{k: v for k, v in row.items() if 'time' not in k} for row in rows]
    return weights, torch.get_rng_state().tolist(), rows, (one.stage, one.epoch, one.iter)


def test_the_same_as_launch(tmp_path):
    calls, theirs = [], []
    one = build(tmp_path / 'launched', calls)
    one.launch()
    expected = result(one)
    two = build(tmp_path / 'fitted', theirs)
    # With all that a Trainer does of its own accord.
    trainer = user(tmp_path)
    trainer.fit(two.lightning_module)
    assert result(two) == expected
    assert theirs == calls and len(calls) > 40
    assert (trainer.current_epoch, trainer.global_step) == (3, 9)
    assert torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)['epoch'] == 2
    assert two.trainer is trainer


@pytest.mark.parametrize(
    'ours, theirs',
    [
        ({'amp': 'bf16'}, {}),
        ({'trainer': {'precision': 'bf16-true'}}, {}),
        ({}, {'precision': 'bf16-mixed'}),
        ({'amp': 'fp16'}, {'precision': 'bf16-mixed'}),
    ],
)
def test_precision(ours, theirs, tmp_path):
    one = build(tmp_path / 'launched', **{**ours, **({'trainer': theirs} if theirs else {})})
    one.launch()
    two = build(tmp_path / 'fitted', **ours)
    before = dict(two.amp_cfg)
    user(tmp_path, logger=False, **theirs).fit(two.lightning_module)
    assert result(two) == result(one)
    assert two.hooks['Log'].calls == one.hooks['Log'].calls
    assert two.amp_cfg == before
    plain = build(tmp_path / 'plain')
    plain.launch()
    assert result(plain)[0] != result(one)[0]


@pytest.mark.parametrize('name', SCRIPTS)
def test_the_same_as_nncore(name, sides, tmp_path):
    folders = []
    for side, prelude in zip(sides, ('', PRELUDE), strict=True):
        folders.append(tmp_path / str(len(folders)))
        side.start(name, folders[-1], prelude=prelude)
    assert [side.wait() for side in sides] == [0, 0], Path(f'{folders[1]}.stderr').read_text()
    assert not compare_runs(*folders)


def test_evaluation(tmp_path):
    seen = []

    class Mine(Engine):
        def test_iter(self, data):
            modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
            seen.append((self.mode, self.model.training, *modes))
            super().test_iter(data)

    one, two = build(tmp_path / 'launched', cls=Mine), build(tmp_path / 'tried', cls=Mine)
    torch.manual_seed(7)
    expected = one.launch(eval='both')
    torch.manual_seed(7)
    trainer = user(tmp_path, logger=False)
    assert trainer.validate(two.lightning_module) == [pytest.approx(expected['val'])]
    assert trainer.test(two.lightning_module) == [pytest.approx(expected['test'])]
    assert 'acc' in expected['val']
    assert seen[:4] == seen[4:] == [('test', False, True, False)] * 4
    assert not two.hooks['Log'].calls


def test_the_trainer_may_stop_earlier(tmp_path):
    for limit, end in ((1, 1), (2, 2), (7, 3)):
        calls = []
        one = build(tmp_path / str(limit), calls)
        user(tmp_path, max_epochs=limit, logger=False).fit(one.lightning_module)
        assert one.epoch == end
        assert [call[0] for call in calls][-2:] == ['after_stage', 'after_launch']
        assert [call[0] for call in calls].count('after_stage') == (2 if end == 3 else 1)


def test_callbacks_of_the_user(tmp_path):
    order = []

    class Mine(Callback):
        def on_train_batch_end(self, *args):
            order.append('callback')

        def on_validation_end(self, trainer, module):
            order.append(('validated', module.engine.epoch))

    class Last(Hook):
        def after_train_iter(self, engine):
            order.append('hook')

    one = build(tmp_path)
    one.register_hook(Last())
    user(tmp_path, max_epochs=1, callbacks=[Mine(), as_callback(Hook('Joined'))]).fit(
        one.lightning_module
    )
    assert order == ['hook', 'callback'] * 3 + [('validated', 1)]
    assert 'Joined' not in one.hooks


def test_a_hook_joins_the_engine(tmp_path):
    calls = []
    one, hook = build(tmp_path), Log(calls)
    hook._name = 'Guest'
    user(tmp_path, max_epochs=1, callbacks=[as_callback(hook)]).fit(one.lightning_module)
    assert calls == one.hooks['Log'].calls and calls
    one = build(tmp_path)
    with pytest.raises(KeyError, match="'TimerHook' exists"):
        user(tmp_path, callbacks=[as_callback('TimerHook')]).fit(one.lightning_module)


def test_trainer_and_engine_are_put_back(tmp_path, monkeypatch):
    def state(trainer):
        return (
            trainer.num_sanity_val_steps,
            trainer.check_val_every_n_epoch,
            trainer.validate_loop.inference_mode,
            trainer.precision_plugin,
            [type(one).__name__ for one in trainer.callbacks],
            'save_checkpoint' in vars(trainer),
            'run' in vars(trainer.validate_loop),
        )

    class Fail(Hook):
        def before_train_iter(self, engine):
            raise ArithmeticError

    monkeypatch.setenv(_options.REPORT, str(tmp_path / 'report.json'))
    one = build(tmp_path)
    trainer = user(tmp_path, logger=False)
    before = state(trainer)
    one.register_hook(Fail())
    with pytest.raises(ArithmeticError):
        trainer.fit(one.lightning_module)
    assert state(trainer) == before
    assert not one._run.fitting
    one.unregister_hook('Fail')
    trainer.fit(one.lightning_module)
    assert state(trainer) == before
    assert one.epoch == 3

    # Then the engine's own way, once more in its Trainer, and a finished engine.
    one.reset_states()
    one.launch()
    assert (one.epoch, one.trainer.current_epoch) == (3, 3) and one.trainer is not trainer
    del one.hooks['Log'].calls[:]
    one.reset_states()
    one.trainer.fit(one.lightning_module)
    assert len(one.hooks['Log'].calls) == 48
    del one.hooks['Log'].calls[:]
    trainer = user(tmp_path, logger=False)
    trainer.fit(one.lightning_module)
    assert [call[0] for call in one.hooks['Log'].calls] == ['before_launch', 'after_launch']


def test_all_is_put_back_where_the_precision_is_refused(tmp_path, monkeypatch):
    def refuse(*args):
        raise ValueError('refused')

    report = tmp_path / 'report.json'
    monkeypatch.setenv(_options.REPORT, str(report))
    monkeypatch.setattr(_report, '_launches', [])
    monkeypatch.setattr(guest, 'take_over', refuse)
    one = build(tmp_path)
    trainer = user(tmp_path, logger=False, precision='bf16-mixed')
    callbacks = list(trainer.callbacks)
    with pytest.raises(ValueError, match='refused'):
        trainer.fit(one.lightning_module)
    assert trainer.callbacks == callbacks and not one._run.is_guest and one._clock is None
    (launch,) = json.loads(report.read_text())['launches']
    assert launch['error'] == 'ValueError: refused'


def test_the_line_about_quirks(tmp_path, capfd):
    """It ends this run too, once, and whatever has ended it."""

    class Fail(Hook):
        def before_train_iter(self, engine):
            raise ArithmeticError

    for hook in (None, Fail()):
        one = build(tmp_path)
        if hook is not None:
            one.register_hook(hook)
        with contextlib.suppress(ArithmeticError):
            user(tmp_path, logger=False).fit(one.lightning_module)
        assert capfd.readouterr().out.count('have changed this run') == 1
    user(tmp_path, logger=False).validate(build(tmp_path).lightning_module)
    assert 'have changed this run' not in ''.join(capfd.readouterr())


def test_the_engines_own_trainer(tmp_path):
    one, two = build(tmp_path / 'launched'), build(tmp_path / 'fitted')
    torch.manual_seed(1)
    one.launch()
    expected = result(one)
    torch.manual_seed(1)
    two.trainer.fit(two.lightning_module)
    assert result(two) == expected


@pytest.mark.parametrize('name', ['epoch_1.pth', 'epoch_2.pth', 'iter_5.pth'])
@pytest.mark.parametrize('asked', ['trainer', 'engine'])
def test_resumed(tmp_path, name, asked):
    def make(folder):
        one = build(tmp_path / folder)
        one.register_hook(CheckpointHook(every_n_iters=1))
        return one

    make('first').launch()
    path = str(tmp_path / 'first' / name)
    torch.manual_seed(7)
    one, trainer = make('second'), user(tmp_path)
    if asked == 'trainer':
        trainer.fit(one.lightning_module, ckpt_path=path)
    else:
        one.resume(path)
        trainer.fit(one.lightning_module)
    assert (one.epoch, trainer.current_epoch, trainer.global_step) == (3, 3, 9)
    whole, found = (
        torch.load(tmp_path / folder / 'epoch_3.pth', weights_only=True)
        for folder in ('first', 'second')
    )
    assert str(found['state_dict']) == str(whole['state_dict'])
    torch.testing.assert_close(found['optimizer'], whole['optimizer'], rtol=0, atol=0)


def test_weights_for_an_evaluation(tmp_path):
    build(tmp_path / 'first').launch()
    path = str(tmp_path / 'first' / 'epoch_2.pth')
    one, trainer = build(tmp_path / 'second'), user(tmp_path)
    trainer.test(one.lightning_module, ckpt_path=path, verbose=False)
    saved = torch.load(path, weights_only=True)['state_dict']
    assert str(one.model.state_dict()) == str(saved)


@pytest.mark.parametrize(
    'setting, words',
    [
        ({'accumulate_grad_batches': 2}, 'OptimizerHook'),
        ({'gradient_clip_val': 1.0}, 'grad_clip='),
        ({'val_check_interval': 0.5}, 'validation=dict'),
        ({'check_val_every_n_epoch': 2}, 'validation=dict'),
        ({'limit_train_batches': 1}, 'shorter'),
        ({'limit_val_batches': 0}, 'shorter'),
        ({'overfit_batches': 1}, 'shorter'),
        ({'fast_dev_run': True}, 'shorter|stages say'),
        ({'reload_dataloaders_every_n_epochs': 1}, 'data_loaders'),
        ({'max_steps': 4}, 'stages say'),
        ({'min_epochs': 1}, 'stages say'),
    ],
)
def test_refused_settings(setting, words, tmp_path):
    one = build(tmp_path)
    with pytest.raises(
        ValueError, match=rf'Trainer\(\w+=.* has no place in an engine: .*({words})'
    ):
        user(tmp_path, logger=False, **setting).fit(one.lightning_module)
    assert not one.hooks['Log'].calls


def test_refused_runs(tmp_path):
    one = build(tmp_path)
    with pytest.raises(ValueError, match='fit takes no loaders'):
        user(tmp_path, logger=False).fit(one.lightning_module, DataLoader(Points(), 4))
    trainer = user(tmp_path, logger=False)
    trainer.fit(one.lightning_module)
    module = one.lightning_module
    one.launch()
    with pytest.raises(RuntimeError, match='anew for each run'):
        user(tmp_path, logger=False).fit(module)
    one = Engine(Net(), {'val': DataLoader(Points(), 4)}, work_dir=str(tmp_path), logger='refused')
    with pytest.raises(ValueError, match='no loader for training'):
        user(tmp_path, logger=False).fit(one.lightning_module)


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.ERROR, 'lightning.pytorch')


def test_callbacks_that_monitor(tmp_path):
    one = build(tmp_path)
    stop = EarlyStopping('val_loss', stopping_threshold=1e9)
    best = ModelCheckpoint(monitor='acc', mode='max')
    lr = LearningRateMonitor()
    trainer = user(tmp_path, callbacks=[stop, best, lr], log_every_n_steps=1)
    trainer.fit(one.lightning_module)
    assert one.epoch == 1 and one.hooks['Log'].calls[-1][0] == 'after_launch'
    assert best.best_model_score == trainer.callback_metrics['acc']
    # Without a validation they look at the ends of training epochs.
    loaders = {'train': DataLoader(Points(), 4)}
    plain = engine(tmp_path, stages=stage(epochs=2), data_loaders=loaders)
    trainer = user(tmp_path, callbacks=[EarlyStopping('train_loss', stopping_threshold=1e9)])
    before = trainer.limit_val_batches
    trainer.fit(plain.lightning_module)
    assert plain.epoch == 1 and trainer.limit_val_batches == before
    assert Path(trainer.checkpoint_callback.best_model_path).exists()
    with pytest.raises(ValueError, match='no stage validates'):
        user(tmp_path, callbacks=[stop]).fit(plain.lightning_module)
    with pytest.raises(ValueError, match='cannot be used'):
        user(tmp_path, callbacks=[StochasticWeightAveraging(0.1)]).fit(plain.lightning_module)
