"""OptimizerHook: back propagation and steps."""

import pytest
import torch

import nncore_compat as E

from .fake_engine import FakeEngine, Linear, loaders, sgd


def run(hook, stage=None, model=None, size=14, **kwargs):
    stages = [dict(epochs=2, optimizer=sgd, **(stage or {}))]
    return FakeEngine(E.Buffer(), [hook], loaders(size), stages, model, **kwargs).run()


def test_weights_and_values_are_nncores_bit_for_bit(reference, ours):
    theirs, mine = reference['optimizer'], ours('optimizer')
    assert len(theirs) == 7
    for name in theirs:
        assert mine[name] == theirs[name], name


def test_debug_report(reference, ours):
    lines = ours('debug')
    assert lines == reference['debug']
    assert 'WARNING: Iter [1]: Inf detected in bad' in lines
    assert 'WARNING: Iter [1]: NaN detected in layer.bias' in lines


def test_debug_report_takes_sparse_and_empty_gradients():
    class Odd(Linear):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(4, 2, sparse=True)
            self.nothing = torch.nn.Parameter(torch.zeros(0, 3))

        def forward(self, data, mode='train', **kwargs):
            rows = self.table(torch.tensor([1, 1, 3])) * float('inf')
            return {'loss': rows.sum() + self.nothing.sum(), '_avg_factor': 1}

    engine = run(E.OptimizerHook(), model=Odd(), size=2, debug=True)
    assert engine.lines[0] == 'WARNING: Iter [1]: Inf detected in table.weight'


def test_gradients_are_synchronised_only_where_it_steps():
    # 7 iterations an epoch, in windows of 3, 3 and 1.
    engine = run(E.OptimizerHook(interval=3))
    assert engine.syncs == [False, False, True, False, False, True, True] * 2


def test_a_hook_may_say_when_a_window_ends():
    class Never(E.OptimizerHook):
        def every_n_iters_in_epoch(self, engine, n):
            return False

    assert run(Never()).syncs == ([False] * 6 + [True]) * 2


def test_the_length_of_the_loader_is_asked_for_once_in_an_iteration():
    class Counted(torch.utils.data.DataLoader):
        asked = 0

        def __len__(self):
            self.asked += 1
            return super().__len__()

    loader = Counted(torch.ones(10, 3), batch_size=2)
    stages = [dict(epochs=1, optimizer=sgd, lr_schedule=dict(type='epoch', policy='exp', gamma=1))]
    hooks = [E.LrUpdaterHook(), E.OptimizerHook()]
    FakeEngine(E.Buffer(), hooks, {'train': loader}, stages).run()
    assert loader.asked == 5


def test_a_window_is_one_batch():
    # The mean over a window of equal batches is the gradient of all of them at once.
    engine = run(E.OptimizerHook(interval=7))
    model = Linear()
    optimizer = sgd(model.parameters())
    data = loaders(14)['train'].dataset.samples
    for _ in range(2):
        optimizer.zero_grad()
        model(data)['loss'].backward()
        optimizer.step()
    torch.testing.assert_close(engine.model.state_dict(), model.state_dict())


def test_a_loss_that_the_model_does_not_return():
    with pytest.raises(KeyError, match=r"'los' \(stages\[0\]\.loss\).*'loss', 'other_loss'"):
        run(E.OptimizerHook(), stage={'loss': 'los'})


@pytest.mark.parametrize('interval', [-1, 1.5, '2', None])
def test_interval_must_be_a_count(interval):
    with pytest.raises(ValueError, match=r'OptimizerHook\.interval must be .* at least 0'):
        E.OptimizerHook(interval=interval)


@pytest.mark.parametrize(
    ('grad_scale', 'words'),
    [
        ('fp16', "grad_scale must be None, a bool or a dict, but got 'fp16'"),
        ({'init_scal': 2.0}, r"unknown options \['init_scal'\].*'init_scale'"),
        # nncore has none either: it scales on CUDA.
        ({'device': 'cpu'}, r"unknown options \['device'\]"),
    ],
)
def test_settings_of_the_scaler_are_known(grad_scale, words):
    with pytest.raises(TypeError, match=words):
        E.OptimizerHook(grad_scale=grad_scale)


def test_the_callers_settings_are_left_alone():
    settings = {'init_scale': 4.0}
    run(E.OptimizerHook(grad_scale=settings), size=2)
    assert settings == {'init_scale': 4.0}


@pytest.mark.parametrize(
    ('grad_scale', 'amp', 'cuda', 'enabled'),
    [
        (None, None, True, False),
        (None, 'fp16', True, True),
        (None, 'bf16', True, True),
        (None, 'fp16', False, False),
        (True, None, True, True),
        ({'init_scale': 2.0}, None, True, True),
        (False, 'fp16', True, False),
        ({'enabled': False}, 'fp16', True, False),
    ],
)
def test_when_the_loss_is_scaled(grad_scale, amp, cuda, enabled, monkeypatch):
    made = []
    monkeypatch.setattr('torch.cuda.is_available', lambda: cuda)
    monkeypatch.setattr('torch.amp.GradScaler', lambda *a, **k: made.append((a, k)))
    engine = FakeEngine(E.Buffer(), [], loaders(), [])
    engine.amp_type = amp
    E.OptimizerHook(grad_scale=grad_scale).before_launch(engine)
    ((args, kwargs),) = made
    assert args == ('cuda',)
    assert kwargs.pop('enabled') is enabled
    assert kwargs == ({'init_scale': 2.0} if isinstance(grad_scale, dict) and enabled else {})


class ScriptedScaler:
    """A scaler that notes the order of calls."""

    def __init__(self, calls):
        self.calls = calls

    def scale(self, loss):
        self.calls.append('scale')
        return loss * 4

    def unscale_(self, optimizer):
        self.calls.append('unscale_')
        for group in optimizer.param_groups:
            for param in group['params']:
                param.grad /= 4

    def is_enabled(self):
        return True

    def get_scale(self):
        return 4.0

    def step(self, optimizer):
        self.calls.append('step')
        optimizer.step()

    def update(self):
        self.calls.append('update')


def test_order_with_a_scaler():
    calls = []
    hook = E.OptimizerHook(interval=2)
    hook.before_launch = lambda engine: setattr(hook, 'scaler', ScriptedScaler(calls))
    engine = run(hook, {'grad_clip': dict(max_norm=1e9)}, size=4)
    assert calls == ['scale', 'scale', 'unscale_', 'step', 'update'] * 2
    assert engine.buffer.get('scale') == [4.0, 4.0]

    plain = run(E.OptimizerHook(interval=2), {'grad_clip': dict(max_norm=1e9)}, size=4)
    torch.testing.assert_close(engine.model.state_dict(), plain.model.state_dict())
    assert engine.buffer.get('grad_norm') == pytest.approx(plain.buffer.get('grad_norm'))
