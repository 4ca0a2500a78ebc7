"""Two processes decide alike, whatever each of them has."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import python_path

HERE = Path(__file__).resolve().parent


def mean(values):
    """Average pairs of a value and a weight."""
    return sum(v * w for v, w in values) / sum(w for _, w in values)


@pytest.mark.slow
def test_two_processes(tmp_path):
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    env = {
        **os.environ,
        'PYTHONPATH': python_path(HERE.parent.parent, HERE.parent),
        'OMP_NUM_THREADS': '1',
    }
    run = subprocess.run(
        [*command, str(HERE / '_two_processes.py'), str(tmp_path)],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    first, second = (json.loads((tmp_path / f'rank_{i}.json').read_text()) for i in (0, 1))
    assert first == second
    # val_grows gets worse from the start: patience ends after the second epoch.
    assert first['epoch'] == 2 and len(first['rows']) == 2
    assert Path(first['best']).name == 'epoch=0-step=3.ckpt' and Path(first['best']).exists()

    # Calls of the model are counted over training (3 batches) and validation (3 and 2).
    row = {key: float(value) for key, value in first['rows'][0].items()}
    assert row['train_only_0'] == mean([(1, 1), (2, 1), (3, 1)])
    assert row['train_only_1'] == mean([(1, 2), (2, 2), (3, 2)])
    assert row['train_grows'] == pytest.approx(mean([(0, 3), *((i, 2) for i in (1, 2, 3))]))
    assert row['val_grows'] == pytest.approx(mean([(0, 3), (4, 2), (5, 2)]))
    assert math.isnan(row['train_bad']) and math.isnan(row['val_bad'])
    assert (row['acc'], row['count']) == (0.25, 4), 'of the main process'
