"""The model's graph in TensorBoard, and what writing it leaves alone."""

import random
from collections import namedtuple

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

import nncore_compat as E

from .fake_engine import FakeEngine, Linear, loaders, sgd

Pair = namedtuple('Pair', 'image target')


class Net(torch.nn.Module):
    """Takes a dict of several kinds of things; one part is frozen."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(3, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.drop = torch.nn.Dropout(0.5)
        self.frozen = torch.nn.BatchNorm1d(4)
        self.frozen.eval()
        self.modes = []

    def train(self, mode=True):
        pytest.fail('the modes of the model are its own')

    def forward(self, data, mode='train', **kwargs):
        self.modes.append(mode)
        image, target = data.pop('pair')
        hidden = self.frozen(self.drop(self.norm(self.first(image.mul_(2)))))
        loss = (hidden.sum(1) - target).square().mean()
        return {'loss': loss, '_out': {'hidden': [hidden]}, '_avg_factor': len(data['names'])}


class Pairs(torch.utils.data.Dataset):
    """Samples with random noise from three sources; notes whether it was read."""

    was_read = False

    def __len__(self):
        return 6

    def __getitem__(self, index):
        self.was_read = True
        noise = random.random() + np.random.rand() + torch.rand(())
        return {'pair': Pair(torch.ones(3) * index + noise, float(index)), 'names': str(index)}


def write(source, folder, model=None, given=None, **kwargs):
    engine = FakeEngine(E.Buffer(), [], given or loaders(), [], model, str(folder))
    engine.kwargs = kwargs
    engine.writer = E.hooks.TensorboardWriter(input_to_model=source)
    engine.writer.open(engine)
    engine.writer.close(engine)
    return engine


def nodes(folder):
    log = EventAccumulator(str(folder / 'tf_logs')).Reload()
    return {node.name for node in log.Graph().node} if log.Tags()['graph'] else set()


def pairs(**kwargs):
    return DataLoader(Pairs(), batch_size=3, shuffle=True, **kwargs)


@pytest.mark.parametrize('kind', ['batch', 'loader', 'name'])
def test_a_graph_of_each_kind_of_input(kind, tmp_path, capsys):
    given = {'train': pairs(), 'val': pairs(), 'test': pairs()}
    source = {'batch': next(iter(pairs())), 'loader': pairs(), 'name': 'test'}[kind]
    model = Net()
    engine = write(source, tmp_path, model, given)
    assert engine.lines == []
    assert any('Linear[first]' in name for name in nodes(tmp_path))
    assert any('BatchNorm1d[norm]' in name for name in nodes(tmp_path))
    assert set(model.modes) == {'test' if kind == 'name' else 'train'}
    assert capsys.readouterr().out == ''


def states(loader):
    generators = [loader.generator, loader.sampler.generator]
    return [
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        np.random.get_state()[2:],
        random.getstate(),
        [g.get_state().tolist() for g in generators if g is not None],
    ]


@pytest.mark.parametrize('own_generator', [False, True])
def test_the_run_is_left_as_it_was(own_generator, tmp_path):
    generator = torch.Generator().manual_seed(9) if own_generator else None
    loader = pairs(generator=generator, num_workers=2, persistent_workers=True)
    model = Net()
    before = states(loader)
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    buffers = {k: v.data_ptr() for k, v in model.named_buffers()}
    modes = {name: module.training for name, module in model.named_modules()}

    engine = write('train', tmp_path, model, {'train': loader})
    assert nodes(tmp_path)
    assert engine.lines == []
    assert states(loader) == before
    torch.testing.assert_close(dict(model.state_dict()), weights, rtol=0, atol=0)
    assert {k: v.data_ptr() for k, v in model.named_buffers()} == buffers
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert modes['norm'] and not modes['frozen']
    assert all(p.grad is None for p in model.parameters())
    assert loader._iterator is None
    # The workers have read it: what a data set opens in the main process may not survive a fork.
    assert not loader.dataset.was_read


def test_buffers_that_change_in_evaluation_are_restored(tmp_path):
    class Counting(Linear):
        def __init__(self):
            super().__init__()
            self.register_buffer('seen', torch.zeros(2))
            self.register_buffer('last', torch.zeros(2))

        def forward(self, data, mode='train', **kwargs):
            self.seen += 1
            self.last = data.sum(0)[:2]
            return super().forward(data, mode)

    model = Counting()
    seen, last = model.seen, model.last
    write('train', tmp_path, model)
    assert nodes(tmp_path)
    assert model.seen is seen and model.last is last
    assert seen.tolist() == last.tolist() == [0, 0]


def test_the_given_batch_is_left_as_it_was(tmp_path):
    batch = next(iter(pairs()))
    image = batch['pair'].image.clone()
    write(batch, tmp_path, Net())
    assert set(batch) == {'pair', 'names'}
    assert torch.equal(batch['pair'].image, image)


@pytest.mark.parametrize('error', [ValueError('no luck'), KeyError('x'), RuntimeError('bad')])
def test_a_model_that_cannot_be_traced_is_only_reported(error, tmp_path, capsys):
    class Failing(Linear):
        def forward(self, data, mode='train', **kwargs):
            if torch.jit.is_tracing():
                raise error
            return super().forward(data, mode)

    model = Failing()
    engine = write('train', tmp_path, model)
    assert len(engine.lines) == 1
    assert engine.lines[0].startswith('WARNING: TensorBoard gets no graph')
    assert f'{type(error).__name__}: {error}' in engine.lines[0]
    assert nodes(tmp_path) == set()
    assert model.training
    assert capsys.readouterr().out == ''


def test_arguments_of_the_launch_reach_the_model(tmp_path):
    class Scaled(Linear):
        def forward(self, data, mode='train', *, scale, **kwargs):
            return super().forward(data * scale, mode)

    assert write('train', tmp_path, Scaled(), scale=2).lines == []
    assert nodes(tmp_path)


def test_an_unknown_loader(tmp_path):
    with pytest.raises(KeyError, match=r"'trian'.*input_to_model.*'train', 'val', 'test'"):
        write('trian', tmp_path)


def test_training_goes_on_in_the_same_way(tmp_path):
    def weights(source):
        torch.manual_seed(7)
        given = loaders(shuffle=True)
        writers = [{'type': 'TensorboardWriter', 'input_to_model': source}]
        hooks = [E.OptimizerHook(), E.EventWriterHook(writers=writers)]
        stages = [dict(epochs=2, optimizer=sgd)]
        engine = FakeEngine(E.Buffer(), hooks, given, stages, work_dir=str(tmp_path))
        torch.manual_seed(8)
        return engine.run().model.state_dict()

    torch.testing.assert_close(weights('train'), weights(None), rtol=0, atol=0)
