"""MetricHook in one process: against torchmetrics over all data at once, and scikit-learn."""

import json
import pickle

import pytest
import torch
import torchmetrics
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score, roc_auc_score
from tiny import Net, engine, stage
from torch.utils.data import DataLoader
from torchmetrics import classification as tm

from nncore_compat import ClosureHook, Engine, EvalHook, Hook, MetricHook, as_callback, quirks

INPUTS = ['_scores', '_target']
VALIDATED = {'validation': {'interval': 1}}


class Plain(torch.utils.data.Dataset):
    """Points that are hard to tell apart, and no method `evaluate`."""

    def __init__(self, size, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(size, 2, generator=generator)
        self.y = (self.x.sum(1) + torch.randn(size, generator=generator) > 0).long()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {'x': self.x[index], 'y': self.y[index]}


class Evaluated(Plain):
    """The same, with a method `evaluate`."""

    def evaluate(self, outputs, logger=None, **kwargs):
        return {'acc': (torch.cat(outputs) == self.y).float().mean().item()}


class Scoring(Net):
    """Puts out scores and targets as well."""

    def forward(self, data, mode, **kwargs):
        output = super().forward(data, mode, **kwargs)
        output['_scores'] = self.fc(data['x']).softmax(1)[:, 1]
        output['_target'] = data['y']
        return self.change(output)


def loaders(val=23, test=17, kind=Evaluated, batch=5):
    return {
        'train': DataLoader(kind(40, 1), 8),
        'val': DataLoader(kind(val, 2), batch),
        'test': DataLoader(kind(test, 3), batch),
    }


def make(folder, *hooks, change=lambda output: output, stages=None, data_loaders=None, **kwargs):
    return engine(
        folder,
        Scoring(change),
        stages or stage(epochs=3, optimizer={'type': 'SGD', 'lr': 1.0}, **VALIDATED),
        data_loaders or loaders(),
        hooks=list(hooks),
        **kwargs,
    )


def by_hand(dataset, state=None):
    """Returns scores, predictions and targets of a whole data set, in plain PyTorch."""
    model = Net()
    if state is not None:
        model.load_state_dict(state)
    with torch.no_grad():
        logits = model.fc(dataset.x)
    return logits.softmax(1)[:, 1], logits.argmax(1), dataset.y


def weights(folder, epoch):
    return torch.load(folder / f'epoch_{epoch}.pth', weights_only=True)['state_dict']


def written(folder):
    lines = [json.loads(line) for line in (folder / 'metrics.json').read_text().splitlines()]
    return [line for line in lines if line['mode'] != 'train']


def test_validation_equals_the_metrics_of_all_data_at_the_weights_of_each_epoch(tmp_path):
    metrics = {
        'accuracy': 'BinaryAccuracy',
        'auc': tm.BinaryAUROC(),
        'mse': {'type': 'MeanSquaredError'},
    }
    hook = {
        'type': 'MetricHook',
        'metrics': metrics,
        'inputs': {'preds': '_scores', 'target': '_target'},
        'high_keys': ['auc'],
        'low_keys': ['mse'],
    }
    one = make(tmp_path, hook, {'type': 'EvalHook', 'high_keys': ['acc']})
    one.launch()
    lines = written(tmp_path)
    assert len(lines) == 3
    expected = []
    for epoch in (1, 2, 3):
        scores, guesses, targets = by_hand(
            one.data_loaders['val'].dataset, weights(tmp_path, epoch)
        )
        mse = torchmetrics.MeanSquaredError()(scores, targets).item()
        expected.append(
            {
                'accuracy': accuracy_score(targets, guesses),
                'auc': roc_auc_score(targets, scores),
                'mse': mse,
                'acc': (guesses == targets).float().mean().item(),
            }
        )
    assert len({values['mse'] for values in expected}) == 3
    for epoch, (line, values) in enumerate(zip(lines, expected, strict=True)):
        for key, value in values.items():
            assert line[key] == pytest.approx(value, abs=1e-6), (epoch, key)
        past = expected[: epoch + 1]
        for key, best in (('auc', max), ('mse', min), ('acc', max)):
            assert line[f'best_{key}'] == pytest.approx(best(v[key] for v in past), abs=1e-6)
        assert not {'best_accuracy', 'best_acc_'} & set(line)
    last = {key: value for key, value in expected[-1].items() if key != 'acc'}
    assert one.hooks['MetricHook'].results == pytest.approx(last, abs=1e-6)


@pytest.mark.parametrize('kind', [Evaluated, Plain])
def test_launch_returns_the_metrics_of_each_split(tmp_path, kind):
    one = make(
        tmp_path,
        MetricHook('BinaryF1Score', INPUTS, high_keys=['BinaryF1Score']),
        MetricHook({'recall': 'BinaryRecall'}, ['_out', '_target'], name='second'),
        data_loaders=loaders(kind=kind),
    )
    found = one.launch(eval='both')
    assert set(found) == {'val', 'test'}
    for split, metrics in found.items():
        _, guesses, targets = by_hand(one.data_loaders[split].dataset)
        expected = {
            'BinaryF1Score': f1_score(targets, guesses),
            'recall': recall_score(targets, guesses),
        }
        if kind is Evaluated:
            expected['acc'] = accuracy_score(targets, guesses)
        assert metrics == pytest.approx(expected, abs=1e-6)
    assert found['val'] != found['test']
    log = next(tmp_path.glob('*.log')).read_text()
    assert f'results on test split: {"acc: " if kind is Evaluated else "BinaryF1Score: "}' in log
    # As with EvalHook, only validations count for the best values.
    assert one.hooks['MetricHook'].state_dict()['high'] == {'BinaryF1Score': float('-inf')}


def test_without_the_hook_a_data_set_must_evaluate(tmp_path):
    with pytest.raises(AttributeError, match='Plain has no evaluate'):
        make(tmp_path, data_loaders=loaders(kind=Plain)).launch(eval=True)


def test_evaluate_may_return_nothing(tmp_path):
    one = make(tmp_path, MetricHook('BinaryAccuracy', INPUTS))
    one.data_loaders['val'].dataset.evaluate = lambda outputs, **kwargs: None
    assert set(one.launch(eval='val')['val']) == {'BinaryAccuracy'}


def test_an_override_of_evaluate_is_called(tmp_path):
    class Own(Engine):
        def evaluate(self):
            return {'own': 1, 'BinaryAccuracy': 2}

    one = make(
        tmp_path,
        MetricHook('BinaryAccuracy', INPUTS),
        data_loaders=loaders(kind=Plain),
        cls=Own,
    )
    found = one.launch(eval='val')['val']
    assert found['own'] == 1
    assert found['BinaryAccuracy'] <= 1
    log = next(tmp_path.glob('*.log')).read_text()
    assert "MetricHook: 'BinaryAccuracy' takes the place" in log


def test_with_run_test_the_results_are_those_of_the_test_split(tmp_path):
    one = make(
        tmp_path,
        MetricHook({'mse': 'MeanSquaredError'}, INPUTS, low_keys=['mse']),
        {'type': 'EvalHook', 'run_test': True},
    )
    one.launch()
    values = []
    for epoch in (1, 2, 3):
        scores, _, targets = by_hand(one.data_loaders['test'].dataset, weights(tmp_path, epoch))
        values.append((scores - targets).square().mean().item())
    lines = written(tmp_path)
    assert [line['mode'] for line in lines] == ['test'] * 3
    assert [line['mse'] for line in lines] == pytest.approx(values, abs=1e-6)
    assert lines[-1]['best_mse'] == pytest.approx(min(values), abs=1e-6)


def test_vectors_are_numbered_and_matrices_are_kept_unwritten(tmp_path):
    hook = MetricHook(
        [
            {'type': 'MulticlassRecall', 'num_classes': 2, 'average': 'none'},
            {'type': 'BinaryConfusionMatrix'},
            {
                'type': 'ClasswiseWrapper',
                'metric': {'type': 'MulticlassPrecision', 'num_classes': 2, 'average': None},
                'labels': ['no', 'yes'],
            },
        ],
        ['_out', '_target'],
        high_keys=['MulticlassRecall_1'],
    )
    one = make(tmp_path, hook)
    one.launch()
    last = weights(tmp_path, 3)
    _, guesses, targets = by_hand(one.data_loaders['val'].dataset, last)
    line = written(tmp_path)[-1]
    recalls = recall_score(targets, guesses, average=None)
    assert [line['MulticlassRecall_0'], line['MulticlassRecall_1']] == pytest.approx(
        recalls, abs=1e-6
    )
    assert {'multiclassprecision_no', 'multiclassprecision_yes', 'best_MulticlassRecall_1'} < set(
        line
    )
    matrix = confusion_matrix(targets, guesses).tolist()
    assert hook.results['BinaryConfusionMatrix'].tolist() == matrix
    assert not any('ConfusionMatrix' in key for key in line)
    log = next(tmp_path.glob('*.log')).read_text()
    assert log.count("'BinaryConfusionMatrix' is no number but a tensor of shape (2, 2)") == 1
    assert one.launch(eval='val')['val']['BinaryConfusionMatrix'].tolist() == matrix


@pytest.mark.parametrize(
    ('inputs', 'out'),
    [
        ('_out', lambda scores, target: (scores, target)),
        ('_out', lambda scores, target: [scores, target]),
        ('_out', lambda scores, target: {'target': target, 'preds': scores, 'other': 'name'}),
        ('_all', lambda scores, target: (scores, target)),
        (['_scores', '_target'], lambda scores, target: None),
        ({'target': '_target', 'preds': '_scores'}, lambda scores, target: None),
    ],
)
@pytest.mark.parametrize('several', [False, True])
def test_where_the_arguments_come_from(tmp_path, inputs, out, several):
    def change(output):
        if '_scores' in output:
            output['_out'] = output['_all'] = out(output['_scores'], output['_target'])
        return output

    metrics = ['BinaryAUROC', 'BinaryAccuracy'] if several else tm.BinaryAUROC()
    one = make(
        tmp_path, MetricHook(metrics, inputs), change=change, data_loaders=loaders(kind=Plain)
    )
    scores, _, targets = by_hand(one.data_loaders['val'].dataset)
    found = one.launch(eval='val')['val']
    assert found['BinaryAUROC'] == pytest.approx(roc_auc_score(targets, scores), abs=1e-6)
    assert len(found) == 1 + several


def test_steps_that_are_overridden_and_call_super_are_seen(tmp_path):
    class Own(Engine):
        def val_iter(self, data):
            super().val_iter({'x': -data['x'], 'y': data['y']})

        test_iter = val_iter

        def val_epoch(self):
            super().val_epoch()

    one = make(tmp_path, MetricHook('MeanSquaredError', INPUTS), cls=Own)
    one.launch()
    dataset = one.data_loaders['val'].dataset
    dataset.x = -dataset.x
    scores, _, targets = by_hand(dataset, weights(tmp_path, 3))
    mse = (scores - targets).square().mean().item()
    assert written(tmp_path)[-1]['MeanSquaredError'] == pytest.approx(mse, abs=1e-6)


def test_a_later_value_of_a_name_replaces_the_earlier_one(tmp_path):
    def change(output):
        return {**output, 'mae': torch.tensor(5.0)}

    hook = MetricHook(
        {'acc': 'MeanSquaredError', 'mae': 'MeanAbsoluteError'}, INPUTS, low_keys=['acc']
    )
    eval_hook = {'type': 'EvalHook', 'high_keys': ['acc']}
    one = make(tmp_path, hook, eval_hook, change=change)
    one.launch()
    for epoch, line in enumerate(written(tmp_path), start=1):
        scores, _, targets = by_hand(one.data_loaders['val'].dataset, weights(tmp_path, epoch))
        mse = (scores - targets).square().mean().item()
        assert line['acc'] == pytest.approx(mse, abs=1e-6)
        assert line['mae'] == pytest.approx((scores - targets).abs().mean().item(), abs=1e-6)
        assert line['best_acc'] <= line['acc']
    log = next(tmp_path.glob('*.log')).read_text()
    assert log.count("'acc' takes the place of") == log.count("'mae' takes the place of") == 1


def test_without_a_writer_the_values_of_all_epochs_stay_in_the_buffer(tmp_path):
    metrics = {'mse': 'MeanSquaredError', 'acc': 'BinaryAccuracy'}
    one = make(tmp_path, MetricHook(metrics, INPUTS, low_keys=['mse']))
    one.unregister_hook('EventWriterHook')
    one.launch()
    assert one.buffer.count('mse') == one.buffer.count('best_mse') == one.buffer.count('acc') == 3
    # Private keys are never bounded: without care they would hold all data of all epochs.
    assert one.buffer.count('_scores') == len(one.data_loaders['val'])


@pytest.mark.parametrize(
    ('interval', 'quirk', 'epochs'),
    [(1, False, [1, 2, 3, 4]), (2, False, [2, 4]), (2, True, [1, 3]), (0, False, [])],
)
def test_interval_is_that_of_the_evaluation_hook(tmp_path, interval, quirk, epochs):
    quirks.enable('eval-interval' if quirk else 'none')
    hook = MetricHook('BinaryAccuracy', INPUTS, interval=interval)
    updates = []
    update = hook._metrics.update
    hook._metrics.update = lambda *args: (updates.append(1), update(*args))
    one = make(tmp_path, hook, EvalHook(interval=interval), stages=stage(epochs=4, **VALIDATED))
    one.launch()
    lines = written(tmp_path)
    assert [line['epoch'] for line in lines if 'BinaryAccuracy' in line] == epochs
    assert [line['epoch'] for line in lines if 'acc' in line] == epochs
    assert len(updates) == len(epochs) * len(one.data_loaders['val'])


def test_its_place_is_before_the_writer(tmp_path):
    names = ['first', 'second']
    one = make(
        tmp_path,
        *(MetricHook('BinaryAccuracy', INPUTS, name=name) for name in names),
        ClosureHook('after_val_epoch', lambda engine: None),
    )
    order = list(one.hooks)
    assert order[-5:] == ['EvalHook', 'first', 'second', 'EventWriterHook', 'ClosureHook']
    one.register_hook(MetricHook('BinaryRecall', INPUTS, name='first'))
    assert list(one.hooks) == order
    one.register_hook(MetricHook('BinaryRecall', INPUTS, name='third'), before='TimerHook')
    assert list(one.hooks) == ['third', *order]
    one.unregister_hook('EventWriterHook')
    one.register_hook(MetricHook('BinaryRecall', INPUTS))
    assert list(one.hooks)[-1] == 'MetricHook'


def test_best_values_survive_and_the_hook_travels_between_processes(tmp_path):
    hook = MetricHook('MeanSquaredError', INPUTS, low_keys=['MeanSquaredError'])
    make(tmp_path / 'a', hook).launch()
    best = hook.state_dict()['low']['MeanSquaredError']
    assert best == min(line['MeanSquaredError'] for line in written(tmp_path / 'a'))
    other = pickle.loads(pickle.dumps(hook))
    assert other.state_dict() == hook.state_dict()
    fresh = MetricHook('MeanSquaredError', INPUTS, low_keys=['MeanSquaredError', 'new'])
    fresh.load_state_dict({'high': {}, 'low': {'MeanSquaredError': -1.0, 'gone': 0}})
    assert fresh.state_dict()['low'] == {'MeanSquaredError': -1.0, 'new': float('inf')}


def test_a_test_of_a_hook_between_epochs_disturbs_nothing(tmp_path):
    class Tests(Hook):
        def after_train_epoch(self, engine):
            engine.test_epoch()

    one = make(tmp_path, MetricHook({'mse': 'MeanSquaredError'}, INPUTS), Tests())
    one.launch()
    scores, _, targets = by_hand(one.data_loaders['val'].dataset, weights(tmp_path, 3))
    mse = (scores - targets).square().mean().item()
    assert written(tmp_path)[-1]['mse'] == pytest.approx(mse, abs=1e-6)


def test_callbacks_monitor_the_results(tmp_path):
    stopping = EarlyStopping(monitor='mse', mode='max', patience=1)
    saving = ModelCheckpoint(tmp_path / 'best', monitor='best_mse', save_top_k=-1)
    hook = MetricHook(
        {'mse': 'MeanSquaredError', 'acc': 'BinaryAccuracy'}, INPUTS, low_keys=['mse']
    )
    one = make(tmp_path, hook, stopping, saving)
    one.launch()
    lines = written(tmp_path)
    # The error falls, and rising was asked for.
    assert len(lines) == 2 and lines[0]['mse'] > lines[1]['mse']
    assert stopping.best_score.item() == pytest.approx(lines[0]['mse'])
    scores = [score.item() for score in saving.best_k_models.values()]
    assert scores == pytest.approx([line['best_mse'] for line in lines])
    assert one.trainer.callback_metrics['acc'].item() == pytest.approx(lines[1]['acc'])


class Module(LightningModule):
    """A module of a Lightning user's."""

    def __init__(self, gives=True):
        super().__init__()
        self.net, self.gives = Scoring(), gives

    def training_step(self, batch, batch_idx):
        return self.net(batch, 'train')['loss']

    def validation_step(self, batch, batch_idx):
        output = self.net(batch, 'val')
        output['scores'], output['target'] = output.pop('_scores'), output.pop('_target')
        return output if self.gives else None

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1.0)


def fit(folder, module, hook):
    data = loaders(kind=Plain)
    trainer = Trainer(
        default_root_dir=folder,
        accelerator='cpu',
        max_epochs=3,
        callbacks=[as_callback(hook)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data['train'], data['val'])
    return trainer, data['val'].dataset


def test_in_a_trainer_of_a_lightning_user(tmp_path):
    hook = MetricHook(
        {'mse': 'MeanSquaredError', 'auc': 'BinaryAUROC'}, ['scores', 'target'], low_keys=['mse']
    )
    module = Module()
    trainer, data = fit(tmp_path, module, hook)
    scores, _, targets = by_hand(data, module.net.state_dict())
    mse = (scores - targets).square().mean().item()
    assert hook.results == pytest.approx({'mse': mse, 'auc': roc_auc_score(targets, scores)}, 1e-5)
    trainer.save_checkpoint(tmp_path / 'last.ckpt')
    states = torch.load(tmp_path / 'last.ckpt', weights_only=False)['callbacks']
    assert states['nncore_compat.MetricHook']['low']['mse'] <= hook.results['mse']


def test_a_step_of_a_lightning_user_that_returns_nothing(tmp_path):
    hook = MetricHook('BinaryAUROC', ['scores', 'target'])
    with pytest.raises(KeyError, match="has returned no 'scores' .*batch 1.*only nothing"):
        fit(tmp_path, Module(gives=False), hook)


def test_a_collection_of_the_users_keeps_its_names(tmp_path):
    collection = torchmetrics.MetricCollection(
        [tm.BinaryAccuracy(), tm.BinaryRecall()], prefix='val/'
    )
    config = {'type': 'MetricCollection', 'metrics': ['BinaryPrecision'], 'postfix': '/all'}
    one = make(tmp_path, MetricHook(collection, INPUTS), MetricHook(config, INPUTS, name='second'))
    assert set(one.launch(eval='val')['val']) == {
        'acc',
        'val/BinaryAccuracy',
        'val/BinaryRecall',
        'BinaryPrecision/all',
    }


def test_metrics_that_agree_on_the_first_batch_are_not_taken_for_one(tmp_path):
    # torchmetrics has metrics share a state that is equal after the first batch.
    metrics = {'all': tm.BinaryAccuracy(), 'most': tm.BinaryAccuracy(threshold=0.8)}
    batches = [([0.9, 0.1], [1, 0]), ([0.6, 0.7], [1, 1])]
    outputs = iter([tuple(map(torch.tensor, batch)) for batch in batches])
    one = make(
        tmp_path,
        MetricHook(metrics),
        data_loaders=loaders(val=4, kind=Plain, batch=2),
        change=lambda output: {'_out': next(outputs)} if '_scores' in output else output,
    )
    assert one.launch(eval='val')['val'] == {'all': 1.0, 'most': 0.5}


@pytest.mark.parametrize(
    ('arguments', 'error', 'texts'),
    [
        (
            {'metrics': 'MulticlassAcuracy'},
            ValueError,
            ["'MulticlassAcuracy' (MetricHook.metrics.type)", "Did you mean 'MulticlassAccuracy'"],
        ),
        (
            {'metrics': ['BinaryRecall', {'type': 'Linear'}]},
            ValueError,
            ["'Linear' (MetricHook.metrics[1].type)", 'Accepted: every class of torchmetrics'],
        ),
        (
            {'metrics': {'a': {'type': 'ClasswiseWrapper', 'metric': {'type': 'Nothing'}}}},
            ValueError,
            ["MetricHook.metrics['a'].metric.type"],
        ),
        (
            {'metrics': [{'type': 'MulticlassAccuracy', 'num_classes': 'x'}]},
            ValueError,
            ['MetricHook.metrics[0]: ', 'num_classes'],
        ),
        ({'metrics': {'type': 3}}, TypeError, ['MetricHook.metrics.type', '3']),
        ({'metrics': torch.nn.Linear(1, 1)}, TypeError, ['MetricHook.metrics', 'Linear(']),
        ({'metrics': tm.BinaryRecall}, TypeError, ['BinaryRecall', 'a class: make an object']),
        ({'metrics': []}, TypeError, ['MetricHook.metrics', '[]']),
        ({'metrics': ['BinaryRecall'] * 2}, ValueError, ['MetricHook.metrics: ', 'BinaryRecall']),
        ({'metrics': {'_a': 'BinaryRecall'}}, ValueError, ["'_a'", 'private']),
        ({'metrics': {'a_': 'BinaryRecall'}}, ValueError, ["'a_'", 'records']),
        ({'metrics': 'BinaryRecall', 'inputs': 3}, TypeError, ['MetricHook.inputs', '3']),
        ({'metrics': 'BinaryRecall', 'inputs': []}, TypeError, ['MetricHook.inputs', '[]']),
        ({'metrics': 'BinaryRecall', 'inputs': {'a': 1}}, TypeError, ["{'a': 1}"]),
        ({'metrics': 'BinaryRecall', 'interval': 1.5}, ValueError, ['MetricHook.interval', '1.5']),
        ({'metrics': 'BinaryRecall', 'low_keys': 'x'}, TypeError, ['MetricHook.low_keys', "'x'"]),
    ],
)
def test_bad_arguments(tmp_path, arguments, error, texts):
    with pytest.raises(error) as caught:
        make(tmp_path / 'new', {'type': 'MetricHook', **arguments})
    for text in ['hooks[0]' if error is not KeyError else '', *texts]:
        assert text in str(caught.value), caught.value
    assert not (tmp_path / 'new').exists()


def test_an_output_that_is_missing(tmp_path):
    one = make(tmp_path, MetricHook('BinaryRecall', ['_scores', '_labels']))
    with pytest.raises(KeyError) as caught:
        one.launch(eval='val')
    text = str(caught.value)
    for part in ("no '_labels'", "mode 'test'", 'batch 1', "'_target'", 'MetricHook.inputs'):
        assert part in text


@pytest.mark.parametrize(
    ('out', 'texts'),
    [
        (lambda o: o['_out'], ['(a tensor of shape (5,))', 'TypeError', "'target'"]),
        (lambda o: (o['_scores'], o['_target'][:2]), ['shape (5,), a tensor of shape (2,)']),
        (lambda o: {'preds': o['_scores'], 'a': 'b'}, ['preds=a tensor of shape (5,)', "a='b'"]),
        (lambda o: [o['_scores'], [1, 2]], ['shape (5,), a list of 2']),
    ],
)
def test_an_update_that_fails(tmp_path, out, texts):
    def change(output):
        return {**output, '_out': out(output)} if '_scores' in output else output

    one = make(tmp_path, MetricHook(['BinaryRecall']), change=change)
    with pytest.raises(RuntimeError) as caught:
        one.launch()
    for part in ['MetricHook: cannot update BinaryRecall', "mode 'val', epoch 1, batch 1", *texts]:
        assert part in str(caught.value), caught.value
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize('argument', ['high_keys', 'low_keys'])
def test_a_tracked_key_that_is_no_result(tmp_path, argument):
    hook = MetricHook(['BinaryAccuracy', 'BinaryRecall'], INPUTS, **{argument: ['BinaryAcuracy']})
    with pytest.raises(ValueError) as caught:
        make(tmp_path, hook).launch()
    assert str(caught.value) == (
        f"MetricHook.{argument}: there is no result 'BinaryAcuracy'. Did you mean "
        "'BinaryAccuracy'? Results: 'BinaryAccuracy', 'BinaryRecall'"
    )


def test_a_validation_without_batches(tmp_path):
    hook = MetricHook('BinaryAccuracy', INPUTS, high_keys=['BinaryAccuracy'])
    one = make(tmp_path, hook, data_loaders=loaders(val=0, kind=Plain))
    one.unregister_hook('EventWriterHook')
    one.launch()
    assert hook.results == {}
    assert 'there are no results' in next(tmp_path.glob('*.log')).read_text()
