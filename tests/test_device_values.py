"""Values stay on an accelerator until somebody reads them, and are the same then."""

import contextlib
import copy
import functools
import itertools
import json
import logging
import pickle

import pytest
import torch
from far import Factories, Far, OnDevice
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from tiny import Points, engine, stage
from torch import nn
from torch.utils.data import DataLoader

import nncore_compat
from nncore_compat import Buffer, Hook, _buffer_state, _device_values
from nncore_compat._remember import remember, remember_numbers, when_known

INTERVAL, ITERS = 10, 25


@pytest.fixture(autouse=True)
def device(monkeypatch):
    monkeypatch.setattr(_device_values, 'KINDS', (*_device_values.KINDS, Far))
    Far.journeys.clear()


class Net(OnDevice, nn.Module):
    """Returns values of many kinds.

    Args:
        far: Whether it is on the device.
        change: Called with each output and its number.
    """

    def __init__(self, far, change=lambda output, call: None):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(2, 2)
        self.calls = itertools.count(1)
        self.place = Far if far else torch.Tensor.clone
        self.change = change
        if far:
            self.go()

    def forward(self, data, mode, **kwargs):
        x, y = self.place(data['x']), self.place(data['y'])
        logits = self.fc(x)
        picked = logits.log_softmax(1) * nn.functional.one_hot(y, 2)
        loss = -picked.sum(1).mean()
        output = {
            'cls_loss': loss,
            'reg_loss': logits.square().mean().double(),
            'acc': (logits.argmax(1) == y).float().mean(),
            'parts': {'low': logits.min().detach(), 'high': logits.max().detach()},
            'half': loss.detach().half(),
            'fixed': 0.5,
            '_avg_factor': (y + 1).sum(),
            '_out': logits.argmax(1),
        }
        self.change(output, next(self.calls))
        return output


class Count(Hook):
    """Notes the journeys of each iteration, all hooks included."""

    def before_train_epoch(self, engine):
        Far.journeys.clear()
        self.counts = []

    def after_train_iter(self, engine):
        self.counts.append(Far.journeys.total())
        Far.journeys.clear()


class Lines(logging.Handler):
    """Keeps what is logged, without times and places."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        parts = record.getMessage().split(', ')
        words = ('time', 'eta', 'work_dir', 'Saving', 'speed', 'Done')
        self.lines.append(', '.join(p for p in parts if not any(word in p for word in words)))


def train(folder, far, change=None, hooks=lambda: [], make=None, stage_cfg=None, **kwargs):
    """Train for an epoch; return what is to be seen of it, and the journeys of each iteration."""
    model = Net(far, *([change] if change else []))
    cfg = {'validation': {'interval': 1}, **(stage_cfg or {})}
    if make is not None:
        cfg['optimizer'] = make(model.parameters())
    loaders = {'train': DataLoader(Points(2 * ITERS), 2), 'val': DataLoader(Points(6), 2)}
    one = engine(folder, model, stage(**cfg), loaders, **kwargs)
    one.register_hook({'type': 'EventWriterHook', 'interval': INTERVAL})
    one.register_hook(hooks(), before='EventWriterHook')
    one.register_hook(Count())
    handler = Lines()
    one.logger.addHandler(handler)
    seen = {'error': None}
    with Factories() if far else contextlib.nullcontext():
        try:
            one.launch()
        except ArithmeticError as error:
            seen['error'] = str(error)
    file = folder / 'metrics.json'
    for line in file.read_text().splitlines() if file.exists() else ():
        values = json.loads(line)
        seen.setdefault('metrics', []).append({k: v for k, v in values.items() if 'time' not in k})
    seen['lines'] = handler.lines
    weights = one.model.state_dict().items()
    seen['weights'] = {key: getattr(value, 'near', value).tolist() for key, value in weights}
    seen['callback_metrics'] = {k: v.item() for k, v in one.trainer.callback_metrics.items()}
    seen['hooks'] = [vars(hook).get('seen') for hook in one.hooks.values()]
    return seen, one.hooks['Count'].counts


def counts_of(tmp_path, **kwargs):
    """Train on the CPU and on the device, alike, and return the journeys of each iteration."""
    near, none = train(tmp_path / 'near', False, **kwargs)
    far, counts = train(tmp_path / 'far', True, **kwargs)
    # NaN is not equal to itself, but its text is.
    for key in near:
        assert repr(far[key]) == repr(near[key]), key
    assert len(near['lines']) > 5
    assert not any(none)
    return counts, near


def split(counts):
    """Return the counts of iterations with a line in the log, and of the others."""
    assert len(counts) == ITERS
    written = {*range(INTERVAL - 1, ITERS, INTERVAL), ITERS - 1}
    return [counts[i] for i in sorted(written)], [
        n for i, n in enumerate(counts) if i not in written
    ]


class Latest(Hook):
    """Reads a value in each iteration."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def after_train_iter(self, engine):
        loss, norm = engine.buffer.latest('loss'), engine.buffer.latest('grad_norm')
        assert type(loss) is torch.Tensor and loss.is_cpu and not loss.requires_grad
        self.seen.append((loss.item(), norm))


class Scaled(nncore_compat.OptimizerHook):
    """Scales on any device."""

    @property
    def name(self):
        return 'OptimizerHook'

    def before_launch(self, engine):
        self.scaler = torch.amp.GradScaler('cpu', init_scale=8.0, growth_interval=5)


class Fused(torch.optim.SGD):
    """Leaves it to the device whether it steps, as fused optimizers do."""

    _step_supports_amp_scaling = True

    @torch.no_grad()
    def step(self, closure=None):
        for param in self.param_groups[0]['params']:
            param.sub_(0.1 * param.grad / self.grad_scale * (1 - self.found_inf))


# Of a line in the log: all that waits, and a dict of two tensors, once for all writers.
LINE = 1 + 2


def test_nothing_leaves_the_device_between_log_lines(tmp_path):
    counts, _ = counts_of(tmp_path)
    assert split(counts) == ([LINE] * 3, [0] * 22)


def test_clipping(tmp_path):
    counts, near = counts_of(tmp_path, stage_cfg={'grad_clip': {'max_norm': 0.1}})
    assert split(counts) == ([LINE] * 3, [0] * 22)
    assert all(metrics['grad_norm'] > 0.1 for metrics in near['metrics'][:3])


def test_a_hook_that_reads_each_iteration_makes_one_journey(tmp_path):
    cfg = {'grad_clip': {'max_norm': 0.1}}
    counts, near = counts_of(tmp_path, stage_cfg=cfg, hooks=lambda: [Latest()])
    assert split(counts) == ([LINE] * 3, [1] * 22)
    assert any(seen and len(seen) == ITERS and type(seen[0][1]) is float for seen in near['hooks'])


def test_a_scaler_asks_once_whether_to_step(tmp_path):
    cfg = {'grad_clip': {'max_norm': 0.1}}
    counts, near = counts_of(tmp_path, stage_cfg=cfg, hooks=lambda: [Scaled()])
    assert split(counts) == ([LINE + 1] * 3, [1] * 22)
    # It has doubled four times, after 5, 10, 15 and 20 steps.
    assert near['metrics'][2]['scale'] == 128.0


def test_a_fused_optimizer_does_not_even_ask_that(tmp_path):
    counts, near = counts_of(
        tmp_path, make=functools.partial(Fused, lr=0.1), hooks=lambda: [Scaled()]
    )
    assert split(counts) == ([LINE] * 3, [0] * 22)
    assert 'scale' in near['metrics'][0]


def sick(output, call):
    if call == 2:
        output['acc'] = output['acc'] * float('nan')
    if call == 13:
        output['reg_loss'] = output['reg_loss'] / 0


class Fails(Hook):
    def after_train_iter(self, engine):
        if engine.iter == 16:
            raise ZeroDivisionError('as asked')


@pytest.mark.parametrize('fails', [False, True])
def test_debug_warns_before_the_line_of_its_window_or_the_error(tmp_path, fails):
    counts, near = counts_of(
        tmp_path, debug=True, change=sick, hooks=lambda: [Fails()] if fails else []
    )
    warnings = [line for line in near['lines'] if 'detected' in line]
    assert warnings[:3] == [
        'Iter [2]: NaN detected in acc',
        'Iter [13]: Inf detected in reg_loss',
        'Iter [13]: Inf detected in fc.weight',
    ]
    assert near['error'] == ('as asked' if fails else None)
    if fails:
        assert counts == [0] * 9 + [LINE] + [0] * 6
    else:
        assert split(counts) == ([LINE] * 3, [0] * 22)


class NoReader(Hook):
    def before_launch(self, engine):
        # A checkpoint has the values of the buffer.
        engine.unregister_hook(['EventWriterHook', 'CheckpointHook'])


def test_debug_warns_at_the_end_of_the_epoch_when_nobody_reads(tmp_path):
    seen, _ = train(tmp_path, True, debug=True, change=sick, hooks=lambda: [NoReader()])
    lines = seen['lines']
    assert 'Iter [13]: Inf detected in reg_loss' in lines
    assert lines.index('Iter [25]: NaN detected in fc.bias') < lines.index('Validating...')


class Reads(Callback):
    """Has the epoch's averages, and the values of some iterations, made."""


def test_averages_for_callbacks_and_loggers(tmp_path):
    def run(name):
        trainer = {'logger': CSVLogger(tmp_path / name), 'log_every_n_steps': 4}
        return train(tmp_path / name, name == 'far', hooks=lambda: [Reads()], trainer=trainer)

    (near, _), (far, counts) = run('near'), run('far')
    assert near == far
    assert len(near['callback_metrics']) > 20
    # The logger's turn is after the hooks', so its journeys count for the next iteration. What
    # the line of iteration 20 has brought, it has as well.
    lines, others = split(counts)
    assert lines == [LINE, LINE, LINE + 1]
    assert [i for i, n in enumerate(counts) if n == 1] == [4, 8, 12, 16]
    assert sum(others) == 4


def filled(**values):
    buffer = Buffer(max_size=6)
    remember(buffer, values)
    return buffer


KINDS = {
    'loss': torch.tensor(1.5),
    'double': torch.tensor(1 / 3, dtype=torch.float64),
    'brain': torch.tensor(1.25, dtype=torch.bfloat16),
    'flag': torch.tensor([True, False, True]),
    'byte': torch.tensor([1, 2, 3], dtype=torch.uint8),
    'complex': torch.tensor([[1 + 2j]]),
    'turned': torch.arange(6.0).reshape(2, 3).t(),
    'empty': torch.zeros(0, 3),
    'wide': torch.arange(4.0).expand(3, 4),
    'large': torch.arange(9999),
}


def test_every_kind_is_on_the_cpu_as_it_was():
    buffer = filled(**{key: Far(value) for key, value in KINDS.items()})
    Far.journeys.clear()
    for key, value in KINDS.items():
        seen = buffer.latest(key)
        assert type(seen) is torch.Tensor
        expected = value.clone()
        assert seen.dtype == expected.dtype
        assert (seen.shape, seen.stride()) == (expected.shape, expected.stride())
        assert torch.equal(seen, value)
        # It holds no memory beside its own.
        assert seen.untyped_storage().nbytes() == expected.nbytes
    assert Far.journeys.total() == 1


def test_later_changes_in_place_do_not_reach_the_buffer():
    loss = Far(torch.tensor(1.0))
    buffer = filled(loss=loss)
    loss.add_(1)
    assert buffer.latest('loss') == 1


READERS = {
    'latest': lambda buffer: buffer.latest('loss'),
    'get': lambda buffer: buffer.get('loss')[0],
    'mean': lambda buffer: buffer.mean('loss'),
    'median': lambda buffer: buffer.median('loss'),
    'sum': lambda buffer: buffer.sum('loss', window_size=1),
    'avg': lambda buffer: buffer.avg('loss'),
    'values': lambda buffer: next(iter(buffer.values()))[0],
    'items': lambda buffer: dict(buffer.items())['loss'][0],
    'pop': lambda buffer: buffer.pop('loss')[0],
    'copy': lambda buffer: copy.copy(buffer)._data['loss'][0],
    'deepcopy': lambda buffer: copy.deepcopy(buffer)._data['loss'][0],
    'pickle': lambda buffer: pickle.loads(pickle.dumps(buffer))._data['loss'][0],
    'checkpoint': lambda buffer: _buffer_state.collect(buffer)['loss']['tensors'][0],
}


@pytest.mark.parametrize('reader', READERS)
def test_every_reader_finds_it_and_all_others_come_along(reader):
    values = {'loss': torch.tensor(2.5), '_avg_factor': torch.tensor(4), 'acc': torch.tensor(0.5)}
    buffer = filled(**{key: Far(value) for key, value in values.items()})
    assert buffer.count('loss') == 1 and list(buffer.keys()) == list(values)
    assert not Far.journeys
    assert READERS[reader](buffer) == 2.5
    assert Far.journeys.total() == 1
    assert buffer.latest('acc') == 0.5 and buffer.sum('_avg_factor') == 4
    assert Far.journeys.total() == 1


def test_values_of_both_kinds_stay_in_order_when_the_oldest_go():
    buffer, plain = (Buffer(1100, logging.Logger('apart')) for _ in range(2))
    for number in range(1400):
        value = torch.tensor(float(number))
        remember(buffer, {'loss': Far(value) if number % 3 else number})
        remember(plain, {'loss': value if number % 3 else number})
        if number in (1110, 1290):
            assert buffer.mean('loss') == plain.mean('loss')
    assert buffer.get('loss') == plain.get('loss')
    assert buffer.count('loss') == 1100


def test_whoever_keeps_a_list_sees_each_value_at_once():
    buffer = filled(loss=Far(torch.tensor(0.0)))
    kept = buffer.get('loss')
    for number in range(1, 9):
        remember(buffer, {'loss': Far(torch.tensor(float(number))), 'acc': Far(torch.zeros(()))})
        assert kept == [float(i) for i in range(max(0, number - 5), number + 1)]
    assert Far.journeys.total() == 9
    del kept
    remember(buffer, {'loss': Far(torch.tensor(9.0))})
    assert Far.journeys.total() == 9
    kept = buffer.values()
    remember(buffer, {'new': Far(torch.tensor(1.0))})
    assert list(kept)[-1] == [1.0]


def test_shallow_copies_share_their_lists():
    buffer = filled(loss=Far(torch.tensor(0.0)))
    other = copy.copy(buffer)
    remember(buffer, {'loss': Far(torch.tensor(1.0))})
    assert other.get('loss') == [0.0, 1.0]
    remember(other, {'loss': Far(torch.tensor(2.0))})
    buffer.clear()
    assert other.latest('loss') == 2.0 and list(buffer.keys()) == []


def test_numbers_become_floats():
    buffer = Buffer()
    remember_numbers(buffer, {'a': Far(torch.tensor(0.1)), 'b': torch.tensor(0.1), 'c': 0.1})
    assert not Far.journeys
    assert [buffer.latest(key) for key in 'abc'] == [torch.tensor(0.1).item()] * 2 + [0.1]
    assert [type(buffer.latest(key)) for key in 'abc'] == [float] * 3


@pytest.mark.parametrize('patched', ['instance', 'class'])
def test_an_update_of_the_scripts_own_gets_the_values(patched):
    seen = []

    class Own(Buffer):
        def update(self, key, value, warning=True):
            seen.append(value)
            super().update(key, value, warning)

    if patched == 'class':
        buffer = Own()
    else:
        buffer = Buffer()
        buffer.update = lambda key, value: seen.append(value)
    remember(buffer, {'loss': Far(torch.tensor(1.0))})
    assert [type(value) for value in seen] == [torch.Tensor]


def test_tensors_of_the_scripts_own_stay_where_they_are_and_are_averaged_in_one_journey():
    buffer = Buffer()
    for number in range(5):
        buffer.update('mine', Far(torch.tensor(number)))
        buffer.update('_avg_factor', 1)
    assert type(buffer.latest('mine')) is Far
    assert buffer.mean('mine') == 2 and buffer.avg('mine', window_size=2) == 3.5
    assert Far.journeys.total() == 2


def test_no_more_waits_than_a_bound(monkeypatch):
    monkeypatch.setattr(_device_values, 'MOST_COPIES', 20)
    buffer = Buffer()
    for _ in range(105):
        remember(buffer, {'_private': Far(torch.tensor(1.0))})
        assert len(buffer._queue._packs) <= 20
    assert Far.journeys.total() == 5
    monkeypatch.setattr(_device_values, 'MOST_SMALL_BYTES', 10 * 1024)
    for _ in range(105):
        remember(buffer, {'_private': Far(torch.zeros(256))})
    assert Far.journeys.total() == 5 + 9
    assert buffer.count('_private') == 210


def test_checks_wait_no_longer_than_the_values():
    buffer, found = Buffer(), []
    buffer.update('near', 1)
    when_known(buffer, [torch.tensor(1.0), Far(torch.tensor(2.0))], found.append)
    assert found == [] and not Far.journeys
    assert buffer.latest('near') == 1
    assert found == [[1.0, 2.0]]
    when_known(buffer, [torch.tensor(3.0)], found.append)
    when_known(object(), [Far(torch.tensor(4.0))], found.append)
    assert found[1:] == [[3.0], [4.0]]


def test_a_transfer_that_fails_loses_nothing(monkeypatch):
    buffer = filled(loss=Far(torch.tensor(1.0)))
    with monkeypatch.context() as patch:
        patch.setattr(torch, 'cat', lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            buffer.latest('loss')
    assert buffer.latest('loss') == 1.0


class OnCuda(Far):
    """Behaves as CUDA does, whose copies are complete when an event has come."""

    is_cuda = True
    copies = []

    def to(self, device, non_blocking):
        assert non_blocking
        copy = torch.zeros_like(self.near)
        OnCuda.copies.append((copy, self.near.clone()))
        return copy

    def detach(self):
        return OnCuda(self.near)


class Event:
    def record(self, stream):
        self.copy = OnCuda.copies[-1]
        assert stream == 'stream'

    def synchronize(self):
        Event.waits += 1
        self.copy[0].copy_(self.copy[1])


def test_large_tensors_of_cuda_set_out_at_once_and_nobody_waits(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'Event', Event)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device: 'stream')
    monkeypatch.setattr(_device_values, 'KINDS', (OnCuda,))
    monkeypatch.setattr(_device_values, 'MOST_LARGE_BYTES', 5 * 8000)
    monkeypatch.setattr(Event, 'waits', 0, raising=False)
    monkeypatch.setattr(OnCuda, 'copies', [])
    buffer = Buffer()
    for number in range(12):
        value = torch.arange(1000) + number
        remember(buffer, {'_out': OnCuda(value)})
        value.zero_()
        # The five latest may still be under way.
        assert Event.waits == max(0, number - 4)
    assert not Far.journeys
    values = buffer.get('_out')
    assert [value[0] for value in values] == list(range(12))
    assert Event.waits == 12
    assert all(value is not copy for value in values for copy, _ in OnCuda.copies)


def test_a_reader_in_another_stream_waits_for_the_copies(monkeypatch):
    class Stream:
        waited = ()

        def wait_stream(self, other):
            self.waited = (*self.waited, other)

    one, other = Stream(), Stream()
    streams = [one]
    monkeypatch.setattr(Far, 'is_cuda', True)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device: streams[-1])
    buffer = filled(loss=Far(torch.tensor(1.0)))
    streams.append(other)
    assert buffer.latest('loss') == 1.0
    assert (one.waited, other.waited) == ((), (one,))
