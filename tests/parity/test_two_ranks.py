"""Two processes leave the same behind, rank by rank, under nncore 0.4.7 and under nncore_compat."""

import json
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.utils.data import DistributedSampler

from parity.compare import compare_runs
from parity.sides import LIMIT, OURS, PAIRS, SCRIPTS, environment, run_both
from parity.test_comparator import edit_json, edit_tensors, next_float, replace
from parity.test_parity import check

NAMES = sorted(f'{PAIRS}/{path.name}' for path in (SCRIPTS / PAIRS).glob('[!_]*.py'))
# What most of the others are made of.
SOME = [f'{PAIRS}/{name}.py' for name in ('accumulation', 'defaults', 'evaluation')]
BOTH = ('reference', 'ours')
# SamplerSeedHook as documented: in nncore 0.4.7 its only method is never called.
DOCUMENTED = """
from nncore.engine import SamplerSeedHook
def before_epoch(self, engine):
    engine.data_loader.sampler.set_epoch(engine.epoch)
SamplerSeedHook.before_train_epoch = SamplerSeedHook.before_val_epoch = before_epoch
"""
NO_AVERAGE = """
import torch.distributed as dist
dist.all_reduce = lambda *args, **kwargs: None
"""
ALIKE = """
import torch
from nncore.engine import Engine
launch = Engine.launch
def alike(self, *args, **kwargs):
    for tensor in self.model.state_dict().values():
        torch.distributed.broadcast(tensor, src=0)
    return launch(self, *args, **kwargs)
Engine.launch = alike
"""
SILENT_RANK = """
import os, warnings
if os.environ['RANK'] == '1':
    warnings.warn('only here')
"""


def test_scripts_are_plain_nncore_scripts():
    assert len(NAMES) >= 10
    for path in (SCRIPTS / PAIRS).glob('*.py'):
        assert 'nncore_compat' not in path.read_text(), path


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[] if name in SOME else pytest.mark.slow) for name in NAMES]
)
def test_script(name, sides, tmp_path):
    check(*run_both(*sides, name, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_script_in_the_stock_loop(name, sides, tmp_path):
    check(*run_both(*sides, name, tmp_path, stock=True))


def test_script_that_meets_no_quirk(sides, tmp_path):
    """What documentation and nncore agree on is the same with all quirks off."""
    check(*run_both(*sides, f'{PAIRS}/defaults.py', tmp_path, quirks='none'))


def test_order_of_samples_as_documented(sides, tmp_path):
    """With the quirk off every epoch has an order of its own: torch's, and a repaired nncore's."""
    reference, ours = sides
    reference.start(f'{PAIRS}/_order.py', tmp_path / 'reference', prelude=DOCUMENTED)
    ours.start(f'{PAIRS}/_order.py', tmp_path / 'ours', quirks='none')
    check(*[(tmp_path / name, side.wait()) for name, side in zip(BOTH, sides, strict=True)])
    for rank, name in enumerate(('order.trace.json', 'order.1.trace.json')):
        rows = json.loads((tmp_path / 'ours' / name).read_text())
        seen = [r['index'] for r in rows if r['what'] == 'item' and r['by'] == 'train']
        sampler = DistributedSampler(range(22), num_replicas=2, rank=rank, seed=8)
        expected = []
        for epoch in range(3):
            sampler.set_epoch(epoch)
            expected += list(sampler)
        assert seen == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    'prelude, where',
    [
        (NO_AVERAGE, 'defaults|weights:'),
        (ALIKE, 'models|bare_apart.1.trace.json'),
        (SILENT_RANK, 'defaults|1.stderr: '),
    ],
    ids=['no_average', 'alike', 'words'],
)
def test_a_broken_engine_is_found(prelude, where, sides, tmp_path):
    script, _, words = where.partition('|')
    reference, ours = sides
    reference.start(f'{PAIRS}/{script}.py', tmp_path / 'reference')
    ours.start(f'{PAIRS}/{script}.py', tmp_path / 'ours', prelude=prelude)
    assert [side.wait() for side in sides] == [0, 0]
    assert words in '\n'.join(compare_runs(tmp_path / 'reference', tmp_path / 'ours'))


@pytest.mark.slow
def test_a_changed_file_of_the_second_rank_is_found(sides, tmp_path):
    assert [c for _, c in run_both(*sides, f'{PAIRS}/defaults.py', tmp_path / 'a')] == [0, 0]
    for pattern, edit in {
        'ours/default.1.pt': lambda path: edit_tensors(path, next_float),
        'ours/default.1.trace.json': lambda path: edit_json(path, lambda rows: rows.pop(40)),
        'ours.1.stdout': replace('$', 'a word'),
        'ours.1.stderr': lambda path: path.unlink(),
    }.items():
        shutil.copytree(tmp_path / 'a', tmp_path / 'b')
        edit(tmp_path / 'b' / pattern)
        found = compare_runs(tmp_path / 'b' / 'reference', tmp_path / 'b' / 'ours')
        assert [text for text in found if Path(pattern).name.removeprefix('ours.') in text], pattern
        shutil.rmtree(tmp_path / 'b')


@pytest.mark.slow
def test_one_rank_that_fails_ends_the_other(sides, tmp_path):
    begun = time.monotonic()
    runs = run_both(*sides, f'{PAIRS}/_one_fails.py', tmp_path)
    assert time.monotonic() - begun < LIMIT / 4
    for out, code in runs:
        assert code == 1
        assert 'ArithmeticError: only here' in Path(f'{out}.1.stderr').read_text()
        # In the words of gloo, which differ with the moment at which it is told.
        assert re.search('Connection (closed|reset) by peer', Path(f'{out}.stderr').read_text())


def torchrun(side, folder, script):
    """Run a script as users do; streams go where the comparison looks for them."""
    out, logs = folder / side, folder / f'{side}_logs'
    out.mkdir()
    argv = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    argv += ['--redirects=3', f'--log-dir={logs}']
    argv += [SCRIPTS / PAIRS / script] if side == 'reference' else [*OURS, SCRIPTS / PAIRS / script]
    done = subprocess.run(
        [*map(str, argv), str(out)],
        cwd=out,
        env=environment(side == 'reference'),
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    for rank in (0, 1):
        for end in ('stdout', 'stderr'):
            (log,) = logs.glob(f'*/attempt_0/{rank}/{end}.log')
            shutil.copy(log, f'{out}.{rank}.{end}' if rank else f'{out}.{end}')
    return out, done.returncode


@pytest.mark.slow
def test_under_torchrun(reference_installed, tmp_path):
    with ThreadPoolExecutor() as pool:
        check(*pool.map(lambda side: torchrun(side, tmp_path, '_launched.py'), BOTH))
    weights = [torch.load(tmp_path / 'ours' / f'whole{rank}.pt') for rank in ('', '.1')]
    assert torch.equal(weights[0]['layers.0.weight'], weights[1]['layers.0.weight'])
