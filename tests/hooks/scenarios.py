"""What the hooks do in many situations, for nncore and nncore_compat alike.

Each scenario takes the package (`nncore.engine` or `nncore_compat`) and a folder of its own and
returns plain data. As a script it runs all of them with real nncore:
`python -m hooks.scenarios FOLDER`.
"""

import contextlib
import importlib
import io
import itertools
import os
import pickle
import random
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch._utils import _unflatten_dense_tensors

from .fake_engine import Clock, FakeEngine, Linear, loaders, sgd

TIMERS = {'nncore.engine': 'nncore.utils.timer', 'nncore_compat': 'nncore_compat._timer'}
SCHEDULES: list[dict[str, Any] | None] = [
    None,
    dict(policy='step', step=2),
    dict(policy='step', step=[2, 5], gamma=0.3),
    dict(policy='cosine', target_lr=1e-4),
    dict(policy='exp', gamma=0.97),
    dict(policy='poly', power=0.9, min_lr=1e-5),
    dict(policy='inv', gamma=0.01, power=0.75),
]
WARMUPS: list[dict[str, Any] | None] = [
    None,
    dict(policy='linear', ratio=0.001),
    dict(policy='exp', ratio=0.1),
    dict(policy='constant', ratio=1 / 3),
]


def lr_cases() -> dict[str, tuple[Any, Any]]:
    """Returns schedules and warm-ups, by epoch and by iteration, each with each."""
    cases = {}
    for schedule, unit, warmup, warm_unit in itertools.product(
        SCHEDULES, ('epoch', 'iter'), WARMUPS, ('epoch', 'iter')
    ):
        if (schedule is None and unit == 'iter') or (warmup is None and warm_unit == 'iter'):
            continue
        name = f'{schedule} by {unit}, {warmup} by {warm_unit}'
        cases[name] = (
            schedule and dict(schedule, type=unit),
            warmup and dict(warmup, type=warm_unit, steps=2 if warm_unit == 'epoch' else 7),
        )
    return cases


def learning_rates(E: Any, folder: Path) -> dict[str, list[list[float]]]:
    """Returns the rates of every iteration; the second stage has the same optimizer."""
    rates = {}
    for name, (schedule, warmup) in lr_cases().items():
        seen: list[list[float]] = []

        class Watch(E.Hook):
            def after_train_iter(self, engine: Any) -> None:
                seen.append([g['lr'] for g in engine.optimizer.param_groups])  # noqa: B023

        model = Linear()
        optimizer = torch.optim.SGD(
            [
                {'params': [p], 'lr': lr}
                for p, lr in zip(model.parameters(), (0.1, 0.03), strict=True)
            ]
        )
        stage = dict(epochs=4, optimizer=optimizer, lr_schedule=schedule, warmup=warmup)
        stages = [stage, dict(stage, epochs=2, warmup=None)]
        hooks = [E.hooks.LrUpdaterHook(), Watch()]
        FakeEngine(E.Buffer(), hooks, loaders(), stages, model).run()
        rates[name] = seen
    return rates


def optimizer(E: Any, folder: Path) -> dict[str, Any]:
    """Returns weights after each epoch, recorded values and log lines."""
    results = {}
    for name, hook, extra in (
        ('plain', {}, {}),
        ('window of 3 and a rest', {'interval': 3}, {}),
        ('one window', {'interval': 0}, {}),
        ('clipped', {'interval': 2}, {'grad_clip': dict(max_norm=0.01, norm_type=2)}),
        ('another loss', {}, {'loss': 'other_loss'}),
        ('scaler asked for', {'grad_scale': {'init_scale': 8.0}}, {}),
        ('no scaler', {'grad_scale': False}, {}),
    ):
        weights: list[Any] = []

        class Watch(E.Hook):
            def after_train_iter(self, engine: Any) -> None:
                weights.append(  # noqa: B023
                    [(p.tolist(), p.grad is None) for p in engine.model.parameters()]
                )

        buffer = E.Buffer()
        stages = [dict(epochs=2, optimizer=sgd, **extra)]
        hooks = [E.hooks.OptimizerHook(**hook), Watch()]
        FakeEngine(buffer, hooks, loaders(14), stages).run()
        results[name] = weights, [(k, list(map(float, v))) for k, v in buffer.items()]
    return results


def averages(E: Any, folder: Path) -> dict[str, Any]:
    """Returns gradients of many kinds after their exchange, and how much travelled at once."""
    generator = torch.Generator().manual_seed(3)
    # (0, 3), where torch can: 2.4 makes (0,) of it, which nobody can copy back.
    (empty,) = _unflatten_dense_tensors(torch.empty(0), [torch.empty(0, 3)])
    shapes = [(64, 7), (1,), (), tuple(empty.shape), (129, 31), (4, 3, 5, 5), (301,)] * 12
    params: list[torch.nn.Parameter] = []
    for index, shape in enumerate(shapes):
        param = torch.nn.Parameter(torch.zeros(shape))
        grad = torch.randn(shape, generator=generator)
        kind = index % 4
        if kind == 1 and grad.dim() == 2:
            grad = grad.t().contiguous().t()
        if kind == 1 and grad.dim() == 4:
            grad = grad.to(memory_format=torch.channels_last)
        if kind == 2:
            param = torch.nn.Parameter(param.detach().to(torch.bfloat16))
            grad = grad.to(torch.bfloat16)
        if kind == 3 and index > 60:
            param = torch.nn.Parameter(param.detach().double())
            grad = grad.double()
        param.grad = grad
        params.append(param)
    given = [param.grad.clone() for param in params]

    sent: list[int] = []

    def reduce(tensor: torch.Tensor) -> None:
        # Another number at each place: the order in which they travel counts, as in a ring.
        sent.append(tensor.numel())
        places = torch.linspace(2, 3, tensor.numel(), dtype=torch.float64)
        tensor.mul_(places.view(tensor.shape).to(tensor.dtype))

    results = {}
    for kwargs in ({}, {'bucket_size_mb': 1}, {'coalesce': False}):
        for subset in (params, params[:1], [p for p in params if p.dtype == torch.float32]):
            for param, grad in zip(params, given, strict=True):
                param.grad = grad.clone()
            objects = [param.grad for param in subset]
            hook = E.hooks.OptimizerHook(**kwargs)
            sent.clear()
            with (
                mock.patch('torch.distributed.all_reduce', reduce),
                mock.patch('torch.distributed.get_world_size', lambda: 3),
            ):
                if E.__name__ == 'nncore.engine':
                    hook._allreduce_grads(subset)
                else:
                    gradients = importlib.import_module('nncore_compat.hooks._gradients')
                    gradients.average(
                        [p.grad.data for p in subset], hook._coalesce, hook._bucket_size_mb
                    )
            assert all(p.grad is o for p, o in zip(subset, objects, strict=True))
            assert not any(p.grad.is_inference() for p in subset)
            found = [(bits(p.grad), p.grad.stride()) for p in subset]
            results[f'{kwargs} {len(subset)}'] = found, list(sent)
    return results


def bits(tensor: torch.Tensor) -> bytes:
    """Returns the numbers of a tensor as they are in memory."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


class Broken(Linear):
    """Gradients of NaN, Inf and neither, one of them without elements."""

    def __init__(self) -> None:
        super().__init__()
        self.good = torch.nn.Parameter(torch.ones(2, 2, 2))
        self.bad = torch.nn.Parameter(torch.zeros(3))

    def forward(self, data: Any, mode: str = 'train', **kwargs: Any) -> dict[str, Any]:
        loss = self.bad.sqrt().sum() + (self.layer.bias * float('nan')).sum() + self.good.sum()
        return {'loss': loss, '_avg_factor': 1}


def debug(E: Any, folder: Path) -> list[str]:
    """Returns the report of gradients that are not finite."""
    hooks = [E.hooks.OptimizerHook()]
    stages = [dict(epochs=1, optimizer=sgd)]
    return FakeEngine(E.Buffer(), hooks, loaders(), stages, Broken(), debug=True).run().lines


def evaluation(E: Any, folder: Path) -> dict[str, Any]:
    """Returns what the buffer holds after each validation."""
    metrics = [{'acc': a, 'err': 1 - a, 'x': 1} for a in (0.5, 0.25, 0.75, 0.75, 1.0, 0.0)]
    results = {}
    for name, kwargs, given in (
        ('default', {}, metrics),
        ('every second', {'interval': 2}, metrics),
        ('every third', {'interval': 3}, metrics),
        ('never', {'interval': 0}, metrics),
        ('best', {'high_keys': ['acc', 'gone', 'x'], 'low_keys': ['err']}, metrics),
        ('test split', {'run_test': True}, metrics),
        ('no evaluate', {}, None),
    ):
        seen: list[Any] = []

        class Watch(E.Hook):
            def after_val_epoch(self, engine: Any) -> None:
                seen.append((engine.mode, [(k, list(v)) for k, v in engine.buffer.items()]))  # noqa: B023
                engine.buffer.clear()

        stages = [dict(epochs=6, optimizer=sgd, validation=True)]
        hooks = [E.hooks.EvalHook(**kwargs), Watch()]
        engine = FakeEngine(E.Buffer(), hooks, loaders(metrics=given), stages).run()
        results[name] = seen, engine.lines
    return results


@contextlib.contextmanager
def stopped_clock(E: Any) -> Iterator[Clock]:
    """Has the timers of the package read a clock that moves only when told to."""
    clock = Clock()
    with mock.patch(f'{TIMERS[E.__name__]}.perf_counter', clock):
        yield clock


def timing(E: Any, folder: Path) -> dict[str, Any]:
    """Returns recorded times and log lines of a run whose clock is known."""
    with stopped_clock(E) as clock:

        class Slow(E.Hook):
            def after_train_epoch(self, engine: Any) -> None:
                engine.clock.now += 40

        buffer = E.Buffer()
        stages = [dict(epochs=3, optimizer=sgd, validation=True)]
        hooks = [E.hooks.TimerHook(), Slow()]
        engine = FakeEngine(buffer, hooks, loaders(), stages, clock=clock).run()
        times = {k: v for k, v in buffer.items() if k.endswith('_time')}
        empty = FakeEngine(E.Buffer(), [E.hooks.TimerHook()], loaders(), [], clock=clock).run()
    return {'times': times, 'lines': engine.lines, 'nothing trained': empty.lines}


class Talkative(Linear):
    """Values of many kinds."""

    def forward(self, data: Any, mode: str = 'train', **kwargs: Any) -> dict[str, Any]:
        output = super().forward(data, mode)
        mean = float(data.mean())
        histogram = torch.arange(12.0) + mean
        return {
            **output,
            'many': {'a': mean, 'b': 1e-7},
            'whole': 3,
            'undefined': float('nan'),
            '_private': 1,
            'some_long_text_': f'mode {mode}',
            'my_weights_histogram_': histogram,
            'shot_image_': torch.zeros(3, 4, 4),
        }


@contextlib.contextmanager
def _module(name: str, module: types.ModuleType) -> Iterator[None]:
    # Not mock.patch.dict, which would also drop what is imported meanwhile.
    old = sys.modules.get(name)
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]
        if old is not None:
            sys.modules[name] = old


class FakeWandb(types.ModuleType):
    """Records its calls."""

    def __init__(self) -> None:
        super().__init__('wandb')
        self.calls: list[Any] = []

    def init(self, **kwargs: Any) -> None:
        self.calls.append(kwargs)

    def log(self, data: Any) -> None:
        self.calls.append(data)


def _groups(params: Any) -> torch.optim.Optimizer:
    weight, bias = params
    return torch.optim.SGD(
        [{'params': [weight], 'name': 'w', 'lr': 0.123456789}, {'params': [bias], 'lr': 12345e-9}]
    )


def writing(E: Any, folder: Path) -> dict[str, Any]:
    """Returns log lines, the bytes of metrics.json and wandb's calls; events stay in `folder`."""
    results = {}
    for name, timed, made, interval, one in (
        ('timed', True, sgd, 2, False),
        ('groups', False, _groups, 3, False),
        ('groups timed', True, _groups, 50, False),
        ('untimed', False, sgd, 5, True),
    ):
        work_dir = str(folder / name)
        wandb = FakeWandb()
        writers = [
            'CommandLineWriter',
            {'type': 'JSONWriter', 'filename': 'out.json'} if one else 'JSONWriter',
            'WandbWriter',
            'TensorboardWriter',
        ]
        hooks = [E.hooks.TimerHook()] if timed else []
        hooks += [E.hooks.EventWriterHook(interval=interval, writers=writers)]
        stages = [dict(epochs=2, optimizer=made, validation=True)]
        buffer = E.Buffer()
        with stopped_clock(E) as clock, _module('wandb', wandb):
            engine = FakeEngine(
                buffer, hooks, loaders(), stages, Talkative(), work_dir, clock, meta={'seed': 1}
            ).run()
        results[name] = {
            'lines': engine.lines,
            'json': {p.name: p.read_bytes() for p in Path(work_dir).glob('*.json')},
            'wandb': repr(wandb.calls),
            'left': [(k, len(v)) for k, v in buffer.items()],
        }
    return results


def meddling(E: Any, folder: Path) -> list[str]:
    """Returns what writers write when some of them change the buffer."""
    W = importlib.import_module(f'{E.__name__}.hooks.writer')

    class Doubles(W.Writer):
        def write(self, engine: Any, window_size: int) -> None:
            engine.buffer.update('loss', 2 * engine.buffer.pop('loss')[-1])

    class Adds(W.JSONWriter):
        def _collect_metrics(self, engine: Any, window_size: int) -> Any:
            engine.buffer.update('_iter_time', 7.0)
            return {**super()._collect_metrics(engine, window_size), 'added': 1}

    class Patched(W.JSONWriter):
        pass

    def write(self: Any, engine: Any, window_size: int) -> None:
        engine.buffer.update('other_loss', engine.buffer.pop('other_loss')[0] + 1)

    patched = Patched('c.json')
    patched.write = types.MethodType(write, patched)  # type: ignore[method-assign]
    writers = ['CommandLineWriter', Doubles(), 'JSONWriter', Adds('b.json'), patched]
    writers += ['CommandLineWriter', {'type': 'JSONWriter', 'filename': 'd.json'}]
    # WRITERS makes those that have a name: nncore takes no others.
    for one in [one for one in writers if isinstance(one, W.Writer)]:
        name = f'{type(one).__name__}OfATest'
        W.WRITERS.register(lambda one=one: one, name=name)
        writers[writers.index(one)] = name
    buffer = E.Buffer()
    with stopped_clock(E) as clock:
        hooks = [E.hooks.TimerHook(), E.hooks.EventWriterHook(interval=1, writers=writers)]
        stages = [dict(epochs=1, optimizer=sgd, validation=True)]
        engine = FakeEngine(
            buffer, hooks, loaders(), stages, work_dir=str(folder), clock=clock
        ).run()
    for name in writers:
        if str(name).endswith('OfATest'):
            W.WRITERS.pop(name)
    return [*engine.lines, *(path.read_text() for path in sorted(folder.glob('*.json')))]


class Normed(torch.nn.Module):
    """Three batch normalisation layers: moving average, cumulative average, frozen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layer = torch.nn.Linear(3, 4)
        self.first = torch.nn.BatchNorm1d(4)
        self.second = torch.nn.BatchNorm1d(4, momentum=None)
        self.frozen = torch.nn.BatchNorm1d(4)

    def train(self, mode: bool = True) -> 'Normed':
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, data: Any, mode: str = 'train', **kwargs: Any) -> dict[str, Any]:
        hidden = self.frozen(self.second(self.first(self.layer(data)).relu()))
        return {'loss': hidden.square().mean(), '_avg_factor': len(data)}


def _noisy(samples: list[torch.Tensor]) -> torch.Tensor:
    batch = torch.stack(samples)
    return batch + torch.rand_like(batch)


def precise_bn(E: Any, folder: Path) -> dict[str, Any]:
    """Returns statistics after each epoch, log lines and the next random numbers."""
    results = {}
    for name, kwargs, model in (
        ('default', {}, Normed()),
        ('three batches, every second epoch', {'interval': 2, 'num_iters': 3}, Normed()),
        ('no such layers', {}, Linear()),
    ):
        states: list[Any] = []

        class Watch(E.Hook):
            def after_train_epoch(self, engine: Any) -> None:
                states.append({k: v.tolist() for k, v in engine.model.state_dict().items()})  # noqa: B023
                states.append([getattr(m, 'momentum', 0) for m in engine.model.modules()])  # noqa: B023

        torch.manual_seed(3)
        stages = [dict(epochs=3, optimizer=sgd)]
        hooks = [E.hooks.OptimizerHook(), E.hooks.PreciseBNHook(**kwargs), Watch()]
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            given = loaders(shuffle=True, collate_fn=_noisy)
            engine = FakeEngine(E.Buffer(), hooks, given, stages, model).run()
        bars = shown.getvalue().count('\n')
        results[name] = states, engine.lines, bars, torch.rand(3).tolist()
    return results


def checkpoints(E: Any, folder: Path) -> dict[str, Any]:
    """Returns log lines, files and links; the files stay in `folder`."""
    results = {}
    for name, kwargs in (
        ('default', {}),
        ('every second, linked', {'interval': 2, 'create_symlink': True}),
        ('weights elsewhere', {'save_optimizer': False, 'out': str(folder / 'elsewhere')}),
    ):
        work_dir = folder / name
        made = dict(type='SGD', lr=0.1, momentum=0.9)
        stages = [dict(epochs=3, optimizer=made), dict(epochs=2, optimizer=made, x=(1, 2))]
        hooks = [E.hooks.OptimizerHook(), E.hooks.CheckpointHook(**kwargs)]
        engine = FakeEngine(E.Buffer(), hooks, loaders(), stages, work_dir=str(work_dir)).run()
        out = Path(kwargs.get('out', work_dir))
        results[name] = (
            [line.replace(str(folder), '') for line in engine.lines],
            sorted(os.listdir(out)),
            os.readlink(out / 'latest.pth') if 'create_symlink' in kwargs else None,
        )
    return results


def subsets(names: list[str]) -> list[tuple[str, ...]]:
    """Returns which events a hook may define: few, nearly all, and some at random."""
    some = random.Random(4)
    few = [(), *itertools.combinations(names, 1), *itertools.combinations(names, 2)]
    many = [tuple(n for n in names if n not in without) for without in few]
    other = [tuple(some.sample(names, some.randrange(3, 14))) for _ in range(60)]
    return few + many + other


def calls_of(hook: Any, defined: Any, names: list[str]) -> dict[str, list[str]]:
    """Returns which of a hook's own methods each event calls; it puts them in `calls`."""
    seen = {}
    for event in names:
        hook.calls.clear()
        getattr(hook, event)(None)
        seen[event] = list(hook.calls)
    return seen


def make_hook(E: Any, defined: tuple[str, ...]) -> Any:
    """Returns a hook that defines these events and notes their calls."""

    def method(name: str) -> Any:
        return lambda self, engine: self.calls.append(name)

    hook = type('Some', (E.Hook,), {name: method(name) for name in defined})()
    hook.calls = []
    return hook


def defaults(E: Any, folder: Path) -> dict[Any, Any]:
    """Returns what events call in hooks that define some of them."""
    names = list(E.hooks.base.HOOK_NAMES)
    traces: dict[Any, Any] = {}
    for defined in subsets(names):
        traces[defined] = calls_of(make_hook(E, defined), defined, names)
    for name in names:
        calls: list[str] = []
        hook = E.hooks.ClosureHook(name, lambda engine: calls.append('closure'))  # noqa: B023
        hook.calls = calls
        traces['closure', name] = calls_of(hook, (name,), names)
    two = E.hooks.ClosureHook(['after_iter', 'before_stage'], [lambda _: 1, lambda _: 2])
    traces['two'] = two.after_iter(None), two.before_stage(None)
    return traces


def helpers(E: Any, folder: Path) -> list[Any]:
    """Returns what the helper methods say at every iteration and validation."""
    seen: list[Any] = []
    every = [name for name in dir(E.Hook) if name.startswith('every_n_')]
    alone = [name for name in dir(E.Hook) if name.startswith(('first_', 'last_'))]

    class Ask(E.Hook):
        def after_train_iter(self, engine: Any) -> None:
            seen.append({name: getattr(self, name)(engine) for name in alone})
            seen.append(
                {
                    (name, n): getattr(self, name)(engine, n)
                    for name in every
                    for n in (-1, 0, 1, 2, 3)
                }
            )

    stages = [dict(epochs=e, optimizer=sgd) for e in (2, 1, 3)]
    FakeEngine(E.Buffer(), [Ask()], loaders(), stages).run()
    ask, other = Ask(), Ask(name='other')
    return [seen, repr(ask), repr(other), other.name, ask == Ask(), ask == other]


def caches(E: Any, folder: Path) -> dict[str, list[str]]:
    """Returns the events on which the cache is emptied."""
    results = {}
    names = list(E.hooks.base.HOOK_NAMES)
    for chosen in ([], ['after_iter'], ['after_val_epoch', 'before_stage'], names):
        hook = E.hooks.EmptyCacheHook(chosen)
        emptied = []
        with (
            mock.patch('torch.cuda.is_available', lambda: True),
            mock.patch('torch.cuda.empty_cache') as empty,
        ):
            for event in names:
                empty.reset_mock()
                getattr(hook, event)(None)
                emptied += [event] * empty.call_count
        results[repr(chosen)] = emptied
    return results


def sampler_seeds(E: Any, folder: Path) -> list[int]:
    """Returns the epochs that the sampler is told."""
    told: list[int] = []
    given = loaders()
    given['train'].sampler.set_epoch = told.append
    stages = [dict(epochs=3, optimizer=sgd, validation=True)]
    FakeEngine(E.Buffer(), [E.hooks.SamplerSeedHook()], given, stages).run()
    return told


SCENARIOS = (
    learning_rates,
    optimizer,
    averages,
    debug,
    evaluation,
    timing,
    writing,
    meddling,
    precise_bn,
    checkpoints,
    defaults,
    helpers,
    caches,
    sampler_seeds,
)


def main(folder: Path) -> None:
    """Runs all with real nncore and leaves the results in `folder`."""
    E = importlib.import_module('nncore.engine')
    results = {}
    for scenario in SCENARIOS:
        own = folder / scenario.__name__
        own.mkdir()
        results[scenario.__name__] = scenario(E, own)
    (folder / 'results').write_bytes(pickle.dumps(results))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
