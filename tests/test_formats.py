"""Checkpoints of every kind read as one form; the files are made by their own makers."""

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from fixtures import lightning_progress, old_nncore
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from tiny import engine
from torch import nn
from torch.utils.data import DataLoader

from nncore_compat import _formats
from nncore_compat._prefixes import rename, wrapper

FIXTURES = Path(__file__).parent / 'fixtures'
OLD = FIXTURES / 'nncore_0.3.8_epoch_1.pth'
QUIET = {
    'logger': False,
    'enable_progress_bar': False,
    'enable_model_summary': False,
    'enable_checkpointing': False,
    'accelerator': 'cpu',
}


class Module(LightningModule):
    """A model with a wrapper's name before its weights, and more weights beside it."""

    def __init__(self, optimizers=1):
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.register_buffer('seen', torch.zeros(1))
        self.optimizers_wanted = optimizers
        self.automatic_optimization = optimizers == 1

    def training_step(self, batch, batch_idx):
        return self.model(batch).square().sum() if self.automatic_optimization else None

    def configure_optimizers(self):
        made = [torch.optim.Adam(self.parameters(), lr=0.1) for _ in range(self.optimizers_wanted)]
        return made[0] if len(made) == 1 else made


def lightning_file(path, *callbacks, optimizers=1):
    """A file of Lightning's, saved after two epochs of two batches, and its module."""
    module = Module(optimizers)
    trainer = Trainer(max_epochs=2, callbacks=list(callbacks), **QUIET)
    trainer.fit(module, DataLoader(torch.arange(8.0).view(4, 2), 2))
    trainer.save_checkpoint(path)
    return torch.load(path), module


def same(one, other):
    """Tell whether two nests of dicts, lists, numbers and tensors are equal to the bit."""
    if torch.is_tensor(one):
        return torch.is_tensor(other) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_a_file_of_nncore_0_3_resumes(tmp_path):
    files = [torch.load(FIXTURES / f'nncore_0.3.8_epoch_{n}.pth') for n in (1, 2)]
    assert [_formats.kind(file) for file in files] == ['nncore', 'nncore']
    assert same(_formats.training(files[0]), files[0])
    assert _formats.position(files[0]) == (1, 0, 4, 4)

    one = engine(tmp_path, old_nncore.Net(), old_nncore.STAGES, {'train': old_nncore.loader()})
    one.load_checkpoint(str(OLD), strict=True)
    assert same(dict(one.model.state_dict()), dict(files[0]['state_dict']))
    one.resume(OLD, strict=True)
    assert (one.epoch, one.iter) == (1, 4)
    assert same(one.optimizer.state_dict(), files[0]['optimizer'])
    one.launch()
    # Another build of torch may round otherwise.
    torch.testing.assert_close(dict(one.model.state_dict()), dict(files[1]['state_dict']))
    torch.testing.assert_close(one.optimizer.state_dict()['state'], files[1]['optimizer']['state'])


@pytest.mark.parametrize('moment', lightning_progress.MOMENTS)
def test_how_far_lightning_has_come(moment):
    by_version = {
        version: moments[moment]
        for version, moments in json.loads(
            (FIXTURES / 'lightning_progress.json').read_text()
        ).items()
    }
    by_version['installed'] = lightning_progress.saved(moment)
    batches = lightning_progress.BATCHES
    for version, files in by_version.items():
        assert len(files) > 2
        for file in files:
            epochs, done = divmod(file['seen'], batches)
            seen = file['seen']
            if version == '1.5.10':
                # It counts the running epoch as done, and steps only; after the fit, one too many.
                seen = file['global_step']
                epochs, done = file['epoch'], 0
            assert _formats.position(file) == (epochs, done, seen, file['global_step']), version


def test_a_file_of_lightning_is_read_as_one_of_nncore(tmp_path):
    file, module = lightning_file(tmp_path / 'a.ckpt')
    read = _formats.training(file)
    assert _formats.kind(file) == 'lightning'
    assert read['meta'] == {'epoch': 2, 'iter': 4, 'stages': None}
    assert same(read['state_dict'], dict(module.state_dict()))
    assert same(read['optimizer'], module.optimizers().optimizer.state_dict())

    stripped = _formats.training(file, module.model.state_dict())['state_dict']
    assert list(stripped) == ['seen', *module.model.state_dict()]
    del stripped['seen']
    module.model.load_state_dict(stripped, strict=True)


def test_averages_are_not_trained_on(tmp_path):
    weights = {}

    class Look(EMAWeightAveraging):
        def on_train_batch_end(self, trainer, module, *args):
            super().on_train_batch_end(trainer, module, *args)
            weights.update({k: v.clone() for k, v in module.state_dict().items()})
            trainer.save_checkpoint(tmp_path / 'a.ckpt')

    lightning_file(tmp_path / 'end.ckpt', Look(decay=0.5))
    file = torch.load(tmp_path / 'a.ckpt')
    assert same(_formats.training(file)['state_dict'], weights)
    assert not same(file['state_dict'], weights)


@pytest.mark.parametrize(
    ('change', 'error', 'words'),
    [
        (lambda file: [1], RuntimeError, 'lacks meta.epoch, meta.iter, meta.stages, state_dict'),
        (lambda file: file['state_dict'], RuntimeError, 'lacks meta.epoch'),
        (lambda file: without(file, 'loops'), RuntimeError, 'lacks loops.fit_loop'),
        (lambda file: {**file, 'loops': {'fit_loop': {}}}, RuntimeError, 'lacks loops.fit_loop'),
        (lambda file: without(file, 'state_dict'), RuntimeError, 'lacks state_dict'),
        (lambda file: without(file, 'optimizer_states'), KeyError, 'optimizer not found in.*x.pt'),
        (lambda file: {**file, 'optimizer_states': []}, KeyError, 'optimizer not found in.*x.pt'),
        (lambda file: {**file, 'meta': {'epoch': -1, 'iter': 0, 'stages': []}}, RuntimeError, '-1'),
    ],
)
def test_what_is_lacking(tmp_path, change, error, words):
    file, _ = lightning_file(tmp_path / 'a.ckpt')
    with pytest.raises(error, match=words):
        _formats.training(change(file), name='x.pt')


def test_several_optimizers_are_refused(tmp_path):
    file, _ = lightning_file(tmp_path / 'a.ckpt', optimizers=2)
    with pytest.raises(RuntimeError, match=r'x.pt.*states of 2 optimizers'):
        _formats.training(file, name='x.pt')


def without(file, key):
    return {k: v for k, v in file.items() if k != key}


def test_kinds():
    weights = nn.Linear(1, 1).state_dict()
    for checkpoint, kind in (
        ({'nncore_compat': {}, 'meta': {}, 'pytorch-lightning_version': '2.6'}, 'ours'),
        ({'pytorch-lightning_version': '2.6', 'state_dict': weights}, 'lightning'),
        ({'state_dict': weights}, 'nncore'),
        (weights, 'weights'),
        ({'meta': torch.zeros(1)}, 'weights'),
        ({}, 'unknown'),
        ({'a': 1}, 'unknown'),
        ([weights], 'unknown'),
        (None, 'unknown'),
    ):
        assert _formats.kind(checkpoint) == kind


def test_states_under_names_are_put_under_indices():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    groups = [{'params': model[1].parameters(), 'lr': 0.5}, {'params': model[0].parameters()}]
    optimizer = torch.optim.Adam(groups, lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()

    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    named = get_optimizer_state_dict(model, optimizer)
    assert set(named['state']) == {'0.weight', '0.bias', '1.weight', '1.bias'}
    assert same(_formats.by_index(named)['state'], optimizer.state_dict()['state'])
    assert same(_formats.by_index(named), optimizer.state_dict())
    assert same(_formats.by_index(optimizer.state_dict()), optimizer.state_dict())


class Holder(nn.Module):
    def __init__(self, name, model):
        super().__init__()
        self.add_module(name, model)
        self.scale = nn.Parameter(torch.ones(1))


def small():
    return nn.Sequential(OrderedDict(conv=nn.Linear(2, 3), bn=nn.BatchNorm1d(3)))


@pytest.mark.parametrize(
    'wrap',
    [
        nn.DataParallel,
        torch.compile,
        lambda model: nn.DataParallel(torch.compile(model)),
        lambda model: torch.compile(nn.DataParallel(model)),
        lambda model: Holder('model', model),
        lambda model: Holder('whatever', Holder('net', nn.DataParallel(model))),
        lambda model: model,
    ],
)
def test_names_of_wrapped_models_are_stripped(wrap):
    model = small()
    wrapped = wrap(model).state_dict()
    found = _formats.strip(wrapped, model.state_dict())
    rest = {name for name in found if name.endswith('scale')}
    assert {name: found[name] for name in found if name not in rest}.keys() == (
        model.state_dict().keys()
    )
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())
    versions = found._metadata
    assert {name: versions[name] for name in model.state_dict()._metadata} == (
        model.state_dict()._metadata
    )


def test_names_are_brought_to_those_of_a_compiled_model():
    compiled = torch.compile(small())
    plain = small().state_dict()
    compiled.load_state_dict(_formats.strip(plain, compiled.state_dict()), strict=True)
    inside = Holder('model', torch.compile(small()))
    found = _formats.strip(Holder('model', small()).state_dict(), inside.state_dict())
    inside.load_state_dict(found, strict=True)
    versions = inside.state_dict()._metadata
    assert found._metadata.items() <= versions.items() and 'model._orig_mod.bn' in versions


def test_a_counter_that_lacks_is_noticed():
    wrapped = nn.DataParallel(small()).state_dict()
    del wrapped['module.bn.num_batches_tracked']
    model = small()
    # Of weights without versions torch takes it that they are older than the counter.
    with pytest.raises(RuntimeError, match='num_batches_tracked'):
        model.load_state_dict(_formats.strip(wrapped, model.state_dict()))


def test_names_that_fit_nothing_stay():
    model = small()
    other = {'head.weight': torch.zeros(1), 'model.bn.weight': torch.zeros(1)}
    assert same(_formats.strip(other, model.state_dict()), other)
    twice = {
        **rename(model.state_dict(), add='teacher.'),
        **rename(model.state_dict(), add='model.'),
    }
    found = _formats.strip(twice, model.state_dict())
    assert set(model.state_dict()) < set(found) and 'teacher.bn.weight' in found


def test_wrappers_of_all_names():
    names = small().state_dict()
    assert wrapper(rename(names, add='module._orig_mod.')) == 'module._orig_mod.'
    assert wrapper(rename(names, add='model.')) == ''
    assert wrapper(rename(names, add='model.'), ('model.',)) == 'model.'
    assert wrapper(names) == wrapper({}) == ''
