"""What is asked: for each question its cases, and who takes part."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One row of a case: who does it, and how its spec differs."""

    worker: str
    extra: dict[str, Any] = field(default_factory=dict)


RAW = {'raw': Entry('raw')}
NNCORE = {'nncore': Entry('nncore')}
OURS = {'ours': Entry('ours')}
ENGINES = {**NNCORE, **OURS}
RAW_LOGGED = {'raw+log': Entry('raw', {'log': True})}
LIGHTNING = {'lightning': Entry('lightning')}
LOGGED = {'lightning+log': Entry('lightning', {'log': True})}
ALL = {**RAW, **RAW_LOGGED, **ENGINES, **LIGHTNING, **LOGGED}


@dataclass(frozen=True)
class Case:
    """What the contestants of a row do, as one job each per round.

    Args:
        name: What the table calls it.
        function: Name of the function in the module of the contestant.
        entries: Who takes part, by the name in the table.
        spec: What the function is given.
        x: The number on the axis of the chart, where a question is about growth.
        metrics: Which of the results are shown; each is a case of its own in the table.
        unit: ``s`` or ``MB``, or a count.
        fresh: Whether each job has a process of its own.
        processes: How many processes train together.
        needs_compiler: Whether a C++ compiler must be there.
    """

    name: str
    function: str
    entries: dict[str, Entry]
    spec: dict[str, Any]
    x: int | None = None
    metrics: tuple[str, ...] = ('wall',)
    unit: str = 's'
    fresh: bool = False
    processes: int = 1
    needs_compiler: bool = False

    def smaller(self) -> Case:
        """The same with as few iterations as will do to see it run."""
        small = {'skip': 2, 'iters': 10, 'size': 100, 'times': 20, 'batches': 3, 'epochs': 2}
        spec = {
            key: min(value, small[key]) if key in small else value
            for key, value in self.spec.items()
        }
        return replace(self, spec=spec)


def mlp(name: str = 'mlp', iters: int = 500, **spec: Any) -> tuple[str, dict[str, Any]]:
    """The tiny model, whose time is mostly that of the loop around it."""
    return name, {'net': 'mlp', 'skip': 50, 'iters': iters, **spec}


NETS = (
    mlp(),
    ('cnn', {'net': 'cnn', 'skip': 20, 'iters': 200}),
    ('transformer', {'net': 'transformer', 'skip': 5, 'iters': 50}),
)


def cases(function: str, entries: dict[str, Entry], *specs: Any, **options: Any) -> list[Case]:
    """A case for every (name, spec)."""
    return [Case(name, function, entries, spec, **options) for name, spec in specs]


def kinds(entries: dict[str, Entry]) -> dict[str, Entry]:
    """The entries, told whose functions a task is about."""
    modules = {'nncore': 'engine', 'ours': 'engine'}
    return {
        label: Entry(entry.worker, {'kind': modules.get(entry.worker, entry.worker), **entry.extra})
        for label, entry in entries.items()
    }


def command(name: str, **argvs: tuple[str, list[str]]) -> Case:
    """A case of command lines: (contestant, arguments of Python) by name."""
    entries = {label: Entry(worker, {'argv': argv}) for label, (worker, argv) in argvs.items()}
    return Case(name, 'tasks.startup:command', entries, {})


def growth(name: str, entries: dict[str, Entry], specs: dict[int, dict[str, Any]]) -> list[Case]:
    """A case of the tiny model for every x."""
    return [
        Case(f'{name}: {x}', 'train', entries, {**mlp()[1], **spec}, x=x)
        for x, spec in specs.items()
    ]


SAVING = {'net': 'mlp', 'net_options': {'width': 370_000}, 'batches': 20, 'epochs': 6}
REAL_NNCORE = 'from benchmarks.worker import stub_torchvision as f; f(); import nncore.engine'

QUESTIONS: dict[str, tuple[str, list[Case]]] = {
    'iteration': (
        'Seconds per training iteration',
        cases('train', ALL, NETS[0], mlp('mlp, cosine schedule', schedule=True), *NETS[1:]),
    ),
    'validation': (
        'Seconds per iteration of the validation',
        cases('validate', ALL, *NETS[:2]),
    ),
    'evaluation': (
        'Seconds per iteration of launch(eval=True)',
        cases('evaluate', ALL, *NETS[:2]),
    ),
    'processes': (
        'Seconds per training iteration of two processes',
        cases(
            'train',
            {**RAW, **ENGINES},
            mlp('mlp, bare'),
            mlp('mlp, NNDistributedDataParallel', wrapped=True),
            ('cnn, bare', NETS[1][1]),
            processes=2,
        ),
    ),
    'accumulation': (
        'Seconds per training iteration, a step every four',
        cases('train', ALL, mlp(interval=4), ('cnn', {**NETS[1][1], 'interval': 4})),
    ),
    'amp': (
        'Seconds per training iteration with bfloat16',
        cases('train', ALL, mlp(amp=True), ('cnn', {**NETS[1][1], 'amp': True})),
    ),
    'startup': (
        'Seconds to start',
        [
            Case(
                'script',
                'tasks.startup:script',
                kinds({**RAW, **ENGINES, **LIGHTNING}),
                {'net': 'mlp'},
                metrics=('torch', 'import', 'construct', 'launch', 'first', 'total'),
                fresh=True,
            ),
            command(
                'import',
                python=('raw', ['-c', 'pass']),
                torch=('raw', ['-c', 'import torch']),
                nncore=('nncore', ['-c', REAL_NNCORE]),
                ours=('ours', ['-c', 'import nncore_compat']),
                lightning=('lightning', ['-c', 'import lightning.pytorch']),
            ),
            command('--help', ours=('ours', ['-m', 'nncore_compat', '--help'])),
        ],
    ),
    'buffer': (
        'Seconds per operation of the Buffer',
        [
            Case(
                f'{size:,} values',
                'tasks.buffer:operations',
                ENGINES,
                {'size': size, 'times': 1000},
                metrics=('update', 'avg', 'mean', 'latest'),
            )
            for size in (100, 100_000)
        ],
    ),
    'gather': (
        'Seconds of evaluate to gather outputs of two processes',
        [
            Case(
                f'{size} MB per process',
                'tasks.gather:evaluate',
                ENGINES,
                {
                    'net': 'mlp',
                    'net_options': {'out_size': size * 250_000 // 400},
                    'batches': 50,
                },
                processes=2,
            )
            for size in (1, 16, 64)
        ],
    ),
    'checkpoint': (
        'Seconds that training waits for a checkpoint of 80 MB',
        [
            Case(
                'every epoch',
                'save',
                {
                    **RAW,
                    **ENGINES,
                    'ours, background': Entry('ours', {'checkpoint': {'background': True}}),
                    **LIGHTNING,
                },
                {**SAVING, 'checkpoint': {}},
                metrics=('stall', 'whole'),
            )
        ],
    ),
    'memory': (
        'Memory of a process that trains, at most',
        cases(
            'tasks.memory:peak',
            kinds({**RAW, **ENGINES, **LIGHTNING, **LOGGED}),
            NETS[0],
            NETS[2],
            metrics=('peak',),
            unit='MB',
            fresh=True,
        ),
    ),
    'hooks': (
        'Seconds per training iteration by number of further hooks',
        [
            *growth('that define nothing', ENGINES, {n: {'hooks': n} for n in (0, 10, 25, 50)}),
            *growth(
                'with after_train_iter',
                ENGINES,
                {n: {'hooks': n, 'hooks_listen': True} for n in (0, 10, 25, 50)},
            ),
        ],
    ),
    'parameters': (
        'Seconds per training iteration by number of parameter tensors',
        growth(
            'parameter tensors',
            {**RAW, **ENGINES},
            {
                n: {'net': 'many', 'net_options': {'tensors': n}, 'skip': 5, 'iters': iters}
                for n, iters in ((10, 500), (100, 200), (1000, 100), (10_000, 50))
            },
        ),
    ),
    'outputs': (
        'Seconds per training iteration by number of values that forward returns',
        growth(
            'values',
            {**RAW, **ENGINES},
            {n: {'net_options': {'outputs': n - 2}} for n in (2, 10, 25, 50)},
        ),
    ),
    'compiled': (
        'Seconds per training iteration of compiled models and of another memory format',
        [
            *cases(
                'train',
                {**RAW, **ENGINES},
                mlp('mlp, compiled', compiled=True),
                needs_compiler=True,
            ),
            *cases(
                'train',
                {**RAW, **ENGINES},
                ('cnn, channels_last', {**NETS[1][1], 'net_options': {'channels_last': True}}),
            ),
        ],
    ),
    'syncs': (
        'Times that a training iteration waits for the device',
        cases(
            'tasks.syncs:count',
            kinds({**RAW, **RAW_LOGGED, **ENGINES, **LIGHTNING, **LOGGED}),
            mlp(iters=200),
            metrics=('syncs',),
            unit='',
        ),
    ),
}
