"""What is asked: for each question its cases."""

from __future__ import annotations

from .cases import (
    ALL,
    ENGINES,
    LIGHTNING,
    LOGGED,
    NETS,
    RAW,
    RAW_LOGGED,
    Case,
    Entry,
    cases,
    command,
    growth,
    kinds,
    mlp,
)

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
