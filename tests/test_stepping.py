"""Steps of torch's optimizers, beside those that torch takes by itself."""

import copy
import functools
import warnings

import pytest
import torch
from torch import nn, optim
from torch.optim import lr_scheduler
from torch.optim import optimizer as torch_optimizer

from nncore_compat import _amp, _stepping
from nncore_compat._stepping import zero_grad

# Settings of each optimizer, and what a step of theirs is made of.
TABLE = {
    'SGD': [
        {},
        {'weight_decay': 1e-3},
        {'momentum': 0.9},
        {'momentum': 0.9, 'weight_decay': 1e-3, 'nesterov': True},
        {'momentum': 0.9, 'dampening': 0.1, 'maximize': True},
    ],
    'Adam': [{}, {'weight_decay': 1e-2}, {'amsgrad': True}, {'maximize': True}],
    'AdamW': [{}, {'amsgrad': True}, {'weight_decay': 0.1, 'betas': (0.8, 0.95)}],
    'RMSprop': [{}, {'centered': True, 'momentum': 0.9, 'weight_decay': 1e-3}],
    'Adagrad': [{}, {'lr_decay': 0.01, 'weight_decay': 1e-3, 'initial_accumulator_value': 0.1}],
    'Adamax': [{}, {'weight_decay': 1e-2, 'maximize': True}],
    'Adadelta': [{}, {'weight_decay': 1e-2}],
}
CASES = [(name, cfg) for name, cfgs in TABLE.items() for cfg in cfgs]


def tensors(dtype):
    """Parameters of many shapes and layouts."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(shape, generator=generator).to(dtype)

    found = [draw(64, 7), draw(1), draw(), draw(33), draw(129, 31), draw(17, 5).t(), draw(0, 3)]
    found += [draw(3, 4, 5)[:, ::2], draw(4, 3, 5, 5).to(memory_format=torch.channels_last)]
    return [nn.Parameter(tensor) for tensor in (*found, draw(1001), draw(2, 3))]


def train(make, take, dtype=torch.float32, steps=25):
    """Take steps along the same gradients; returns the optimizer and what it had to begin with."""
    params = tensors(dtype)
    optimizer = make(params)
    generator = torch.Generator().manual_seed(2)
    for step in range(steps):
        for index, param in enumerate(params):
            grad = torch.randn(param.shape, generator=generator).to(dtype)
            grad = grad * 1e-7 if index % 3 == 1 else grad
            # Not all have one, not even at the first step.
            param.grad = None if (step + index) % 7 == 0 else grad
        for group in optimizer.param_groups:
            group['lr'] = 0.02 * (1 - step / steps)
        take(optimizer)
    return optimizer


def default(optimizer):
    optimizer.step()


def ours(optimizer):
    _amp.step(optimizer, torch.amp.GradScaler('cuda', enabled=False), lambda: None)


def same(a, b):
    """Whether two trees are equal to the last bit, types and layouts included."""
    if type(a) is not type(b):
        return False
    if torch.is_tensor(a):
        return (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride()) and torch.equal(
            a.detach().contiguous().reshape(-1).view(torch.uint8),
            b.detach().contiguous().reshape(-1).view(torch.uint8),
        )
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def held(optimizer):
    return [group['params'] for group in optimizer.param_groups], optimizer.state_dict()


@pytest.fixture
def taken(monkeypatch):
    """What `foreach` was at each call of a step, group by group."""
    seen = []

    def spy(original, optimizer, call):
        def watched():
            seen.append([group.get('foreach') for group in optimizer.param_groups])
            return call()

        return original(optimizer, watched)

    monkeypatch.setattr(_stepping, 'step', functools.partial(spy, _stepping.step))
    return seen


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(('name', 'cfg'), CASES, ids=map(str, CASES))
def test_parameters_and_state_are_torchs_bit_for_bit(name, cfg, dtype, taken):
    make = functools.partial(getattr(optim, name), lr=0.02, **cfg)
    mine, theirs = train(make, ours, dtype), train(make, default, dtype)
    assert same(held(mine), held(theirs))
    assert taken == [[True]] * 25


def test_the_table_is_whole():
    assert {cls.__name__ for cls in _stepping._ALIKE} == {*TABLE}


@pytest.mark.parametrize('name', ['NAdam', 'RAdam', 'ASGD', 'Rprop'])
def test_others_are_left_to_torch(name, taken):
    make = functools.partial(getattr(optim, name), lr=0.02)
    assert same(held(train(make, ours, steps=5)), held(train(make, default, steps=5)))
    assert taken == [[None]] * 5


class Own(optim.SGD):
    """Somebody's."""


def few(params):
    return optim.SGD(params[:4], lr=0.1)


def few_that_train(params):
    for param in params[7:]:
        param.requires_grad_(False)
    return optim.SGD(params, lr=0.1)


def large(params):
    return optim.SGD([*params, nn.Parameter(torch.zeros(2**20))], lr=0.1)


def with_tensor(params):
    return optim.Adam(params, lr=torch.tensor(0.1))


def with_hook(params):
    optimizer = optim.SGD(params, lr=0.1)
    optimizer.register_step_pre_hook(lambda *args: None)
    return optimizer


def with_scheduler(params):
    optimizer = optim.SGD(params, lr=0.1)
    lr_scheduler.StepLR(optimizer, 5)
    return optimizer


@pytest.mark.parametrize(
    ('make', 'dtype', 'expected'),
    [
        (lambda params: Own(params, lr=0.1), torch.float32, [None]),
        (lambda params: optim.SGD(params, lr=0.1, foreach=False), torch.float32, [False]),
        (lambda params: optim.SGD(params, lr=0.1, fused=False), torch.float32, [None]),
        (lambda params: optim.SGD(params, lr=0.1, fused=True), torch.float32, [None]),
        (lambda params: optim.SGD(params, lr=0.1, differentiable=True), torch.float32, [None]),
        # In less than 32 bits foreach rounds otherwise.
        (lambda params: optim.SGD(params, lr=0.1, momentum=0.9), torch.bfloat16, [None]),
        (few, torch.float32, [None]),
        (few_that_train, torch.float32, [None]),
        (large, torch.float32, [None]),
        (with_tensor, torch.float32, [None]),
        (with_hook, torch.float32, [None]),
        (with_scheduler, torch.float32, [None]),
    ],
)
def test_what_somebody_has_chosen_or_does_not_pay_stays(make, dtype, expected, taken):
    optimizer = make(tensors(dtype))
    for group in optimizer.param_groups:
        for param in group['params']:
            param.grad = torch.ones_like(param) if param.requires_grad else None
            param.requires_grad_(not group['differentiable'])
    ours(optimizer)
    assert taken == [expected]


def test_sparse_gradients_are_left_to_torch(taken):
    model = nn.ModuleList([nn.Embedding(9, 2, sparse=True), *(nn.Linear(2, 2) for _ in range(9))])
    optimizer = optim.SGD([{'params': m.parameters()} for m in (model[0], model[1:])], lr=0.1)
    everything = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        loss = model[0](torch.tensor([1, 3])).sum()
        sum((m(torch.ones(2)).sum() for m in model[1:]), loss).backward()
        ours(optimizer)
        ours(everything)
        zero_grad(everything)
    assert taken == [[None, True], [None]] * 2


def test_nothing_is_left_of_it():
    make = functools.partial(optim.Adam, lr=0.1)
    optimizer = train(make, ours, steps=1)
    before = copy.deepcopy(optimizer.state_dict()['param_groups'])

    def fail():
        assert optimizer.param_groups[0]['foreach'] is True
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        _stepping.step(optimizer, fail)
    assert optimizer.state_dict()['param_groups'] == before
    assert before[0]['foreach'] is None


def test_who_looks_before_the_step_sees_what_was_given(taken):
    optimizer = train(functools.partial(optim.Adam, lr=0.1), default, steps=1)
    seen = []
    _amp.step(optimizer, None, lambda: seen.append(optimizer.param_groups[0]['foreach']))
    assert (seen, taken) == ([None], [[True]])


class Counted(optim.SGD):
    cleared = 0

    def zero_grad(self, set_to_none=True):
        self.cleared += 1
        super().zero_grad(set_to_none)


class Wrapper:
    """Has an optimizer's methods, and is none."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def __getattr__(self, name):
        return getattr(self.optimizer, name)


def test_gradients_are_dropped_as_the_optimizer_drops_them():
    params = tensors(torch.float32)
    counted = Counted(params, lr=0.1)
    patched = optim.Adam(params, lr=0.1)
    patched.zero_grad = counted.zero_grad
    for given in (optim.SGD(params, lr=0.1), counted, patched, Wrapper(counted)):
        for param in params:
            param.grad = torch.ones_like(param)
        zero_grad(given)
        assert [param.grad for param in params] == [None] * len(params)
    assert counted.cleared == 3


def test_a_profile_has_its_row():
    optimizer = optim.SGD(tensors(torch.float32), lr=0.1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        zero_grad(optimizer)
    assert 'Optimizer.zero_grad#SGD.zero_grad' in {event.name for event in seen.events()}


def test_a_profile_has_the_row_of_a_step():
    optimizer = optim.SGD(tensors(torch.float32), lr=0.1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        _amp.step(optimizer, None, lambda: None)
    assert 'Optimizer.step#SGD.step' in {event.name for event in seen.events()}


class Homemade(optim.Optimizer):
    """An optimizer of the script's own, whose steps are counted."""

    steps = 0

    def __init__(self, params):
        super().__init__(params, {'lr': 0.1})

    def step(self, closure=None):
        self.steps += 1
        return 'taken'


def test_a_step_without_its_row_is_the_same_step(rows, monkeypatch):
    """Hooks and patches are called, and without any of them only the step itself is."""
    optimizer = Homemade(tensors(torch.float32))
    assert _amp.step(optimizer, None, lambda: None) == 'taken'
    assert (optimizer.steps, rows) == (1, [])

    calls = []
    ways = (
        optimizer.register_step_pre_hook,
        optimizer.register_step_post_hook,
        torch_optimizer.register_optimizer_step_pre_hook,
        torch_optimizer.register_optimizer_step_post_hook,
    )
    for index, register in enumerate(ways):
        handle = register(lambda *args, index=index: calls.append(index))
        _amp.step(optimizer, None, lambda: None)
        handle.remove()
    assert (calls, optimizer.steps, len(rows)) == ([0, 1, 2, 3], 5, 4)

    optimizer.step = lambda: calls.append('patched')
    _amp.step(optimizer, None, lambda: None)
    assert (calls[-1], optimizer.steps) == ('patched', 5)
    del optimizer.step
    monkeypatch.setattr(Homemade, 'step', lambda self: calls.append('class'))
    _amp.step(optimizer, None, lambda: None)
    assert (calls[-1], optimizer.steps) == ('class', 5)


def test_a_scheduler_that_watches_the_step_sees_it():
    optimizer = optim.SGD(tensors(torch.float32), lr=0.1)
    scheduler = lr_scheduler.StepLR(optimizer, 1)
    _amp.step(optimizer, torch.amp.GradScaler('cpu', enabled=False), lambda: None)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        scheduler.step()


class Scaler(torch.amp.GradScaler):
    """A scaler of the script's own, which does not scale."""

    def step(self, optimizer, *args, **kwargs):
        self.called = True
        return super().step(optimizer, *args, **kwargs)


def test_a_scaler_of_ones_own_is_asked_though_it_is_off():
    scaler = Scaler('cpu', enabled=False)
    _amp.step(optim.SGD(tensors(torch.float32), lr=0.1), scaler, lambda: None)
    assert scaler.called
