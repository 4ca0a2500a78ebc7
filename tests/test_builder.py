import pickle

import pytest
import torch
from oracle import both, needs_nncore, run
from torch.utils.data import DataLoader, DistributedSampler

from nncore_compat import HOOKS, build_dataloader, build_hook
from nncore_compat.builder import DATASETS, OPTIMIZERS, build_model, build_optimizer

LOADERS = """
import random
from types import SimpleNamespace
import numpy as np
import torch

if E.__name__ == 'nncore.engine':
    from nncore.dataset import DATASETS
else:
    from nncore_compat.builder import DATASETS

@DATASETS.register()
class Numbers(torch.utils.data.Dataset):
    def __init__(self, size=10, shape=(2,), kind='dict'):
        self.size, self.shape, self.kind = size, shape, kind
    def __len__(self):
        return self.size
    def __getitem__(self, index):
        x = torch.full(self.shape, float(index))
        noise = (random.random(), float(np.random.rand()), torch.rand(()))
        return {
            'dict': {'x': x, 'name': f'n{index}', 'y': (index, [float(index)]), 'noise': noise},
            'tuple': (x, index, noise),
            'list': [x, x + 0.5],
            'tensor': x,
            'int': index,
        }[self.kind]

def flat(value):
    if torch.is_tensor(value):
        return ['tensor', str(value.dtype), value.tolist()]
    if isinstance(value, dict):
        return ['dict', {k: flat(v) for k, v in value.items()}]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, [flat(v) for v in value]]
    return value

def describe(cfg, **kwargs):
    before = repr(cfg)
    loader = E.build_dataloader(cfg, **kwargs)
    random.seed(1); np.random.seed(1); torch.manual_seed(1)
    batches = [flat(batch) for batch in loader]
    sampler = loader.sampler
    facts = [type(sampler).__name__, loader.num_workers, loader.batch_size, loader.drop_last]
    if isinstance(sampler, torch.utils.data.DistributedSampler):
        facts += [sampler.seed, sampler.shuffle, sampler.drop_last, sampler.num_replicas]
    return facts, batches, torch.rand(()).item()

result = []
if __name__ == '__main__':
    for kind in ('dict', 'tuple', 'list', 'tensor', 'int'):
        result.append(describe({'type': 'Numbers', 'kind': kind, 'loader': {'batch_size': 4}}))
    for workers in (0, 2):
        loader = {'batch_size': 3, 'shuffle': True, 'drop_last': True, 'num_workers': workers}
        for seed in (None, 0, 77):
            result.append(describe({'type': 'Numbers', 'loader': loader}, seed=seed))
    result.append(describe({'type': 'Numbers'}, size=3))
    for seed in (None, 5):
        loader = {'batch_size': 3, 'shuffle': True}
        result.append(describe({'type': 'Numbers', 'loader': loader}, dist=True, seed=seed))
    result.append(describe({'type': 'ConcatDataset', 'datasets': [[1, 2], [3]]}, dist=False))
"""


def test_loaders_give_the_batches_of_nncore():
    real, ours = both(LOADERS)
    assert len(real) == 15
    assert real[7] == real[6] and real[10] != real[9]  # the seed reaches workers only
    assert ours == real


@pytest.fixture
def numbers():
    @DATASETS.register(name='Numbers')
    class Numbers(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return index

    yield Numbers
    DATASETS.pop('Numbers')


def test_the_callers_config_stays_as_it_is(numbers):
    cfg = {'type': 'Numbers', 'loader': {'shuffle': True, 'drop_last': True, 'batch_size': 2}}
    loader = build_dataloader(cfg, dist=True, seed=3)
    assert isinstance(loader.sampler, DistributedSampler)
    assert cfg == {
        'type': 'Numbers',
        'loader': {'shuffle': True, 'drop_last': True, 'batch_size': 2},
    }


def test_a_config_may_bring_its_own_collate(numbers):
    loader = build_dataloader({'type': 'Numbers', 'loader': {'collate_fn': tuple, 'batch_size': 4}})
    assert next(iter(loader)) == (0, 1, 2, 3)


def test_a_name_is_a_dataset(numbers):
    assert isinstance(build_dataloader('Numbers').dataset, numbers)


def test_loaders_pass_through():
    class Endless:
        dataset = ()

        def __iter__(self):
            while True:
                yield 1

    for loader in (DataLoader([1]), Endless()):
        assert build_dataloader(loader) is loader


def test_what_a_loader_needs_can_be_pickled(numbers):
    loader = build_dataloader({'type': 'Numbers', 'loader': {'num_workers': 2}}, seed=1)
    assert pickle.loads(pickle.dumps(loader.collate_fn)) is loader.collate_fn
    assert pickle.loads(pickle.dumps(loader.worker_init_fn)).keywords == {
        'num_workers': 2,
        'rank': 0,
        'seed': 1,
    }


@pytest.mark.parametrize('cfg', [None, 3, [1, 2], [{'type': 'Numbers'}]])
def test_what_is_no_loader(cfg):
    with pytest.raises(TypeError, match='a data loader must be a DataLoader'):
        build_dataloader(cfg)


def test_an_unknown_dataset(numbers):
    with pytest.raises(ValueError, match="unknown dataset 'Number'.*did you mean 'Numbers'"):
        build_dataloader('Number')
    with pytest.raises(KeyError, match='no .type.'):
        build_dataloader({'loader': {}})


def test_hooks_are_built_by_name_and_config():
    assert type(build_hook('TimerHook')) is HOOKS.get('TimerHook')
    built = build_hook({'type': 'CheckpointHook', 'interval': 3}, save_optimizer=False)
    assert type(built) is HOOKS.get('CheckpointHook')
    assert build_hook(built) is built
    assert [type(h).__name__ for h in build_hook(['EvalHook', built])] == [
        'EvalHook',
        'CheckpointHook',
    ]
    with pytest.raises(ValueError, match="unknown hook 'TimeHook': did you mean 'TimerHook'"):
        build_hook('TimeHook')


def test_every_hook_of_nncore_is_registered():
    real, ours = both('result = sorted(E.HOOKS.keys())')
    assert set(real) <= set(ours)
    assert len(real) > 8


def test_optimizers():
    weights = [torch.nn.Parameter(torch.zeros(2))]
    built = build_optimizer({'type': 'SGD', 'lr': 0.5}, weights)
    assert type(built) is torch.optim.SGD and built.defaults['lr'] == 0.5
    assert type(build_optimizer('Adam', weights)) is torch.optim.Adam
    assert build_optimizer(built, weights) is built
    with pytest.raises(ValueError, match=r"'SDG' \(stages\[2\]\.optimizer\.type\): did you mean"):
        build_optimizer({'type': 'SDG'}, weights, 'stages[2].optimizer')
    with pytest.raises(TypeError, match=r'stages\[2\]\.optimizer must be an optimizer.*got 3'):
        build_optimizer(3, weights, 'stages[2].optimizer')
    with pytest.raises(TypeError, match='must be an optimizer'):
        build_optimizer(['SGD'], weights)


def test_a_registered_optimizer_comes_before_torchs():
    @OPTIMIZERS.register()
    class SGD(torch.optim.SGD):
        pass

    try:
        weights = [torch.nn.Parameter(torch.zeros(2))]
        assert type(build_optimizer({'type': 'SGD', 'lr': 1}, weights)) is SGD
    finally:
        OPTIMIZERS.pop('SGD')


def test_models_without_nncore():
    module = torch.nn.Identity()
    assert build_model(module, anything=1) is module
    assert build_model([module]) is module
    assert build_model({'type': 'Linear', 'in_features': 1}, out_features=2).out_features == 2
    with pytest.raises(ValueError, match=r"unknown model 'Linea' \(model\.type\).*'Linear'"):
        build_model('Linea')
    for cfg in (None, 3, [], object()):
        with pytest.raises(TypeError, match=r'model must be a torch\.nn\.Module'):
            build_model(cfg)
    with pytest.raises(ValueError, match="'list', accepted: sequential, modulelist"):
        build_model(module, bundler='list')


@pytest.mark.parametrize('arguments', [{'dist': False}, {'dist': True}, {'bundler': 'modulelist'}])
def test_what_takes_nncore_names_the_extra(arguments):
    code = f"""
    import torch
    from nncore_compat.builder import build_model
    try:
        build_model(torch.nn.Identity(), **{arguments!r})
    except RuntimeError as error:
        result = str(error)
    """
    assert "pip install 'nncore-compat[nncore]'" in run('ours', code)


MODELS = """
import torch
import nncore.nn, nncore.parallel
from nncore.nn import MODELS
if E.__name__ == 'nncore.engine':
    from nncore.nn import build_model
else:
    from nncore_compat.builder import MODELS as OURS, build_model
    @OURS.register()
    class Mine(torch.nn.Identity):
        pass
    assert type(build_model('Mine', dist=False).module) is Mine

@MODELS.register()
class Times(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)
        self.factor = factor
    def forward(self, data, mode=None):
        return self.linear(data) * self.factor

result = []
for cfg, kwargs in [
    ({'type': 'Times', 'factor': 2}, {}),
    ('Times', {'factor': 3}),
    ([{'type': 'Times', 'factor': 2}, None, {'type': 'Times', 'factor': 3}], {}),
    ([{'type': 'Times', 'factor': 2}, {'type': 'ReLU'}], {'bundler': 'modulelist'}),
    ({'type': 'Times', 'factor': 2}, {'bundler': 'modulelist'}),
    ({'type': 'Times', 'factor': 2}, {'dist': False}),
    ({'type': 'Times', 'factor': 2}, {'dist': False, 'dp_cfg': {'dim': 1}}),
    ([{'type': 'Times', 'factor': 2}, {'type': 'Times', 'factor': 3}], {'dist': False}),
]:
    torch.manual_seed(2)
    model = build_model(cfg, **kwargs)
    result.append([type(model).__module__, repr(model), getattr(model, 'dim', None)])
    if kwargs.get('bundler') != 'modulelist':
        result.append(model(torch.ones(1, 2), mode='train').tolist())
"""


def test_models_with_nncore_are_nncores():
    real, ours = both(MODELS)
    assert len(real) == 14
    assert sum('NNDataParallel' in entry[1] for entry in real if len(entry) == 3) == 3
    assert ours == real


CONTAINERS = """
import torch
from nncore.parallel import DataContainer

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return {'x': DataContainer(torch.full((index + 1,), 1.0), pad_dims=1), 'i': index,
                'meta': DataContainer({'name': index}, cpu_only=True)}

if E.__name__ == 'nncore.engine':
    from nncore.dataset import DATASETS
else:
    from nncore_compat.builder import DATASETS
DATASETS.register(Data)
result = []
for batch in E.build_dataloader({'type': 'Data', 'loader': {'batch_size': 2}}):
    result.append([type(batch['x']).__name__, [x.tolist() for x in batch['x'].data],
                   batch['meta'].data, batch['meta'].cpu_only, batch['i'].tolist()])
"""


def test_data_containers_are_collated_by_nncore():
    real, ours = both(CONTAINERS)
    assert len(real) == 2 and real[0][0] == 'DataContainer'
    assert ours == real


REGISTERED = """
import nncore.nn, nncore.dataset, nncore.optim, torch
from nncore_compat import build_dataloader
from nncore_compat.builder import build_model, build_optimizer

@nncore.dataset.DATASETS.register()
class Theirs(torch.utils.data.Dataset):
    def __init__(self): pass
    def __len__(self): return 1
    def __getitem__(self, index): return 1

weights = [torch.nn.Parameter(torch.zeros(2))]
result = [
    type(build_dataloader('Theirs').dataset) is Theirs,
    type(build_optimizer({'type': 'Lamb'}, weights)) is nncore.optim.Lamb,
    type(build_model({'type': 'FocalLoss'})).__module__.startswith('nncore.'),
]
"""


@needs_nncore
def test_registries_of_a_loaded_nncore_are_searched():
    assert run('ours', REGISTERED) == [True, True, True]
