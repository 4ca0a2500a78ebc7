"""Lightning's callbacks in real runs, compared with what PyTorch or arithmetic says."""

import copy
import re

import pytest
import torch
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    EMAWeightAveraging,
    LambdaCallback,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelPruning,
    SpikeDetection,
    ThroughputMonitor,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from test_epoch_metrics import read
from tiny import Net, Points, engine, stage
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn
from torch.utils.data import DataLoader

from nncore_compat import Hook

VALIDATED = {'validation': {'interval': 1}}


class Scored(Points):
    """Evaluates to what it is told."""

    def __init__(self, values):
        super().__init__(6)
        self.values = iter(values)

    def evaluate(self, outputs, logger=None, **kwargs):
        return {'acc': next(self.values)}


def scored(tmp_path, values, hooks, model=None, **kwargs):
    data = {'train': DataLoader(Points(), 4), 'val': DataLoader(Scored(values), 4)}
    stages = stage(epochs=len(values), **VALIDATED)
    one = engine(tmp_path, model, stages=stages, data_loaders=data, hooks=hooks, **kwargs)
    one.launch()
    return one


class Weights(Hook):
    """Keeps the weights after every epoch and every step."""

    def __init__(self):
        super().__init__()
        self.epochs, self.steps = [], []

    def after_train_iter(self, engine):
        self.steps.append(copy.deepcopy(engine.model.state_dict()))

    def after_train_epoch(self, engine):
        self.epochs.append(copy.deepcopy(engine.model.state_dict()))


def same(first, second):
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


def test_model_checkpoint(tmp_path):
    weights = Weights()
    best = {'type': 'ModelCheckpoint', 'monitor': 'acc', 'mode': 'max'}
    lowest = {'type': 'ModelCheckpoint', 'monitor': 'acc', 'filename': 'low', 'save_last': True}
    high = {'type': 'EvalHook', 'high_keys': ['acc']}
    one = scored(tmp_path, [0.3, 0.9, 0.1, 0.5], [weights, high, best, lowest])
    kept, low = one.hooks['ModelCheckpoint'], one.hooks['ModelCheckpoint_2']
    assert kept.best_model_score == torch.tensor(0.9)
    assert kept.best_model_path == str(tmp_path / 'checkpoints' / 'epoch=1-step=6.ckpt')
    assert low.best_model_score == torch.tensor(0.1)

    checkpoint = torch.load(kept.best_model_path, weights_only=True)
    assert same(checkpoint['state_dict'], weights.epochs[1])
    assert not same(checkpoint['state_dict'], weights.epochs[2])
    assert (checkpoint['epoch'], checkpoint['global_step']) == (1, 6)
    hooks = checkpoint['nncore_compat']['ranks'][0]['hooks']
    assert hooks['EvalHook'] == {'high': {'acc': 0.9}, 'low': {}}
    assert one.trainer.checkpoint_callback is kept
    last = torch.load(low.last_model_path, weights_only=True)
    assert same(last['state_dict'], weights.epochs[2])


def test_hooks_take_their_state_from_a_checkpoint(tmp_path):
    high = {'type': 'EvalHook', 'high_keys': ['acc']}
    one = scored(tmp_path, [0.3, 0.2], [high, 'ModelCheckpoint'])
    path = one.hooks['ModelCheckpoint'].best_model_path
    again = engine(tmp_path / 'again', stages=stage(epochs=2, **VALIDATED), hooks=[high])
    again.resume(path)
    again.launch()
    assert again.hooks['EvalHook'].state_dict()['high'] == {'acc': 0.3}


@pytest.mark.parametrize('scale', [None, 2])
def test_learning_rate_monitor(tmp_path, scale):
    used = []

    class Rates(Hook):
        """Notes the rate when the optimizer steps."""

        def before_stage(self, engine):
            engine.optimizer.register_step_pre_hook(
                lambda optimizer, *_: used.append(optimizer.param_groups[0]['lr'])
            )

    schedule = {
        'lr_schedule': {'type': 'iter', 'policy': 'cosine'},
        'warmup': {'type': 'iter', 'policy': 'linear', 'steps': 3, 'ratio': 0.1},
    }
    stages = [stage(epochs=2, **schedule), stage(optimizer={'type': 'Adam', 'lr': 0.01})]
    logger = CSVLogger(tmp_path / 'csv')
    monitor = LearningRateMonitor(logging_interval='step')
    engine(
        tmp_path,
        stages=stages,
        hooks=[monitor, Rates()],
        trainer={'logger': logger, 'log_every_n_steps': 1},
    ).launch()
    assert len(used) == 9 and len(set(used)) > 5
    assert [*monitor.lrs['lr-SGD'], *monitor.lrs['lr-Adam']] == used
    rows = [(int(r['step']), r['lr-SGD'] or r['lr-Adam']) for r in read(logger)]
    logged = dict(row for row in rows if row[1])
    assert [float(logged[step]) for step in range(9)] == pytest.approx(used)


def test_exponential_moving_average(tmp_path):
    weights, model, validated = Weights(), Net(), []
    averaging = EMAWeightAveraging(decay=0.8, use_buffers=False)

    class Sees(Hook):
        def before_val_iter(self, engine):
            validated.append(copy.deepcopy(engine.model.state_dict()))

    one = engine(
        tmp_path, model, stages=stage(epochs=2, **VALIDATED), hooks=[weights, averaging, Sees()]
    )
    one.launch()
    by_hand, plain = AveragedModel(Net(), avg_fn=get_ema_avg_fn(0.8)), Net()
    averages = []
    for state in weights.steps:
        plain.load_state_dict(state)
        by_hand.update_parameters(plain)
        averages.append(copy.deepcopy(by_hand.module.state_dict()))
    assert same(model.state_dict(), averages[-1])
    assert same(validated[0], averages[2]) and same(validated[-1], averages[-1])
    assert not same(averages[-1], weights.steps[-1])
    # In a checkpoint they are where Lightning has them.
    saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    assert same(saved['state_dict'], averages[2])
    assert same(saved['current_model_state'], weights.steps[2])


def test_average_of_epochs(tmp_path):
    class Epochs(WeightAveraging):
        def should_update(self, step_idx=None, epoch_idx=None):
            return epoch_idx is not None

    weights, model = Weights(), Net()
    engine(tmp_path, model, stages=stage(epochs=3), hooks=[Epochs(), weights]).launch()
    by_hand, plain = AveragedModel(Net()), Net()
    for state in weights.epochs:
        plain.load_state_dict(state)
        by_hand.update_parameters(plain)
    assert same(model.state_dict(), by_hand.module.state_dict())


def test_lambda_callback(tmp_path):
    seen = []
    hook = LambdaCallback(
        on_train_epoch_end=lambda trainer, module: seen.append(module.engine.epoch),
        on_train_batch_end=lambda trainer, module, outputs, batch, index: seen.append(
            (index, outputs['loss'].item(), outputs['loss'].requires_grad, len(batch['y']))
        ),
        on_validation_batch_end=lambda trainer, module, outputs, batch, index: seen.append(
            (index, sorted(outputs))
        ),
    )
    losses = []

    class Losses(Hook):
        def after_train_iter(self, engine):
            losses.append(engine.losses['loss'].item())

    engine(tmp_path, stages=stage(**VALIDATED), hooks=[Losses(), hook]).launch()
    batches = [(i, losses[i], False, size) for i, size in enumerate((4, 4, 2))]
    assert seen == [*batches, *((i, ['_avg_factor', '_out', 'loss']) for i in range(2)), 1]


def test_tables_of_summaries(tmp_path, capfd, caplog):
    engine(tmp_path, nn.Sequential(), hooks=[]).unregister_hook('EvalHook')
    engine(tmp_path, hooks=['ModelSummary']).launch()
    text = caplog.text + ''.join(capfd.readouterr())
    assert re.search(r'0 \| model \| Net', text) and re.search(r'6 +Trainable params', text)


def test_tqdm_bar(tmp_path, capfd):
    engine(tmp_path, stages=stage(epochs=2, **VALIDATED), hooks=['TQDMProgressBar']).launch()
    text = ''.join(capfd.readouterr())
    assert re.search(r'Epoch 0: +100%.*3/3', text) and re.search(r'Epoch 1: +100%.*3/3', text)
    for key in ('train_loss=', 'val_loss=', 'acc='):
        assert key in text


def test_rich_bar_and_summary(tmp_path, capfd):
    pytest.importorskip('rich')
    hooks = ['RichProgressBar', 'RichModelSummary']
    engine(tmp_path, stages=stage(epochs=2, **VALIDATED), hooks=hooks).launch()
    text = ''.join(capfd.readouterr())
    assert 'Epoch 1/1' in text and '3/3' in text and 'Trainable params' in text


def test_device_stats_monitor(tmp_path):
    pytest.importorskip('psutil')
    logger = CSVLogger(tmp_path / 'csv')
    settings = {'logger': logger, 'log_every_n_steps': 1, 'accelerator': 'cpu'}
    engine(tmp_path, hooks=['DeviceStatsMonitor'], trainer=settings).launch()
    keys = [key for key in read(logger)[0] if 'cpu_percent' in key]
    assert any('on_train_batch_start' in key for key in keys)
    assert any('on_train_batch_end' in key for key in keys)


def test_throughput_monitor(tmp_path):
    logger = CSVLogger(tmp_path / 'csv')
    monitor = ThroughputMonitor(batch_size_fn=lambda batch: len(batch['y']), window_size=2)
    engine(
        tmp_path,
        stages=stage(epochs=2, **VALIDATED),
        hooks=[monitor],
        trainer={'logger': logger, 'log_every_n_steps': 1},
    ).launch()
    samples = [int(float(r['train/samples'])) for r in read(logger) if r.get('train/samples')]
    assert samples == [4, 8, 10, 14, 18, 20]


def test_spike_detection(tmp_path):
    def spike(output, calls=[]):
        calls.append(1)
        return {**output, 'loss': output['loss'] * (1000 if len(calls) == 6 else 1)}

    from lightning.fabric.utilities.spike import TrainingSpikeException

    one = engine(
        tmp_path, Net(spike), stages=stage(epochs=3), hooks=[SpikeDetection(warmup=1, window=3)]
    )
    with pytest.raises(TrainingSpikeException):
        one.launch()
    assert one.iter == 5 and (tmp_path / 'skip_batches.json').exists()


def test_pruning(tmp_path):
    model = Net()
    pruning = ModelPruning('l1_unstructured', parameters_to_prune=[(model.fc, 'weight')], amount=2)
    engine(tmp_path, model, stages=stage(epochs=2), hooks=[pruning]).launch()
    # Two of four weights after the first epoch, and none of the two that are left stays.
    assert 'weight' in dict(model.fc.named_parameters())
    assert (model.fc.weight == 0).sum() >= 2


class WithBackbone(Net):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(2, 2)

    def forward(self, data, mode):
        return super().forward({**data, 'x': self.backbone(data['x'])}, mode)


class Unfreezes(BaseFinetuning):
    def freeze_before_training(self, module):
        self.freeze(module.model.backbone)

    def finetune_function(self, module, epoch, optimizer):
        if epoch == 2:
            self.unfreeze_and_add_param_group(module.model.backbone, optimizer)


@pytest.mark.parametrize(
    ('callback', 'rates'),
    [(Unfreezes(), [0.01, 0.001]), (BackboneFinetuning(unfreeze_backbone_at_epoch=2), None)],
)
def test_finetuning(tmp_path, callback, rates):
    weights, model, groups = Weights(), WithBackbone(), []

    class Groups(Hook):
        def after_train_epoch(self, engine):
            groups.append([group['lr'] for group in engine.optimizer.param_groups])

    first = model.backbone.weight.clone()
    schedule = {'lr_schedule': {'type': 'epoch', 'policy': 'step', 'step': [3]}}
    engine(
        tmp_path, model, stages=stage(epochs=4, **schedule), hooks=[callback, weights, Groups()]
    ).launch()
    frozen = [torch.equal(first, state['backbone.weight']) for state in weights.epochs]
    assert frozen == [True, True, False, False]
    assert [len(group) for group in groups] == [1, 1, 2, 2]
    assert [group[0] for group in groups] == pytest.approx([0.1, 0.1, 0.1, 0.01])
    if rates:
        assert [group[1] for group in groups[2:]] == pytest.approx(rates)


def test_files_are_below_the_work_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    work = tmp_path / 'work'
    hooks = ['LearningRateMonitor', 'ModelCheckpoint', 'TQDMProgressBar', ModelCheckpoint()]
    one = engine(work, hooks=hooks)
    one.launch()
    assert [path.name for path in tmp_path.iterdir()] == ['work']
    assert type(one.trainer.logger).__name__ == 'TensorBoardLogger'
    assert list(work.rglob('*.ckpt')), 'made without being asked'
