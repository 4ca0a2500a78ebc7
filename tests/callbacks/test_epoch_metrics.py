"""The metrics that callbacks monitor, against plain loops of PyTorch."""

import csv
import math

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from tiny import Net, Points, engine, stage
from torch.utils.data import DataLoader

from nncore_compat import Engine, Hook


class Reads(Callback):
    """Copies the metrics at events."""

    def __init__(self, *events):
        self.seen = {event: [] for event in events}

    def __getattribute__(self, name):
        if name in ('on_validation_end', 'on_train_epoch_end', 'on_train_end') and (
            name in self.seen
        ):
            return lambda trainer, module: self.seen[name].append(
                {key: value.item() for key, value in trainer.callback_metrics.items()}
            )
        return super().__getattribute__(name)


def rich(output):
    """Return more than a loss: values of all kinds that nncore's buffer knows, and others."""
    factor = output['_avg_factor'] + 0.5
    output.pop('_avg_factor')
    loss = output.pop('loss')
    return {
        'loss_a': loss,
        'loss_b': 2 * loss.detach(),
        'size': factor,
        'parts': {'x': factor + 1, 'y': torch.tensor(3.0)},
        'boxes': torch.zeros(3, 4),
        'name': '7',
        'faces_images_': torch.zeros(1),
        '_hidden': torch.tensor(1.0),
        '_avg_factor': factor,
        '_out': output['_out'],
    }


def plain_epochs(epochs, size=10, val_size=6):
    """The weighted averages of each epoch, by a loop without any engine."""
    model, results = Net(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(epochs):
        sums = {'train': [0.0, 0.0, 0.0], 'val': [0.0, 0.0, 0.0]}
        for split, data in (('train', Points(size)), ('val', Points(val_size))):
            for batch in DataLoader(data, 4):
                factor = len(batch['y']) + 0.5
                loss = model(batch, mode=split)['loss']
                if split == 'train':
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                for index, value in enumerate((loss.item() * factor, factor * factor, factor)):
                    sums[split][index] += value
        results.append({s: (a / c, b / c) for s, (a, b, c) in sums.items()})
    return results


def test_averages_of_an_epoch(tmp_path):
    reads = Reads('on_validation_end', 'on_train_epoch_end')
    one = engine(
        tmp_path, Net(rich), stages=stage(epochs=3, validation={'interval': 1}), hooks=[reads]
    )
    # Boxes are more than nncore's writers take.
    one.unregister_hook('EventWriterHook')
    one.launch()
    expected = plain_epochs(3)
    for event in reads.seen:
        assert len(reads.seen[event]) == 3
        for metrics, epoch in zip(reads.seen[event], expected, strict=True):
            for split in ('train', 'val'):
                loss, size = epoch[split]
                values = {
                    'loss_a': loss,
                    'loss_b': 2 * loss,
                    'loss': 3 * loss,
                    'size': size,
                    'parts_x': size + 1,
                    'parts_y': 3.0,
                }
                for key, value in values.items():
                    assert metrics[f'{split}_{key}'] == pytest.approx(value, rel=1e-6), key
            assert len(metrics) == 13 and 'acc' in metrics, sorted(metrics)


def test_results_of_evaluations(tmp_path):
    values = iter([0.25, 0.75, 0.5])

    class Scored(Points):
        def evaluate(self, outputs, logger=None, **kwargs):
            return {'acc': next(values), 'confusion': [[1, 2]], 'by_class': {'cat': 2}}

    class Calls(Hook):
        def after_val_epoch(self, engine):
            engine.buffer.update('mine', engine.epoch * 10)
            engine.buffer.update('_mine', 1)

    reads = Reads('on_validation_end')
    data = {'train': DataLoader(Points(), 4), 'val': DataLoader(Scored(6), 4)}
    one = engine(
        tmp_path,
        data_loaders=data,
        stages=stage(epochs=3, validation={'interval': 1}),
        hooks=[{'type': 'EvalHook', 'high_keys': ['acc'], 'run_test': True}, Calls(), reads],
    )
    # A list of lists is more than nncore's writers take.
    one.unregister_hook('EventWriterHook')
    one.launch()
    rows = [
        {k: v for k, v in row.items() if not k.startswith(('train_', 'val_'))}
        for row in reads.seen['on_validation_end']
    ]
    assert rows == [
        {'acc': acc, 'best_acc': best, 'by_class_cat': 2, 'mine': epoch * 10}
        for epoch, acc, best in ((1, 0.25, 0.25), (2, 0.75, 0.75), (3, 0.5, 0.75))
    ]
    assert 'update' not in vars(one.buffer)


def test_a_result_that_no_hook_writes(tmp_path):
    class Evaluates(Hook):
        def after_val_epoch(self, engine):
            engine.evaluate()

    reads = Reads('on_validation_end')
    one = engine(tmp_path, stages=stage(validation={'interval': 1}), hooks=[reads])
    one.unregister_hook('EvalHook')
    one.register_hook(Evaluates(), before='EventWriterHook')
    one.launch()
    assert reads.seen['on_validation_end'][0]['acc'] == pytest.approx(2 / 6)


def test_validation_of_ones_own(tmp_path):
    class Own(Engine):
        def val_epoch(self):
            super().val_epoch()

    results = []
    for cls in (Own, Engine):
        reads = Reads('on_validation_end')
        engine(
            tmp_path / cls.__name__,
            stages=stage(epochs=2, validation={'interval': 1}),
            hooks=[reads],
            cls=cls,
        ).launch()
        results.append(reads.seen['on_validation_end'])
    assert results[0] == results[1] and set(results[0][0]) == {'train_loss', 'val_loss', 'acc'}


class Liar(DataLoader):
    def __len__(self):
        return super().__len__() + 1


def test_a_loader_with_fewer_batches_than_it_says(tmp_path):
    results = []
    for cls in (DataLoader, Liar):
        reads = Reads('on_validation_end', 'on_train_epoch_end')
        data = {'train': cls(Points(), 4), 'val': cls(Points(6), 4)}
        stages = stage(validation={'interval': 1})
        engine(tmp_path, stages=stages, hooks=[reads], data_loaders=data).launch()
        results.append(reads.seen)
    assert results[0] == results[1] and set(results[0]['on_validation_end'][0]) >= {'acc'}


def test_nan_is_seen(tmp_path):
    def nan_in_second(output, calls=[]):
        calls.append(1)
        return {**output, 'x': float('nan') if len(calls) == 2 else 1.0}

    reads = Reads('on_train_epoch_end')
    engine(tmp_path, Net(nan_in_second), stages=stage(epochs=2), hooks=[reads]).launch()
    first, second = reads.seen['on_train_epoch_end']
    assert math.isnan(first['train_x']) and second['train_x'] == 1.0


def test_nothing_is_kept_where_nobody_looks(tmp_path):
    one = engine(tmp_path, stages=stage(validation={'interval': 1}))
    one.launch()
    assert one.lightning_module.averages is None and one.trainer.callback_metrics == {}


def test_values_of_steps(tmp_path):
    logger = CSVLogger(tmp_path / 'csv')
    steps = []

    class Notes(Hook):
        def after_train_iter(self, engine):
            steps.append(engine.losses['loss'].item())

    one = engine(
        tmp_path,
        stages=stage(epochs=2, validation={'interval': 1}),
        hooks=[Notes()],
        trainer={'logger': logger, 'log_every_n_steps': 2},
    )
    one.launch()
    # Lightning's own rule: rows after the 2nd, 4th and 6th of 6 steps, counted from 0.
    rows = read(logger)
    seen = {int(r['step']): float(r['train_loss_step']) for r in rows if r['train_loss_step']}
    assert seen == {step: pytest.approx(steps[step]) for step in (1, 3, 5)}
    assert [(int(r['step']), int(r['epoch'])) for r in rows if r['train_loss']] == [(2, 0), (5, 1)]
    assert [int(r['step']) for r in rows if r['val_loss'] and r['acc']] == [2, 5]


def read(logger):

    with open(f'{logger.log_dir}/metrics.csv') as file:
        return list(csv.DictReader(file))
