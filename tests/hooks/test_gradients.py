"""What is done to all gradients at once, and which there are."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from nncore_compat._parameters import first, with_grad
from nncore_compat.hooks._gradients import divide

from .scenarios import bits

WINDOWS = (2, 3, 4, 5, 7, 10, 64, 100, 1001)
TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64)


def test_averages_are_nncores_bit_for_bit(reference, ours):
    theirs, mine = reference['averages'], ours('averages')
    assert len(theirs) == 9
    for name in theirs:
        assert mine[name] == theirs[name], name


def numbers():
    """Numbers of all sizes, of all types and some layouts."""
    whole = torch.randn(4, 3, 7, 50, dtype=torch.float64) * torch.logspace(-44, 38, 50).double()
    found = [whole.to(dtype) for dtype in TYPES]
    found += [whole.float().to(memory_format=torch.channels_last), whole.float()[::2, 1:]]
    return [*found, torch.tensor(1.7), torch.tensor([0.0, -0.0, torch.inf]), torch.zeros(0, 3)]


@pytest.mark.parametrize('window', WINDOWS)
def test_quotients_are_those_of_each_gradient_alone(window):
    grads = numbers()
    expected = [bits(grad.clone().div_(window)) for grad in grads]
    divide(grads, window)
    assert [bits(grad) for grad in grads] == expected


@pytest.mark.filterwarnings('ignore:Sparse invariant')
def test_gradients_of_other_kinds_are_divided_one_by_one(monkeypatch):
    monkeypatch.delattr(torch, '_foreach_div_')

    class Own(torch.Tensor):
        pass

    sparse = torch.sparse_coo_tensor([[0, 2]], [3.0, 5.0], (4,))
    for odd in (sparse, torch.ones(3).as_subclass(Own), torch.ones(3, device='meta')):
        grads = [torch.tensor([1.0, 7.0]), odd]
        divide(grads, 3)
        assert grads[0].tolist() == torch.tensor([1 / 3, 7 / 3]).tolist()
        assert grads[1] is odd
    assert sparse.coalesce().values().tolist() == torch.tensor([1.0, 5 / 3]).tolist()


def test_many_gradients_are_divided_by_one_call(monkeypatch):
    calls = []
    monkeypatch.setattr(torch, '_foreach_div_', lambda grads, divisor: calls.append(len(grads)))
    divide([torch.ones(2) for _ in range(50)], 3)
    assert calls == [50]


class Block(nn.Module):
    """Parameters of its own, before and behind those of a layer; some are None."""

    def __init__(self, layer):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.layer = layer
        self.nothing = None
        self.register_parameter('absent', None)
        self.shift = nn.Parameter(torch.ones(2))


def tied():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(Block(layer), Block(nn.Linear(2, 2, bias=False)), layer)
    model[1].layer.weight = layer.weight
    model.add_module('self', None)
    return model


def cyclic():
    model = tied()
    model[0].layer.parent = nn.ModuleList()
    model[0].layer.parent.append(model)
    return model


def reparametrised():
    model = nn.Sequential(nn.Linear(2, 3), nn.Conv2d(1, 2, 3), nn.LSTM(2, 3, 2))
    parametrizations.weight_norm(model[0])
    prune.random_unstructured(model[1], 'weight', 0.5)
    return nn.Sequential(model, nn.ParameterList([nn.Parameter(torch.ones(2))]))


def own_order():
    class Reversed(nn.Sequential):
        def named_parameters(self, *args, **kwargs):
            yield from reversed(list(super().named_parameters(*args, **kwargs)))

    return Reversed(nn.Linear(2, 2), nn.Linear(2, 2))


def own_order_of_the_object():
    model = tied()
    kept = list(model.parameters())[2:4]
    model.parameters = lambda recurse=True: iter(kept)
    return model


def own_modules_within():
    class Closed(nn.Sequential):
        def named_modules(self, memo=None, prefix='', remove_duplicate=True):
            yield prefix, self

    return nn.Sequential(nn.Linear(2, 2), Closed(nn.Linear(2, 2)), nn.Linear(2, 2))


def scripted():
    return torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 3))))


def wrapped():
    return nn.DataParallel(tied())


def everything(model, seen=None):
    """All parameters, whatever the modules say."""
    seen = set() if seen is None else seen
    if model in seen:
        return []
    seen.add(model)
    found = [param for param in model._parameters.values() if param is not None]
    children = [child for child in model._modules.values() if child is not None]
    return found + [param for child in children for param in everything(child, seen)]


@pytest.mark.parametrize(
    'make',
    [
        tied,
        cyclic,
        reparametrised,
        own_order,
        own_order_of_the_object,
        own_modules_within,
        scripted,
        wrapped,
        lambda: nn.Linear(2, 2),
        nn.Module,
    ],
)
@pytest.mark.filterwarnings('ignore')
def test_the_parameters_are_those_of_the_model_in_its_order(make):
    model = make()

    def check():
        expected = [p for p in model.parameters() if p.requires_grad and p.grad is not None]
        assert [*map(id, with_grad(model))] == [*map(id, expected)]
        assert first(model) is next(model.parameters(), None)
        return len(expected)

    # Some have a gradient and do not count.
    for param in everything(model):
        param.grad = torch.zeros_like(param)
    params = list(model.parameters())
    assert check() == len(params)
    # As hooks change them between two steps.
    for param in params[::3]:
        param.requires_grad_(False)
    for param in params[1::3]:
        param.grad = None
    assert check() == len(params[2::3])


def test_parameters_may_come_and_go():
    model = tied()
    model[0].late = nn.Parameter(torch.ones(1))
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    assert model[0].late in {*with_grad(model)}
    del model[0].late
    model[1] = nn.Linear(1, 1)
    expected = [p for p in model.parameters() if p.grad is not None]
    assert [*map(id, with_grad(model))] == [*map(id, expected)]
