"""Models of torch.compile, of other memory formats, and whatever needs addresses that stay."""

import contextlib
import itertools

import pytest
import torch
import torch._dynamo as dynamo
from tiny import Points, engine, stage
from torch import nn
from torch.utils.data import DataLoader

from nncore_compat import Hook

EPOCHS = 2


class Net(nn.Module):
    """A classifier that the compiler takes whole."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2))
        self.fc = nn.Linear(8, 2)

    def forward(self, data, mode, **kwargs):
        logits = self.fc(self.body(data['x']))
        loss = nn.functional.cross_entropy(logits, data['y'])
        return {'loss': loss, '_avg_factor': len(data['y']), '_out': logits.argmax(1)}


class Graphs(list):
    """A backend that keeps what it is given to compile, and runs it as it is."""

    def __call__(self, graph, inputs):
        self.append(graph)
        return graph.forward


@pytest.fixture
def graphs():
    dynamo.reset()
    dynamo.utils.counters.clear()
    yield Graphs()
    dynamo.reset()


def whole(model, backend):
    return torch.compile(model, backend=backend)


def part(model, backend):
    model.body = torch.compile(model.body, backend=backend)
    return model


def in_place(model, backend):
    model.compile(backend=backend)
    return model


WAYS = [whole, part, in_place]


def by_hand(model, context=contextlib.nullcontext):
    """A loop of torch alone: the weights after every epoch."""
    # Ragged last batches, for which the compiler makes a graph of any size.
    train, val = DataLoader(Points(), 4), DataLoader(Points(6), 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(EPOCHS):
        model.train()
        for data in train:
            with context():
                loss = model(data, mode='train')['loss']
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        for data in val:
            with torch.no_grad():
                model(data, mode='val')
        yield {name: value.clone() for name, value in model.state_dict().items()}


def build(folder, model, epochs=EPOCHS, **kwargs):
    sgd = {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9}
    stages = stage(epochs=epochs, optimizer=sgd, validation={'interval': 1})
    return engine(folder, model, [stages], **kwargs)


def same(state, other):
    assert state.keys() == other.keys()
    return all(torch.equal(state[name], other[name]) for name in state)


@pytest.mark.parametrize('amp', [None, 'bf16'])
@pytest.mark.parametrize('way', WAYS)
def test_as_many_graphs_as_in_a_loop_by_hand(way, amp, graphs, tmp_path):
    context = {
        None: contextlib.nullcontext,
        'bf16': lambda: torch.autocast('cpu', dtype=torch.bfloat16),
    }[amp]
    model = way(Net(), graphs)
    torch.manual_seed(1)
    *_, expected = by_hand(model, context)
    needed = len(graphs)
    graphs.clear()
    dynamo.reset()

    one = build(tmp_path, way(Net(), graphs), amp=amp)
    torch.manual_seed(1)
    one.launch()
    assert same(one.model.state_dict(), expected)
    assert not dynamo.utils.counters['graph_break']
    assert len(graphs) == needed > 2
    # Again: nothing is new to the compiler.
    one.launch(eval='val')
    assert len(graphs) == needed


@pytest.mark.parametrize('way', WAYS)
def test_checkpoints_keep_the_names_of_the_model(way, graphs, tmp_path):
    """As in nncore; a compiled model goes on from the file of one that is not, and back."""

    def frozen():
        model = Net()
        model.fc.bias.requires_grad_(False)
        return model

    torch.manual_seed(1)
    build(tmp_path, way(frozen(), graphs)).launch()
    first, last = (torch.load(tmp_path / f'epoch_{n}.pth')['state_dict'] for n in (1, 2))
    assert first.keys() == way(frozen(), graphs).state_dict().keys()
    for model in (way(frozen(), graphs), frozen()):
        resumed = build(tmp_path / 'resumed', model)
        resumed.resume(str(tmp_path / 'epoch_1.pth'))
        resumed.launch()
        assert resumed.iter == 6
        assert [p.requires_grad for p in model.parameters()] == [True] * 5 + [False]
        assert same(dict(enumerate(model.state_dict().values())), dict(enumerate(last.values())))

    torch.manual_seed(1)
    build(tmp_path / 'plain', frozen()).launch()
    resumed = build(tmp_path / 'resumed', way(frozen(), graphs))
    resumed.resume(str(tmp_path / 'plain' / 'epoch_1.pth'))
    resumed.launch()
    assert same(resumed.model.state_dict(), last)


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 4, 3)
        self.seen = set()
        self.to(memory_format=torch.channels_last)

    def forward(self, data, mode, **kwargs):
        features = self.conv(data['x'])
        self.seen |= {layout(data['x']), layout(features)}
        return {'loss': features.square().mean(), '_avg_factor': len(features), '_out': features}


def layout(tensor):
    return tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)


class Pictures(list):
    def evaluate(self, outputs, logger=None):
        assert outputs and all(map(layout, outputs))


def collate(rows):
    batch = torch.utils.data.default_collate(rows)
    return {'x': batch['x'].contiguous(memory_format=torch.channels_last)}


def test_channels_stay_last(tmp_path):
    """In parameters, gradients, momenta, batches and outputs, and through a checkpoint."""
    generator = torch.Generator().manual_seed(0)
    pictures = Pictures({'x': torch.randn(2, 5, 5, generator=generator)} for _ in range(8))

    def launch(folder, checkpoint=None):
        found = []
        loader = DataLoader(pictures, 4, collate_fn=collate)
        one = build(folder, Images(), data_loaders={'train': loader, 'val': loader})
        one.register_hook(['EvalHook', Watch(found)])
        if checkpoint:
            one.resume(str(checkpoint))
        one.launch()
        weight = one.model.conv.weight
        assert one.model.seen == {True}
        assert layout(weight) and layout(one.optimizer.state[weight]['momentum_buffer'])
        assert found and all(layout(grad) for grads in found for grad in grads if grad.dim() == 4)
        return weight

    class Watch(Hook):
        def __init__(self, found):
            super().__init__()
            self.found = found

        def before_stage(self, engine):
            engine.optimizer.register_step_pre_hook(
                lambda *_: self.found.append([p.grad for p in engine.model.parameters()])
            )

    weight = launch(tmp_path)
    saved = torch.load(tmp_path / 'epoch_1.pth')
    assert layout(saved['state_dict']['conv.weight'])
    assert layout(saved['optimizer']['state'][0]['momentum_buffer'])
    assert torch.equal(launch(tmp_path / 'resumed', tmp_path / 'epoch_1.pth'), weight)


def test_tensors_stay_where_they_are(tmp_path):
    """A captured graph writes to the addresses that it has seen, whatever is there by then."""
    places, grads = [], []

    class Addresses(Hook):
        def before_train_iter(self, engine):
            tensors = itertools.chain(engine.model.parameters(), engine.model.buffers())
            places.append([(t, t.data_ptr()) for t in tensors])

        def before_stage(self, engine):
            engine.optimizer.register_step_pre_hook(
                lambda *_: grads.extend([(p.grad, p.grad.data_ptr()) for p in parameters])
            )

    class Gradients(Hook):
        """Before OptimizerHook: the gradients of an iteration that has not stepped."""

        def before_train_iter(self, engine):
            if engine.iter_in_epoch % 2:
                grads.extend([(p.grad, p.grad.data_ptr()) for p in parameters])

    sgd = {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9}
    stages = [stage(epochs=2, optimizer=opt, grad_clip={'max_norm': 1}) for opt in (sgd, 'Adam')]
    loaders = {'train': DataLoader(Points(8), 2)}
    one = engine(tmp_path, Net(), stages, data_loaders=loaders)
    one.register_hook([{'type': 'OptimizerHook', 'interval': 2}, Gradients(), Addresses()])
    parameters = list(one.model.parameters())
    kept = [parameter.data_ptr() for parameter in parameters]
    one.launch()

    assert len(places) == 16
    assert all(
        a is b and p == q
        for row in places[1:]
        for (a, p), (b, q) in zip(row, places[0], strict=True)
    )
    assert [parameter.data_ptr() for parameter in one.model.parameters()] == kept
    # In each window, what the first backward has made is what the optimizer steps with.
    size = len(parameters)
    assert len(grads) == 2 * 8 * size
    for at in range(0, len(grads), 2 * size):
        before, after = grads[at : at + size], grads[at + size : at + 2 * size]
        assert all(a is b and p == q for (a, p), (b, q) in zip(before, after, strict=True))
