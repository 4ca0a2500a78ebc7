"""MetricHook in two processes: the values of one, over data of any size."""

import json
import os
import socket
import time
import warnings

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torchmetrics
from tiny import Net, Points, engine, stage
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, SequentialSampler
from torchmetrics import classification as tm

from nncore_compat import MetricHook

SECONDS = 240
KEYS = {'preds': '_preds', 'target': '_target', 'indexes': '_indexes'}
FIRST = {'preds': '_first', 'target': '_number'}
TABLE = {'preds': '_table', 'target': '_target'}
WIDE = {'preds': '_table', 'target': '_wide'}


class Images(torchmetrics.Metric):
    """Keeps a tuple for each sample, as metrics of masks do, and gathers them as these do."""

    def __init__(self):
        super().__init__()
        self.add_state('masks', [], dist_reduce_fx=None)

    def update(self, preds):
        self.masks += [tuple(one.tolist()) for one in preds]

    def _sync_dist(self, dist_sync_fn=None, process_group=None):
        masks = [None] * dist.get_world_size()
        dist.all_gather_object(masks, self.masks)
        self.masks = [masks[r][i] for i in range(len(masks[0])) for r in range(len(masks))]

    def compute(self):
        return torch.tensor(sum(map(sum, self.masks)))


class Meanings(torchmetrics.Metric):
    """Keeps a number for each batch."""

    def __init__(self):
        super().__init__()
        self.add_state('sums', [], dist_reduce_fx='cat')

    def update(self, preds):
        self.sums.append(preds.sum())

    def compute(self):
        sums = self.sums
        return torch.stack(sums).sum() if isinstance(sums, list) else sums.sum()


def metrics():
    """Returns metrics with states of every kind, and what each is updated with."""
    return {
        'accuracy': (tm.BinaryAccuracy(), KEYS),  # sums
        'auc': (tm.BinaryAUROC(), KEYS),  # lists, put together
        'aucs': (tm.MulticlassAUROC(3, average='none'), TABLE),  # lists of matrices
        'map': (torchmetrics.RetrievalMAP(empty_target_action='skip'), KEYS),  # lists as they are
        'corr': (torchmetrics.PearsonCorrCoef(), FIRST),  # tensors as they are
        'explained': (torchmetrics.ExplainedVariance(), WIDE),  # the first update gives a shape
        'mse': (torchmetrics.MeanSquaredError(), FIRST),
        'matrix': (tm.MulticlassConfusionMatrix(3), TABLE),
        'largest': (torchmetrics.MaxMetric(), {'value': '_first'}),
        'images': (Images(), {'preds': '_table'}),
        'meanings': (Meanings(), {'preds': '_first'}),
    }


class Model(nn.Module):
    """Puts out numbers that depend on the sample alone."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, data, mode, **kwargs):
        return outputs(data['x'], data['y'])


def outputs(x, y):
    table = torch.stack([x[:, 0], x[:, 1], -x.sum(1)], 1).softmax(1)
    return {
        '_avg_factor': len(x),
        '_preds': x[:, 0].sigmoid(),
        '_target': y,
        '_first': x[:, 0],
        '_number': x[:, 1],
        '_table': table,
        '_wide': table + x[:, :1],
        '_indexes': (x[:, 1] > 0).long(),
        '_pairs': [{'p': a, 't': b} for a, b in zip(x[:, 0], y, strict=True)],
        '_mean': x[:, 0].mean(),
    }


class Bare(Points):
    """Points without a method `evaluate`."""

    evaluate = property()

    def shrink(self, mode):
        self.x, self.y = self.x[:-2], self.y[:-2]


# Size of the data set, of the batches, and what makes the loader's sampler.
CASES = [
    *((size, batch, 'plain') for size in (1, 2, 7, 9, 10) for batch in (1, 4)),
    (7, 2, 'plain'),
    (9, 4, 'shuffled'),
    (9, 4, 'dropping'),
    (7, 1, 'subclass'),
    (9, 2, 'batches'),
    (9, None, 'plain'),
    (9, 2, 'shrinking'),
]


class Subclass(DistributedSampler):
    """Another order of all samples, of which each rank takes every n-th as well."""

    def __iter__(self):
        return (len(self.dataset) - 1 - index for index in super().__iter__())


def loader(size, batch, kind):
    data = Bare(size)
    if kind == 'shrinking':
        data.set_state = data.shrink
    cls = Subclass if kind == 'subclass' else DistributedSampler
    sampler = cls(data, shuffle=kind == 'shuffled', drop_last=kind == 'dropping')
    if kind == 'batches':
        return DataLoader(data, batch_sampler=BatchSampler(sampler, batch, False))
    collate = None if batch else lambda one: {key: value[None] for key, value in one.items()}
    return DataLoader(data, batch, sampler=sampler, collate_fn=collate)


def evaluated(folder, split, hooks):
    one = engine(
        folder,
        Model(),
        data_loaders={'val': split},
        hooks=hooks,
        logger='ranks',
        trainer={'use_distributed_sampler': False},
    )
    return one.eval_mode('val')['val']


def evaluate_cases(folder):
    """Evaluates all cases, and what does not fit into a table of cases."""
    seen = {}
    for case in CASES:
        hooks = [MetricHook({n: m}, inputs, name=n) for n, (m, inputs) in metrics().items()]
        seen[case] = evaluated(folder, loader(*case), hooks)

    # All of them in one hook.
    group = {name: metric for name, (metric, inputs) in metrics().items() if inputs is KEYS}
    seen['group'] = evaluated(folder, loader(9, 4, 'plain'), [MetricHook(group, KEYS)])

    # Lists of samples; a value for the batch, which cannot be cut; another kind of sampler.
    class Pairs(torchmetrics.SumMetric):
        def update(self, pairs):
            super().update(torch.stack([pair['p'] for pair in pairs]))

    pairs = [MetricHook({'pairs': Pairs()}, ['_pairs'])]
    seen['pairs'] = evaluated(folder, loader(9, 4, 'plain'), pairs)
    mean = MetricHook({'mean': torchmetrics.MeanMetric()}, ['_mean'])
    seen['mean'] = evaluated(folder, loader(7, 2, 'plain'), [mean])
    seen['told'] = sorted(mean._told)
    count = MetricHook({'count': torchmetrics.SumMetric()}, ['_target'])
    every = DataLoader(Bare(9), 4, sampler=SequentialSampler(range(9)))
    seen['every'] = evaluated(folder, every, [count])
    return seen


def work(rank, folder, port):
    """What each process does, in one start."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', LOCAL_WORLD_SIZE='2')
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    # torchmetrics warns where a process has had nothing but repeated samples.
    warnings.filterwarnings('error', '.*was called before the ``update`` method')
    # The process group is made by the first of the engines.
    seen = {'launched': {name: launch(f'{folder}/{name}', name) for name in ('theirs', 'own')}}
    seen.update(evaluate_cases(folder))
    torch.save(seen, f'{folder}/{rank}')
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Where the processes have run."""
    folder = tmp_path_factory.mktemp('ranks')
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        port = one.getsockname()[1]
    context = mp.spawn(work, (str(folder), str(port)), nprocs=2, join=False)
    end = time.monotonic() + SECONDS
    while not context.join(timeout=1):
        if time.monotonic() > end:
            for process in context.processes:
                process.kill()
            pytest.fail(f'the processes were still running after {SECONDS} s')
    return folder


@pytest.fixture(scope='module')
def ranks(folder):
    """What both processes have seen."""
    return [torch.load(folder / str(rank), weights_only=False) for rank in (0, 1)]


def expected(size, kind):
    """Returns what torchmetrics computes from all data at once."""
    data = Points(size)
    size = {'dropping': size - size % 2, 'shrinking': size - 2}.get(kind, size)
    found = outputs(data.x[:size], data.y[:size])
    values = {}
    for name, (metric, inputs) in metrics().items():
        metric.update(**{key: found[value] for key, value in inputs.items() if takes(metric, key)})
        value = metric.compute()
        several = value.ndim == 1 and value.numel() > 1
        values.update({f'{name}_{i}': v for i, v in enumerate(value)} if several else {name: value})
    return values


def takes(metric, argument):
    return argument != 'indexes' or isinstance(metric, torchmetrics.RetrievalMAP)


@pytest.mark.parametrize('case', CASES, ids=str)
def test_two_processes_give_the_value_of_one(ranks, case):
    values = expected(case[0], case[2])
    assert case[0] < 3 or not any(value.isnan() for value in values.values() if value.ndim == 0)
    for found in ranks:
        assert found[case].keys() == values.keys()
        for name, value in values.items():
            if name == 'corr' and case[0] == 2:
                continue  # NaN in torchmetrics itself, from one sample in each process.
            torch.testing.assert_close(
                torch.as_tensor(found[case][name], dtype=torch.float32),
                value.float(),
                equal_nan=True,
                rtol=1e-4,
                atol=1e-5,
                msg=lambda text, name=name: f'{name}: {text}',
            )


def test_metrics_in_one_collection(ranks):
    values = expected(9, 'plain')
    names = {'accuracy', 'auc', 'map'}
    for found in ranks:
        assert found['group'] == pytest.approx({name: values[name].item() for name in names})


def test_what_is_no_tensor_with_an_entry_for_each_sample(ranks):
    x = Points(9).x[:, 0]
    for found in ranks:
        assert found['pairs']['pairs'] == pytest.approx(x.sum().item(), abs=1e-5)
        # Other samplers may repeat samples on purpose.
        assert found['every']['count'] == 2 * Points(9).y.sum().item()
    # 7 samples in batches of 2: the second rank has the batches (1, 3), (5, 0).
    parts = [[0, 2], [4, 6], [1, 3], [5, 0]]
    x = Points(7).x[:, 0]
    mean = sum(x[part].mean() for part in parts).item() / 4
    assert [found['mean']['mean'] for found in ranks] == pytest.approx([mean] * 2, abs=1e-5)
    assert ranks[0]['told'] == []
    assert len(ranks[1]['told']) == 1
    assert 'samples that the sampler repeats count as well' in ranks[1]['told'][0]


class Scoring(Net):
    """Puts out scores and targets."""

    def forward(self, data, mode, **kwargs):
        output = super().forward(data, mode, **kwargs)
        scores = self.fc(data['x']).softmax(1)[:, 1]
        return {**output, '_out': (scores, data['y'])}


def share(data, batch, samplers):
    sampler = DistributedSampler(data, shuffle=False) if samplers == 'own' else None
    return DataLoader(data, batch, sampler=sampler)


def launch(folder, samplers):
    """Trains, validates and evaluates with whole engines."""
    seen = {}
    for size, batch in ((7, 1), (9, 4), (10, 4)):
        hooks = [
            MetricHook(
                {'acc': 'BinaryAccuracy', 'auc': 'BinaryAUROC', 'mse': 'MeanSquaredError'},
                high_keys=['auc'],
                low_keys=['mse'],
            )
        ]
        one = engine(
            f'{folder}/{size}',
            Scoring(),
            stage(epochs=2, optimizer={'type': 'SGD', 'lr': 1.0}, validation={'interval': 1}),
            {
                'train': share(Bare(8), 4, samplers),
                'val': share(Bare(size), batch, samplers),
                'test': share(Bare(size + 1), batch, samplers),
            },
            hooks=hooks,
            logger=f'whole{size}',
        )
        one.launch()
        results = one.hooks['MetricHook'].results
        best = one.hooks['MetricHook'].state_dict()
        seen[size] = results, best, one.launch(eval='both')
    return seen


@pytest.mark.parametrize('samplers', ['theirs', 'own'])
def test_whole_engines(folder, ranks, samplers):
    """With samplers of the script's own, and with those that plain loaders are given."""
    first, second = (found['launched'][samplers] for found in ranks)
    assert first == second
    for size, (results, best, evaluation) in first.items():
        place = folder / samplers / str(size)
        by_epoch = [
            by_hand(Points(size), torch.load(place / f'epoch_{epoch}.pth')['state_dict'])
            for epoch in (1, 2)
        ]
        assert by_epoch[0] != by_epoch[1]
        assert results == pytest.approx(by_epoch[1], abs=1e-6)
        assert best['high']['auc'] == pytest.approx(max(v['auc'] for v in by_epoch), abs=1e-6)
        assert best['low']['mse'] == pytest.approx(min(v['mse'] for v in by_epoch), abs=1e-6)
        lines = [json.loads(line) for line in (place / 'metrics.json').read_text().splitlines()]
        lines = [line for line in lines if line['mode'] == 'val']
        assert len(lines) == 2
        for line, values in zip(lines, by_epoch, strict=True):
            assert {key: line[key] for key in values} == pytest.approx(values, abs=1e-6)
        state = torch.load(place / 'epoch_2.pth')['state_dict']
        for split, data in (('val', Points(size)), ('test', Points(size + 1))):
            assert evaluation[split] == pytest.approx(by_hand(data, state), abs=1e-6)


def by_hand(data, state):
    model = Net()
    model.load_state_dict(state)
    with torch.no_grad():
        scores = model.fc(data.x).softmax(1)[:, 1]
    return {
        'acc': tm.BinaryAccuracy()(scores, data.y).item(),
        'auc': tm.BinaryAUROC()(scores, data.y).item(),
        'mse': (scores - data.y).square().mean().item(),
    }
