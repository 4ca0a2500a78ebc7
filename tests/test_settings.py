"""Where to run: what Engine(trainer=...) and the command line may say, and what is refused."""

import json

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import AcceleratorRegistry, CPUAccelerator
from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.profilers import SimpleProfiler
from lightning.pytorch.strategies import (
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
    SingleDeviceXLAStrategy,
    StrategyRegistry,
    XLAStrategy,
)
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from tiny import Net, engine, stage
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, SequentialSampler

from nncore_compat import Hook, _options
from nncore_compat.__main__ import options_parser
from nncore_compat._lightning import processes, settings
from nncore_compat.hooks.base import HOOK_NAMES

STAGES = [
    stage(epochs=2, validation={'interval': 1}),
    stage(epochs=2, optimizer={'type': 'Adam', 'lr': 0.01}),
]


@pytest.fixture
def weights(tmp_path):
    """What the stages above come to without any settings."""
    one = engine(tmp_path / 'plain', stages=STAGES)
    one.launch()
    return one.model.state_dict()


def assert_same(left, right):
    assert list(left) == list(right)
    assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize(
    ('trainer', 'error', 'words'),
    [
        ({'accelerator': 'gpuu'}, ValueError, ["'gpuu'", 'cpu', 'cuda', 'mps']),
        ({'strategy': 'dpp'}, ValueError, ["strategy='dpp'", 'ddp', 'fsdp2', 'deepspeed_stage_2']),
        ({'precision': 'fp8'}, ValueError, ["'fp8'", 'bf16-mixed', '16-mixed', '64-true']),
        ({'devices': 0}, MisconfigurationException, ['devices=0']),
        ({'devices': 'two'}, Exception, ['two']),
        ({'num_nodes': 0}, ValueError, ['num_nodes', '0']),
        ({'acelerator': 'cpu'}, ValueError, ["no 'acelerator'", "did you mean 'accelerator'?"]),
        ({'max_epochs': 3}, ValueError, ['Engine(trainer=...)', 'max_epochs', 'stages=[dict(']),
        ({'gradient_clip_val': 1.0}, ValueError, ['gradient_clip_val', 'grad_clip=dict(max_norm']),
        ({'accumulate_grad_batches': 2}, ValueError, ['OptimizerHook', 'interval=']),
        (['devices'], TypeError, ['must be a dict', "['devices']"]),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_before_anything_is_written(tmp_path, trainer, error, words):
    with pytest.raises(error) as caught:
        engine(tmp_path / 'run', trainer=trainer)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / 'run').exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_an_accelerator_that_is_not_there(tmp_path):
    for trainer in ({'accelerator': 'cuda'}, {'accelerator': 'cuda', 'devices': 3}):
        with pytest.raises(MisconfigurationException, match=r"accelerator\(s\).*'cpu'.*'cuda'"):
            engine(tmp_path, trainer=trainer)


def test_what_is_refused_is_an_argument_of_the_trainer():
    import inspect

    assert set(settings.REFUSED) <= set(inspect.signature(Trainer.__init__).parameters)


def test_arguments_reach_the_trainer_before_the_launch(tmp_path):
    profiler = SimpleProfiler(dirpath=tmp_path, filename='profile')
    one = engine(tmp_path, trainer={'profiler': profiler, 'log_every_n_steps': 7, 'devices': '1'})
    assert isinstance(one.trainer, Trainer)
    assert one.trainer.profiler is profiler and one.trainer.log_every_n_steps == 7
    assert one.lightning_module.model is one.model
    first = one.trainer
    one.launch()
    assert one.trainer is first
    assert 'run_training_batch' in (tmp_path / 'fit-profile.txt').read_text()


def test_the_model_that_is_launched_is_the_one_the_engine_has_then(tmp_path, weights):
    one = engine(tmp_path, stages=STAGES)
    one.model = Net()
    one.launch()
    assert one.lightning_module.model is one.model
    assert_same(one.model.state_dict(), weights)


def test_strategies_with_a_precision_of_their_own():
    """As Lightning registers them: the names, and the classes behind them."""
    kinds = (FSDPStrategy, DeepSpeedStrategy, XLAStrategy, SingleDeviceXLAStrategy)
    for name in StrategyRegistry:
        kind = StrategyRegistry[name]['strategy']
        own = issubclass(kind, kinds)
        assert settings.brings_precision(name) == own, name


def test_scalars_cannot_be_sharded(tmp_path):
    model = Net()
    model.scale = torch.nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ValueError, match='without a dimension: scale. Give them the shape'):
        engine(tmp_path, model, trainer={'strategy': ModelParallelStrategy()})


def test_loaders_are_split_over_processes_once():
    """Against what torch's DistributedSampler says, for all ways to say how samples are batched."""
    trainer = Trainer(
        accelerator='cpu', devices=2, strategy='ddp', logger=False, enable_checkpointing=False
    )
    data = list(range(9))
    mine = DistributedSampler(data, 2, 0, shuffle=False)
    shuffled = DistributedSampler(data, 2, 0, shuffle=True, seed=0)
    cases = {
        'plain': (DataLoader(data, 2), DataLoader(data, 2, sampler=mine)),
        'short': (
            DataLoader(data, 2, drop_last=True),
            DataLoader(data, 2, sampler=mine, drop_last=True),
        ),
        'shuffled': (DataLoader(data, 2, shuffle=True), DataLoader(data, 2, sampler=shuffled)),
        'single': (DataLoader(data, batch_size=None), DataLoader(data, None, sampler=mine)),
        'batches': (
            DataLoader(data, batch_sampler=BatchSampler(SequentialSampler(data), 2, False)),
            DataLoader(data, 2, sampler=mine),
        ),
        'split': (
            DataLoader(data, batch_sampler=BatchSampler(mine, 2, False)),
            DataLoader(data, 2, sampler=mine),
        ),
        'own': (DataLoader(data, 2, sampler=mine), DataLoader(data, 2, sampler=mine)),
    }
    found = processes.split({name: given for name, (given, _) in cases.items()}, trainer)
    for name, (given, expected) in cases.items():
        batches = [torch.as_tensor(batch).tolist() for batch in found[name]]
        assert batches == [torch.as_tensor(batch).tolist() for batch in expected], name
        assert (found[name] is given) == (name in ('split', 'own'))
    loader = DataLoader(data, 2)
    both = processes.split({'val': loader, 'test': loader}, trainer)
    assert both['val'] is both['test'] is not loader
    with pytest.raises(TypeError, match='use_distributed_sampler=False'):
        processes.split({'train': DataLoader(data, batch_sampler=[[0, 1]])}, trainer)


class OwnAccelerator(CPUAccelerator):
    """As a vendor would register it: under a name that Lightning does not know."""

    set_up = 0

    def setup_device(self, device):
        type(self).set_up += 1
        assert device == torch.device('cpu', 0)

    @staticmethod
    def get_parallel_devices(devices):
        return [torch.device('cpu', index) for index in range(devices)]

    @staticmethod
    def name():
        return 'own'


def test_an_accelerator_of_a_third_party_runs_all_stages(tmp_path, weights, monkeypatch):
    if 'own' not in AcceleratorRegistry:
        AcceleratorRegistry.register('own', OwnAccelerator, description='of a third party')
    monkeypatch.setenv(_options.ENV, json.dumps({'accelerator': 'own'}))
    one = engine(tmp_path, stages=STAGES)
    one.launch()
    assert type(one.trainer.accelerator) is OwnAccelerator
    assert one.trainer.strategy.root_device == torch.device('cpu', 0)
    assert OwnAccelerator.set_up >= 1
    assert_same(one.model.state_dict(), weights)
    assert set(one.launch(eval='val')) == {'val'}


class BindingStrategy(SingleDeviceStrategy):
    """Takes the optimizer at its setup and steps that one only, as DeepSpeed does."""

    binds_optimizer = True
    fits = 0

    def setup_optimizers(self, trainer):
        super().setup_optimizers(trainer)
        self.bound = self.optimizers[0]
        self.fits += 1

    def optimizer_step(self, optimizer, closure, model=None, **kwargs):
        assert optimizer is self.bound or optimizer._optimizer is self.bound
        return super().optimizer_step(optimizer, closure, model, **kwargs)


def test_a_strategy_that_binds_the_optimizer_has_a_fit_for_each_stage(tmp_path, weights):
    calls = {name: [] for name in ('plain', 'binding')}

    class Calls(Hook):
        def __init__(self, to):
            super().__init__()
            for event in HOOK_NAMES:
                setattr(self, event, lambda engine, event=event: to.append((event, engine.iter)))

    plain = engine(tmp_path / 'a', stages=STAGES, hooks=[Calls(calls['plain'])])
    plain.launch()
    strategy = BindingStrategy()
    spy = Calls(calls['binding'])
    one = engine(tmp_path / 'b', stages=STAGES, hooks=[spy], trainer={'strategy': strategy})
    one.launch()
    assert strategy.fits == len(STAGES)
    assert_same(one.model.state_dict(), weights)
    assert calls['binding'] == calls['plain']
    assert type(one.optimizer).__name__ == 'Adam'

    again = engine(tmp_path / 'c', stages=STAGES, trainer={'strategy': BindingStrategy()})
    again.resume(str(tmp_path / 'b' / 'epoch_3.pth'))
    again.launch()
    assert again.trainer.strategy.fits == 1
    assert_same(again.model.state_dict(), weights)


def parse(*argv):
    parser, _ = options_parser('nncore-compat')
    return _options.parse(parser.parse_args(argv))


def test_options_become_arguments_of_the_trainer():
    assert parse() == {}
    assert parse(
        *('--accelerator', 'cpu', '--devices', '2', '--num-nodes', '3', '--strategy', 'ddp'),
        *('--precision', 'bf16-mixed', '--trainer', 'profiler=simple'),
        *('--trainer', 'log_every_n_steps=5', '--trainer', 'deterministic=true'),
        *('--trainer', "logger={'a': [1, None]}", '--trainer', 'default_root_dir=a=b'),
    ) == {
        'accelerator': 'cpu',
        'devices': 2,
        'num_nodes': 3,
        'strategy': 'ddp',
        'precision': 'bf16-mixed',
        'profiler': 'simple',
        'log_every_n_steps': 5,
        'deterministic': True,
        'logger': {'a': [1, None]},
        'default_root_dir': 'a=b',
    }
    assert parse('--devices', '0,1') == {'devices': '0,1'}
    assert parse('--devices', '-1') == {'devices': -1}
    assert parse('--devices', 'auto') == {'devices': 'auto'}


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        (['--trainer', 'profiler'], "--trainer: expected KEY=VALUE, but got 'profiler'"),
        (['--trainer', '=2'], 'expected KEY=VALUE'),
        (['--num-nodes', 'two'], "--num-nodes must be a whole number, but got 'two'"),
        (['--devices', '2', '--trainer', 'devices=3'], '--devices 2 and --trainer devices=3'),
    ],
    ids=str,
)
def test_wrong_options(argv, words):
    with pytest.raises(ValueError, match=words):
        parse(*argv)


def test_the_command_line_goes_over_the_script(tmp_path, monkeypatch):
    monkeypatch.setenv(_options.ENV, json.dumps({'log_every_n_steps': 3}))
    one = engine(tmp_path, trainer={'log_every_n_steps': 2, 'enable_model_summary': True})
    assert one.trainer.log_every_n_steps == 3
    summaries = [c for c in one.trainer.callbacks if isinstance(c, ModelSummary)]
    assert len(summaries) == 1


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('{', 'NNCORE_COMPAT_TRAINER must be a JSON object'),
        ('[1]', 'NNCORE_COMPAT_TRAINER must be a JSON object'),
        ('{"max_epochs": 2}', '--trainer: max_epochs has no place'),
    ],
)
def test_a_wrong_environment(tmp_path, monkeypatch, text, words):
    monkeypatch.setenv(_options.ENV, text)
    with pytest.raises(ValueError, match=words):
        engine(tmp_path)
