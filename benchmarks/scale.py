"""How cost grows with processes, workers, iterations and samples; real nncore beside us.

    python benchmarks/scale.py startup|ranks|signals|workers|memory|gather [--json FILE]

Each prints a table. Times are the least of several runs that took turns; what is counted is exact.
Real nncore, where it is installed, is measured by the same code, which only takes another module.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STUB = ROOT / 'tests' / 'reference'
MODULES = {'nncore': 'nncore.engine', 'us': 'nncore_compat'}
SIDES = ['nncore', 'us'] if importlib.util.find_spec('nncore') else ['us']
MIB = 2**20
SIZES = [2, 4, 8]


def environment(side: str, **more: str) -> dict[str, str]:
    """One thread per process; for nncore a stand-in for torchvision, else us from this folder."""
    paths = [str(STUB if side == 'nncore' else ROOT), os.environ.get('PYTHONPATH', '')]
    return {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
        'PYTHONPATH': os.pathsep.join(filter(None, paths)),
        'PYTHONWARNINGS': 'ignore',
        **more,
    }


def port() -> str:
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return str(server.getsockname()[1])


def children(name: str, side: str, cases: list[list[Any]], sizes: list[int] | int = 1) -> list[Any]:
    """Run a function of this file for each case in processes of its own.

    Args:
        name: The function.
        side: Its first argument.
        cases: The others.
        sizes: How many processes run it together, for each case or for all.

    Returns:
        What the first process has returned, for each case.
    """
    sizes = [sizes] * len(cases) if isinstance(sizes, int) else sizes
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder, 'out.json'), Path(folder, 'log')
        words = ['_children', name, side, json.dumps(cases), json.dumps(sizes), str(out)]
        with log.open('w') as stream:
            done = subprocess.run(
                [sys.executable, __file__, *words],
                env=environment(side),
                cwd=folder,
                stdout=stream,
                stderr=stream,
            )
        if done.returncode:
            raise SystemExit(log.read_text()[-3000:])
        return json.loads(out.read_text())


def run_children(name: str, side: str, cases: str, sizes: str, out: str) -> None:
    """Fork them, so that imports are paid once."""
    importlib.import_module(MODULES[side] + '.engine')
    importlib.import_module('torch._dynamo')
    if side == 'us':
        importlib.import_module('lightning.pytorch')
    results = []
    for args, size in zip(json.loads(cases), json.loads(sizes), strict=True):
        if size > 1:
            os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port(), WORLD_SIZE=str(size))
        pids = [run_one(name, side, args, rank, size, out) for rank in range(size)]
        if any([os.waitpid(pid, 0)[1] for pid in pids]):
            raise SystemExit(1)
        results.append(json.loads(Path(out).read_text()))
    Path(out).write_text(json.dumps(results))


def run_one(name: str, side: str, args: list[Any], rank: int, size: int, out: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if size > 1:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        result = globals()[name](side, *args)
        if rank == 0:
            Path(out).write_text(json.dumps(result))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def engine(side: str, model: Any, loaders: Any, hooks: Any = None, **stage: Any) -> Any:
    """Build an engine of either side, quiet on the console."""
    import logging

    api = importlib.import_module(MODULES[side])
    logging.getLogger('scale').addHandler(logging.NullHandler())
    stages = {'epochs': 1, 'optimizer': {'type': 'SGD', 'lr': 0.01}, **stage}
    return api.Engine(model, loaders, stages=stages, hooks=hooks, work_dir='run', logger='scale')


def parts() -> tuple[type, type]:
    """A model and a data set as small as they get, made where torch may be imported."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fc = torch.nn.Linear(8, 2)

        def forward(self, data: Any, mode: str, **kwargs: Any) -> dict[str, Any]:
            out = self.fc(data)
            result = {'loss': out.square().mean(), '_avg_factor': len(data)}
            return result if mode == 'train' else {**result, '_out': out.detach()}

    class Rows(torch.utils.data.Dataset):
        def __init__(self, size: int) -> None:
            self.size = size

        def __len__(self) -> int:
            return self.size

        def __getitem__(self, index: int) -> Any:
            return torch.full((8,), float(index % 7))

        def evaluate(self, outputs: list[Any], **kwargs: Any) -> dict[str, float]:
            return {'sum': float(sum(out.sum() for out in outputs))}

    return Net, Rows


# --- startup -------------------------------------------------------------------------------------

SCRIPT = """
import torch
from torch.utils.data import DataLoader
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(8, 2)
    def forward(self, data, **kwargs):
        return {'loss': self.fc(data).square().mean(), '_avg_factor': len(data)}
loader = DataLoader(torch.ones(8, 8), 8)
"""
LAUNCH = """
import os
class Stop(Hook):
    def after_train_iter(self, engine):
        os._exit(0)
Engine(Net(), {'train': loader}, hooks=[Stop()], work_dir='run',
       stages={'epochs': 1, 'optimizer': {'type': 'SGD', 'lr': 0.1}}).launch()
"""
NAMES = 'from nncore_compat import Engine, Hook, comm'
PROGRAMS = {
    'import torch': ['-c', 'import torch'],
    '... and nncore_compat': ['-c', 'import torch, nncore_compat'],
    f'... and {NAMES}': ['-c', f'import torch; {NAMES}'],
    '... and from nncore.engine import Engine, Hook, comm': [
        '-c',
        'import torch; from nncore.engine import Engine, Hook, comm',
    ],
    'import lightning.pytorch': ['-c', 'import lightning.pytorch'],
    'python -m nncore_compat --help': ['-m', 'nncore_compat', '--help'],
    'python -m nncore_compat convert --help': ['-m', 'nncore_compat', 'convert', '--help'],
    'first iteration: torch alone': [
        '-c',
        f'{SCRIPT}model = Net(); optimizer = torch.optim.SGD(model.parameters(), 0.1)\n'
        'model(next(iter(loader)))["loss"].backward(); optimizer.step()\n'
        # As the others end, without taking everything down.
        'import os; os._exit(0)',
    ],
    'first iteration: nncore': ['-c', f'from nncore.engine import Engine, Hook\n{SCRIPT}{LAUNCH}'],
    'first iteration: us': ['-c', f'from nncore_compat import Engine, Hook\n{SCRIPT}{LAUNCH}'],
}


def startup(runs: int = 5) -> Any:
    """CPU time and wall clock of whole processes, from start to end."""
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for _ in range(runs):
        for name, arguments in PROGRAMS.items():
            real = 'nncore.engine' in arguments[-1]
            if real and 'nncore' not in SIDES:
                continue
            with tempfile.TemporaryDirectory() as folder:
                before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                subprocess.run(
                    [sys.executable, *arguments],
                    env=environment('nncore' if real else 'us'),
                    cwd=folder,
                    check=True,
                    capture_output=True,
                )
                wall = time.perf_counter() - begun
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            rows[name].append((cpu, wall))
    table = [[name, *map(min, zip(*found, strict=True))] for name, found in rows.items() if found]
    show(['', 'CPU s', 'wall s'], table, '{:.2f}')
    return table


# --- ranks ---------------------------------------------------------------------------------------


def ranks() -> Any:
    """Collectives by moment, as torch's profiler sees them in the first process."""
    table = []
    for side in SIDES:
        found = children('count_collectives', side, [[]] * 3, SIZES)
        table += [[f'{side}, {n} processes', *row] for n, row in zip(SIZES, found, strict=True)]
    moments = [
        'step',
        'log write',
        'checkpoint',
        'epoch without one',
        'validation',
        'new epoch',
        'launch',
    ]
    show(['', *moments], table, '{}')
    return table


def count_collectives(side: str) -> list[str]:
    """Train for some epochs; the collectives per step, log write, checkpoint, ..., launch."""
    import torch
    from torch.profiler import ProfilerActivity, profile, record_function

    api = importlib.import_module(MODULES[side])
    names = importlib.import_module(f'{MODULES[side]}.hooks.base').HOOK_NAMES

    def mark(event: str) -> Any:
        def method(self: Any, engine: Any) -> None:
            # The last iteration of an epoch writes, and every second epoch saves.
            last = engine.iter_in_epoch + 1 == len(engine.data_loaders['train'])
            saves = (engine.epoch + 1) % 2 == 0
            at = {'after_train_iter': last, 'after_train_epoch': saves}.get(event, '')
            with record_function(f'event {event} {at}'):
                pass

        return method

    marks = type('Mark', (api.Hook,), {event: mark(event) for event in names})
    net, rows = parts()
    api.init_dist(launcher='torch')
    sampler = torch.utils.data.distributed.DistributedSampler
    data = {
        split: torch.utils.data.DataLoader(rows(64), 2, sampler=sampler(rows(64), shuffle=False))
        for split in ('train', 'val')
    }
    hooks = [{'type': 'CheckpointHook', 'interval': 2}, {'type': 'EventWriterHook', 'interval': 10}]
    one = engine(side, net(), data, hooks, epochs=4, validation={'interval': 1})
    one.register_hook(marks(), before=next(iter(one.hooks)))
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        one.launch()
    events = sorted(seen.events(), key=lambda event: event.time_range.start)
    found: dict[str, list[list[str]]] = {'start': [[]]}
    moment, begun = found['start'], False
    wholes = ('before_train_iter', 'before_val_epoch', 'before_val_iter', 'after_val_iter')
    for event in events:
        if event.name.startswith('event '):
            # An iteration is all from its begin, a validation from the first of its batches.
            carried = moment[-1] if begun else []
            moment = found.setdefault(event.name.removeprefix('event ').strip(), [])
            moment.append(carried)
            begun = event.name.split()[1] in wholes
        elif event.name.startswith('c10d::'):
            moment[-1].append(event.name.removeprefix('c10d::').strip('_'))

    def text(moment: str) -> str:
        kinds = {
            ' + '.join(f'{n} {kind}' for kind, n in sorted(Counter(made).items())) or '0'
            for made in found.get(moment, ())
        }
        return ' or '.join(sorted(kinds)) or '-'

    once = ('start', 'before_launch', 'before_stage', 'after_stage', 'after_launch')
    rest = sum(len(made) for name in once for made in found.get(name, ()))
    moments = ('iter False', 'iter True', 'epoch True', 'epoch False')
    texts = [text(f'after_train_{moment}') for moment in moments]
    return [*texts, text('after_val_epoch'), text('before_train_epoch'), str(rest)]


# --- signals -------------------------------------------------------------------------------------


def signals() -> Any:
    """What Lightning asks in every iteration of several processes, and what we ask."""
    found = children('ask', 'us', [[]] * 3, SIZES)
    table = [[f'{n} processes', *row] for n, row in zip(SIZES, found, strict=True)]
    show(['', "Lightning's broadcast, us", 'our look, us'], table, '{:.2f}')
    return table


def ask(side: str, calls: int = 300) -> list[float]:
    import torch
    import torch.distributed as dist

    from nncore_compat._signals import StopRequests

    def broadcast() -> None:
        flag = torch.tensor([0])
        dist.broadcast(flag, src=0)
        flag.item()

    dist.init_process_group('gloo')
    requests = StopRequests()
    times = []
    for func, clock in (
        (broadcast, time.perf_counter),
        (lambda: requests.due(1), time.process_time),
    ):
        best = float('inf')
        for _ in range(5):
            dist.barrier()
            begun = clock()
            for _ in range(calls):
                func()
            best = min(best, (clock() - begun) / calls)
        times.append(best * 1e6)
    return times


# --- workers -------------------------------------------------------------------------------------


def workers(runs: int = 2) -> Any:
    """CPU time per batch, in the main process and in the workers, by number of workers."""
    counts = [0, 1, 2, 4]
    found: dict[str, list[Any]] = {side: [] for side in SIDES}
    for _ in range(runs):
        for side in SIDES:
            found[side].append(children('feed', side, [[count] for count in counts]))
    table = [
        [f'{count} workers, {side}', *map(min, zip(*(run[i] for run in found[side]), strict=True))]
        for i, count in enumerate(counts)
        for side in SIDES
    ]
    show(['', 'main process, us', 'workers, us'], table, '{:.0f}')
    return table


def feed(side: str, count: int, batches: int = 1500) -> tuple[float, float]:
    import torch

    torch.set_num_threads(1)
    net, rows = parts()
    loader = torch.utils.data.DataLoader(rows(8 * batches), 8, num_workers=count)
    one = engine(side, net(), {'train': loader})
    one.unregister_hook('EventWriterHook')
    one.unregister_hook('CheckpointHook')
    begun = time.process_time()
    one.launch()
    main = time.process_time() - begun
    there = resource.getrusage(resource.RUSAGE_CHILDREN)
    return main / batches * 1e6, (there.ru_utime + there.ru_stime) / batches * 1e6


# --- memory --------------------------------------------------------------------------------------


def memory() -> Any:
    """What is held after ever more updates of a buffer, and after ever more iterations."""
    table = []
    for side in SIDES:
        (held,) = children('fill_buffer', side, [[]])
        table.append([f'{side}: buffer, traced, 10^4, 10^5, 10^6 updates', *held])
    for side in SIDES:
        traced, resident = children('train_long', side, [['traced'], ['resident']])
        table.append([f'{side}: training, traced, 2*10^3, 10^4, 2*10^4 iterations', *traced])
        table.append([f'{side}: training, resident, 10^4, 5*10^4, 10^5 iterations', *resident])
    show(['', 'first, MiB', 'second, MiB', 'third, MiB'], table, '{:.2f}')
    return table


def fill_buffer(side: str, size: int = 1000) -> list[float]:
    """A buffer of at most 1000 values per key, four keys, a reading now and then."""
    import torch

    buffer = importlib.import_module(MODULES[side]).Buffer(max_size=size)
    value, held = torch.tensor(1.0), []
    tracemalloc.start()
    for count in range(1, 10**6 + 1):
        for key in ('loss', '_loss_time', 'lr', 'acc'):
            buffer.update(key, value, warning=False)
        if count % 10**4 == 0:
            buffer.mean('loss')
            # Private values are never dropped: EventWriterHook clears them.
            buffer.pop('_loss_time')
        if count in (10**4, 10**5, 10**6):
            held.append(tracemalloc.get_traced_memory()[0] / MIB)
    return held


def train_long(side: str, measure: str) -> list[float]:
    """Eight hooks; 10^5 iterations, or 2 * 10^4 where every allocation is traced."""
    import gc

    import torch

    api = importlib.import_module(MODULES[side])
    torch.set_num_threads(1)
    net, _ = parts()
    iterations = 10**5 if measure == 'resident' else 2 * 10**4
    held = []

    class Held(api.Hook):  # type: ignore[name-defined, misc]
        def after_train_iter(self, engine: Any) -> None:
            if engine.iter + 1 in (iterations // 10, iterations // 2, iterations - 1):
                gc.collect()
                if measure == 'traced':
                    held.append(tracemalloc.get_traced_memory()[0] / MIB)
                else:
                    pages = int(Path('/proc/self/statm').read_text().split()[1])
                    held.append(pages * resource.getpagesize() / MIB)

    loader = torch.utils.data.DataLoader(Same(iterations), None)
    one = engine(side, net(), {'train': loader}, [Held()])
    one.register_hook(type('Look', (api.Hook,), {'after_train_iter': look})())
    one.register_hook({'type': 'EventWriterHook', 'interval': 1000})
    assert len(one.hooks) == 8, list(one.hooks)
    if measure == 'traced':
        tracemalloc.start()
    one.launch()
    return held


def look(self: Any, engine: Any) -> None:
    """A user's hook."""


class Same:
    """A batch of eight rows, again and again."""

    def __init__(self, size: int) -> None:
        import torch

        self.size, self.batch = size, torch.ones(8, 8)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return self.batch


# --- gather --------------------------------------------------------------------------------------


def gather(runs: int = 1) -> Any:
    """`evaluate` over two processes: CPU time, and what the first one takes at its peak."""
    sizes = [10**3, 10**4, 10**5, 10**6]
    sides = [*((side, False) for side in SIDES), ('us', True)]
    # Peaks are of a process's whole life, so each case has its own.
    found: list[list[Any]] = [[] for _ in sides]
    for _ in range(runs):
        for kept, (side, metric) in zip(found, sides, strict=True):
            kept.append(children('evaluate', side, [[size, metric] for size in sizes], 2))
    table = []
    for i, size in enumerate(sizes):
        best = [map(min, zip(*(run[i] for run in kept), strict=True)) for kept in found]
        table.append([f'{size} samples', *(part for pair in best for part in pair)])
    names = [*SIDES, 'us, MetricHook']
    show(['', *(f'{name}, {unit}' for name in names for unit in ('s', 'MiB'))], table, '{:.2f}')
    return table


def evaluate(side: str, size: int, metric: bool) -> tuple[float, float]:
    """Validate in batches of ten samples with ten scores each; what that takes, to its end."""
    import torch
    from torch.utils.data import DataLoader, DistributedSampler

    api = importlib.import_module(MODULES[side])
    torch.set_num_threads(1)
    api.init_dist(launcher='torch')
    begun = []

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(8, 10)

        def forward(self, data: Any, mode: str, **kwargs: Any) -> dict[str, Any]:
            scores = self.fc(data)
            result = {'loss': scores.square().mean(), '_avg_factor': len(data)}
            if mode != 'train':
                result['_out'] = scores, scores.argmax(1)
            return result

    class Batches(torch.utils.data.Dataset):
        def __init__(self, size: int) -> None:
            self.size = size

        def __len__(self) -> int:
            return self.size // 10

        def __getitem__(self, index: int) -> Any:
            return torch.full((10, 8), float(index % 7))

    def share(outputs: list[Any], **kwargs: Any) -> dict[str, float]:
        right = [int((scores.argmax(1) == target).sum()) for scores, target in outputs]
        return {'accuracy': sum(right) / size}

    class Begin(api.Hook):  # type: ignore[name-defined, misc]
        def before_val_epoch(self, engine: Any) -> None:
            torch.distributed.barrier()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            begun.extend([peak, time.process_time()])

        def after_val_iter(self, engine: Any) -> None:
            if metric:
                engine.buffer.pop('_out')

    data = {'train': Batches(20), 'val': Batches(size)}
    loaders = {
        split: DataLoader(rows, None, sampler=DistributedSampler(rows, shuffle=False))
        for split, rows in data.items()
    }
    hooks: list[Any] = [Begin()]
    if metric:
        accuracy = {'type': 'MulticlassAccuracy', 'num_classes': 10, 'average': 'micro'}
        hooks.append({'type': 'MetricHook', 'metrics': accuracy})
    else:
        data['val'].evaluate = share  # type: ignore[attr-defined]
    one = engine(side, Net(), loaders, hooks, validation={'interval': 1})
    one.unregister_hook(['CheckpointHook', *(['EvalHook'] if metric else [])])
    one.launch()
    took = time.process_time() - begun[1]
    return took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun[0]) / 1024


# --- tables --------------------------------------------------------------------------------------


def show(heads: list[str], rows: list[list[Any]], form: str) -> None:
    """Print a table in Markdown."""
    text = [[c if isinstance(c, str) else form.format(c) for c in row] for row in rows]
    for row in (heads, ['---'] * len(heads), *text):
        print('| ' + ' | '.join(row) + ' |', flush=True)


COMMANDS = {f.__name__: f for f in (startup, ranks, signals, workers, memory, gather)}


def main() -> None:
    if sys.argv[1:2] == ['_children']:
        run_children(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('command', choices=COMMANDS)
    parser.add_argument('--json', help='write the rows there too')
    options = parser.parse_args()
    rows = COMMANDS[options.command]()
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1))


if __name__ == '__main__':
    main()
