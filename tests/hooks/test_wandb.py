"""WandbWriter offline, its runs read back from their files."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import wandb
from tiny import engine
from wandb.proto import wandb_internal_pb2 as wandb_records

TESTS = Path(__file__).parent.parent
# What each of 4 epochs of 3 iterations writes, every second iteration: (iter, epoch, tag).
ROWS = [
    row
    for epoch in range(1, 5)
    for row in (
        (3 * epoch - 1, epoch, 'loss/train'),
        (3 * epoch, epoch, 'loss/train'),
        (3 * epoch + 1, epoch, 'loss/val'),
        (3 * epoch + 1, epoch, 'acc/val'),
    )
]


def records(path):
    """Yield the records of a run: wandb's messages, in LevelDB's log format."""
    data = path.read_bytes()
    assert data[:4] == b':W&B'
    position, parts = 7, b''
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack('<IHB', data[position : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield wandb_records.Record.FromString(parts)
            parts = b''


class Written:
    """What a folder of wandb's holds."""

    def __init__(self, path):
        self.rows, self.steps, self.exit, self.charts = [], [], None, {}
        for record in records(path):
            kind = record.WhichOneof('record_type')
            if kind == 'run':
                self.id, self.name = record.run.run_id, record.run.display_name
                self.config = {
                    item.key: json.loads(item.value_json) for item in record.run.config.update
                }
                self.config.pop('_wandb')
            elif kind == 'history':
                row = {
                    item.key or '.'.join(item.nested_key): json.loads(item.value_json)
                    for item in record.history.item
                }
                self.steps.append(row['_step'])
                self.rows.append({key: v for key, v in row.items() if key[0] != '_'})
            elif kind == 'exit':
                assert self.exit is None
                self.exit = record.exit.exit_code
            elif kind == 'metric':
                self.charts[record.metric.name] = record.metric.step_metric

    @property
    def places(self):
        rows = [dict(row) for row in self.rows if 'iter' in row]
        return [(row.pop('iter'), row.pop('epoch'), *row) for row in rows]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('wandb')
    # Where this process has run wandb itself, the script would use the service that was started
    # here, and not wait for it at its end.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith('WANDB')}
    env = {
        **inherited,
        'OMP_NUM_THREADS': '1',
        'PYTHONPATH': os.pathsep.join(map(str, (TESTS.parent, TESTS))),
        'WANDB_SILENT': 'true',
        'WANDB_CONSOLE': 'off',
        'WANDB_DISABLE_GIT': 'true',
    }
    command = [sys.executable, str(TESTS / 'hooks' / 'wandb_runs.py'), str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def written(root):
    def read(case):
        return [Written(path) for path in sorted((root / case).glob('wandb/offline-run*/*.wandb'))]

    return read


def test_a_run(written):
    (run,) = written('done')
    assert run.name == 'run' and run.config == {
        'lr': 0.1,
        'model': {'dim': 3, 'act': 'builtins.print'},
    }
    assert run.places == ROWS
    assert run.rows[-1] == {'test': 1} and run.steps == list(range(17))
    assert run.charts == dict.fromkeys(('loss/train', 'loss/val', 'acc/val'), 'iter')
    assert run.exit == 0


def test_a_run_that_a_signal_ends(written):
    (run,) = written('signalled')
    assert run.places == ROWS[:9] and run.exit == 143


def test_a_run_that_fails_and_a_script_that_goes_on(written):
    first, second = sorted(written('caught'), key=lambda run: run.exit, reverse=True)
    assert (first.exit, second.exit) == (1, 0) and first.id != second.id
    assert first.places == ROWS[:9]
    assert second.config == {'second': True} and second.places == ROWS


def test_a_run_that_is_taken_up(written):
    """It is the same to wandb, and goes on with the row where its checkpoint was saved."""
    first, second = sorted(written('taken_up'), key=lambda run: run.exit, reverse=True)
    assert first.id == second.id and (first.exit, second.exit) == (1, 0)
    # At the end of the second epoch, whose validation is repeated.
    assert second.places == ROWS[6:]
    assert first.steps == list(range(9)) and second.steps == list(range(6, 16))


def test_a_run_of_the_scripts_own(written):
    (run,) = written('begun_by_the_script')
    assert run.name == 'mine' and run.config == {'a': 1}
    assert run.places == ROWS[:9] and run.rows[-1] == {'later': 1} and run.exit == 0


def test_two_launches_in_a_script(written):
    """As in nncore they are one run of wandb, which ends with the process."""
    (run,) = written('twice')
    assert run.places == ROWS * 2 and run.exit == 0 and run.config == {'meta': [1, 2]}


def test_wandb_switched_off(root):
    assert not list((root / 'switched_off').glob('wandb/*run*'))
    assert 'Done running' in (root / 'out' / 'switched_off').read_text()


def test_a_server_that_does_not_answer(tmp_path, monkeypatch):
    """Training goes on without; a wrong call or a missing key is told before it begins."""
    for kind in ('CommError', 'UsageError', 'AuthenticationError'):
        error = getattr(wandb.errors, kind)('no')
        monkeypatch.setattr(wandb, 'init', mock.Mock(side_effect=error))
        hooks = [{'type': 'EventWriterHook', 'writers': ['WandbWriter', 'JSONWriter']}]
        one = engine(tmp_path / kind, hooks=hooks)
        if kind == 'CommError':
            one.launch()
            assert (tmp_path / kind / 'metrics.json').exists()
        else:
            with pytest.raises(wandb.errors.Error, match='no'):
                one.launch()
            assert one.iter == 0
