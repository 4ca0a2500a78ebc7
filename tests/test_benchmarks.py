"""The benchmarks run, train the same everywhere, and report what was measured."""

import ast
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from benchmarks import report  # noqa: E402
from benchmarks.clock import Clock  # noqa: E402
from benchmarks.measure import Workers, chosen, run  # noqa: E402
from benchmarks.questions import QUESTIONS  # noqa: E402
from benchmarks.tasks import syncs  # noqa: E402

CASES = [case for _, cases in QUESTIONS.values() for case in cases]


@pytest.mark.slow
def test_a_question_from_end_to_end(tmp_path):
    argv = ['iteration', '--quick', '--cases', 'schedule', '--contestants', 'raw', 'ours']
    done = subprocess.run(
        [sys.executable, '-m', 'benchmarks', *argv, '--out', tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr

    result = json.loads((tmp_path / 'iteration.json').read_text())
    (case,) = result['cases']
    rows = case['contestants']
    assert list(rows) == ['raw', 'ours']
    for row in rows.values():
        (measured,) = row['rounds']
        assert row['min'] == row['median'] == row['max'] == measured['wall'] > 0
    assert rows['ours']['to_raw'] == rows['ours']['median'] / rows['raw']['median']
    # the plain loop is the reference of what was trained, learning rates of the schedule included
    assert rows['ours']['rounds'][0]['weights'] == rows['raw']['rounds'][0]['weights']
    assert result['surroundings']['versions']['torch']

    written = (tmp_path / 'iteration.md').read_text()
    assert written in done.stdout
    for label in rows:
        assert f'| {label} | ' in written

    image = pytest.importorskip('matplotlib.image').imread(tmp_path / 'iteration.png')
    red, green, blue = (image[..., channel] for channel in range(3))
    # the bar of ours
    assert ((green > 1.5 * red) & (green > blue)).sum() > 100


def test_every_question_of_the_readme_can_be_asked():
    text = (ROOT / 'benchmarks' / 'README.md').read_text().partition('| question |')[2]
    named = [
        name for row in re.findall(r'(?m)^\|([^|]*)\|', text) for name in re.findall('`(.*?)`', row)
    ]
    assert sorted(named) == sorted(QUESTIONS)


def functions(path):
    tree = ast.parse((ROOT / 'benchmarks' / f'{path}.py').read_text())
    return {
        target.id if isinstance(node, ast.Assign) else node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.Assign))
        for target in (node.targets if isinstance(node, ast.Assign) else [None])
        if target is None or isinstance(target, ast.Name)
    }


def test_every_contestant_can_do_what_it_is_asked():
    for case in CASES:
        module, _, name = case.function.rpartition(':')
        for entry in case.entries.values():
            kind = 'engine' if entry.worker in ('nncore', 'ours') else entry.worker
            path = module.replace('.', '/') or f'contestants/{kind}'
            assert name in functions(path), (case.name, entry)


def test_the_clock_leaves_out_what_does_not_count(monkeypatch):
    now = iter([0, 100, 200, 203, 206, 216, 300, 400])
    monkeypatch.setattr(time, 'perf_counter', lambda: float(next(now)))
    monkeypatch.setattr(time, 'process_time', iter([7.0, 15.0]).__next__)
    clock = Clock(skip=2, iters=4)
    for _ in range(8):
        clock([1])
    # iterations of 3, 3, 10 and 84 seconds
    assert clock.per_iteration() == {'wall': 25.0, 'cpu': 2.0, 'typical': 6.5}


def test_a_clock_that_saw_too_few_batches_says_so():
    clock = Clock(skip=2, iters=4)
    clock([1])
    with pytest.raises(RuntimeError, match='1 batches were loaded, expected 7'):
        clock.per_iteration()


def test_waits_are_counted_as_if_the_model_were_on_a_device():
    counter, layer = syncs._Pretended(), torch.nn.Linear(2, 2)
    with counter:
        loss = layer(torch.ones(1, 2)).sum()
        loss.backward()
        copy = loss.detach().cpu()
        assert counter.waits == 1
        # of a copy, and of what never was on the device
        copy.item()
        torch.ones(2).sum().item()
        assert counter.waits == 1
        loss.item()
        bool(loss > 0)
        float(layer.weight.grad.norm())
        loss.to('cpu')
        loss.detach().tolist()
        assert counter.waits == 6


class Scripted:
    """In place of a process: takes as long as is written here, the warm-up included."""

    rounds = {'raw': [99, 1, 4, 2], 'nncore': [99, 4, 6, 9], 'ours': [99, 2, 2, 1]}
    asked: list = []

    def __init__(self, name, processes, device):
        self.name = name
        self.left = iter(self.rounds[name])

    def ask(self, function, spec):
        self.asked.append(self.name)
        return {'wall': float(next(self.left))}

    def close(self):
        pass


def test_contestants_take_turns_and_ratios_are_paired_by_round(monkeypatch):
    monkeypatch.setattr(Scripted, 'asked', [])
    (case, *_) = QUESTIONS['processes'][1]
    found = run(case, 3, True, Workers('cpu', Scripted), lambda text: None)
    assert Scripted.asked == ['raw', 'nncore', 'ours'] * 4
    rows = report.summary(case, 'wall', found)['contestants']
    assert [row['wall'] for row in rows['nncore']['rounds']] == [4, 6, 9]
    assert {key: rows['nncore'][key] for key in ('min', 'median', 'max', 'to_raw')} == {
        'min': 4,
        'median': 6,
        'max': 9,
        # of 4/1, 6/4 and 9/2; the medians would give 6/2
        'to_raw': 4,
    }


def test_another_tree_of_ours_stands_beside_ours():
    (case, *_) = QUESTIONS['checkpoint'][1]
    found = chosen(case, ['raw', 'ours', 'ours@../x --quirks all'])
    assert list(found) == [
        'raw',
        'ours',
        'ours@../x --quirks all',
        'ours, background',
        'ours@../x --quirks all, background',
    ]
    assert found['ours@../x --quirks all, background'].worker == 'ours@../x --quirks all'
