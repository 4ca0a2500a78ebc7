"""Runs that are resumed, and how they differ from the run that was never interrupted."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from parity.compare import compare_values

from nncore_compat import Hook
from nncore_compat.comm import all_gather, is_distributed, is_main_process, sync
from resume.cases import BATCHES, EPOCHS, Case, by_config
from resume.controls import lacking
from resume.project import build, close

# What the clock has a say in.
TIMES = ('time', 'data_time', '_iter_time', '_data_time', '_train_time', '_val_time', '_total_time')
# Hooks that keep in mind which files there are, of what size, in the folder of their run.
OWN_FILES = ('CheckpointHook', 'EventWriterHook')
SEEDS = {'reference': 1, 'resumed': 2}
SHOWN = 8


def differences(cases: Iterable[Case], folder: Path) -> Iterator[tuple[Case, list[str]]]:
    """Run cases, in one process or as one of two, and tell what differs at their ends.

    Args:
        cases: The cases, all for as many processes as there are.
        folder: Where the files go, the same for all processes.

    Yields:
        Each case, with a list of readable differences.
    """
    for config, group in by_config(list(cases)).items():
        whole = folder / str(config)
        engine = build(config, whole, SEEDS['reference'], every_n_iters=1)
        engine.logger.setLevel('ERROR')
        engine.hooks['Saver'].folder = whole
        expected = finish(engine)
        for case in group:
            resumed = folder / str(case)
            engine = build(config, resumed, SEEDS['resumed'])
            engine.logger.setLevel('ERROR')
            path = str(whole / case.file)
            engine.resume(lacking(path, case.lacks) if case.lacks else path)
            got = finish(engine)
            found = list(compare_ends(expected, got, case))
            if is_main_process():
                found += compare_files(whole, resumed, case)
            if is_distributed():
                found = [
                    f'rank {rank}: {text}' for rank, f in enumerate(all_gather(found)) for text in f
                ]
            if is_main_process():
                shutil.rmtree(resumed)
            yield case, found
        if is_main_process():
            shutil.rmtree(whole)
        sync()


def finish(engine) -> dict:
    """Train to the end, and tell all that is left in memory."""
    engine.launch()
    end = {
        'trace': engine.hooks['Trace'].rows,
        'counters': {'stage': engine.stage, 'epoch': engine.epoch, 'iter': engine.iter},
        'weights': copied(engine.model.state_dict()),
        'averages': averages(engine),
        'optimizer': copied(engine.optimizer.state_dict()),
        'scaler': engine.hooks['OptimizerHook'].scaler.state_dict(),
        'random': [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()],
        'buffer': {k: list(v) for k, v in engine.buffer.items() if k not in TIMES},
        'metrics': dict(engine.trainer.callback_metrics),
        'callbacks': {
            name: hook.state_dict()
            for name, hook in engine.hooks.items()
            if not isinstance(hook, Hook)
        },
        'hooks': {
            name: hook.state_dict()
            for name, hook in engine.hooks.items()
            if isinstance(hook, Hook) and hasattr(hook, 'state_dict') and name not in OWN_FILES
        },
    }
    close(engine)
    return end


def averages(engine) -> dict | None:
    """The weights that a callback has averaged."""
    callback = engine.hooks.get('EMAWeightAveraging')
    return callback and copied(callback._average_model.state_dict())


def copied(value):
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return value


def compare_ends(expected: dict, got: dict, case: Case) -> Iterator[str]:
    """Yield differences between two runs; of the trace only the first one, which says most."""
    expected, got = dict(expected), dict(got)
    lines = [row for row in expected.pop('trace') if later(row, case)], got.pop('trace')
    if len(lines[0]) != len(lines[1]):
        yield f'trace: {len(lines[1])} rows instead of {len(lines[0])}'
    for row, other in zip(*lines, strict=False):
        found = list(compare_values(row, other))
        if found:
            yield f'trace, first at {row}: {"; ".join(found)}'
            break
    yield from shortened(compare_values(expected, got))


def shortened(found: Iterable[str]) -> Iterator[str]:
    """Yield the first few of many."""
    found = list(found)
    yield from found[:SHOWN]
    if len(found) > SHOWN:
        yield f'... and {len(found) - SHOWN} more'


def compare_files(whole: Path, resumed: Path, case: Case) -> Iterator[str]:
    """Yield differences between the files that a resumed run wrote and those of the whole run."""
    names = sorted(path.name for path in resumed.glob('*.pth'))
    first = case.done // BATCHES + 1
    wanted = [f'epoch_{epoch}.pth' for epoch in range(first, sum(EPOCHS) + 1)]
    if names != wanted:
        yield f'files: {names}, expected {wanted}'
    for name in names:
        pair = [mask(torch.load(f / name, weights_only=True)) for f in (whole, resumed)]
        found = list(shortened(compare_values(*pair)))
        yield from (f'{name}: {text}' for text in found)
        if found:
            # The files after it differ for the same reason.
            break
    lines = [rows(folder / 'metrics.json') for folder in (whole, resumed)]
    tail = [row for row in lines[0] if later(row, case)]
    yield from (f'metrics.json: {text}' for text in shortened(compare_values(tail, lines[1])))


def later(row: dict, case: Case) -> bool:
    """Whether a row, of the trace or of metrics.json, comes after the moment of resumption."""
    if row['mode'] == 'train':
        return (row['epoch'] - 1) * BATCHES + row['iter'] > case.done
    done = row['epoch'] * BATCHES
    return done > case.done or (done == case.done and case.moment == 'end')


def rows(path: Path) -> list[dict]:
    """The lines of metrics.json without what the clock says."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in lines]


def mask(checkpoint: dict) -> dict:
    """A checkpoint without what the clock says, and without the names of files."""
    checkpoint['meta'].pop('create_time')
    # What Lightning counted in the validation before, until the next one begins.
    checkpoint['loops']['fit_loop'].pop('epoch_loop.val_loop.batch_progress')
    for rank in checkpoint['nncore_compat']['ranks']:
        rank['buffer'] = {k: v for k, v in rank['buffer'].items() if k not in TIMES}
        rank['hooks'] = {k: v for k, v in rank['hooks'].items() if k not in OWN_FILES}
    return checkpoint
