"""digits.py and minimal.py, run as the README says, and read back by something else."""

import json
import os
import runpy
import subprocess
import sys
import types

import pytest
import torch
from matplotlib import image
from paths import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EXAMPLES, DOCS = ROOT / 'examples', ROOT / 'docs'

# As if nncore were not installed: neither its modules nor its version can be found.
HIDE_NNCORE = """
from importlib.machinery import PathFinder

find_spec, find_distributions = PathFinder.find_spec, PathFinder.find_distributions


def hiding_find_spec(cls, name, path=None, target=None):
    return None if name == 'nncore' else find_spec(name, path, target)


def hiding_find_distributions(cls, *args, **kwargs):
    return (d for d in find_distributions(*args, **kwargs) if d.metadata['Name'] != 'nncore')


PathFinder.find_spec = classmethod(hiding_find_spec)
PathFinder.find_distributions = classmethod(hiding_find_distributions)
"""


def run(args, cwd, **env):
    result = subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    """The folder that a run of digits.py leaves."""
    cwd = tmp_path_factory.mktemp('digits')
    run(['-m', 'nncore_compat', EXAMPLES / 'digits.py'], cwd)
    (work_dir,) = (cwd / 'work_dirs').iterdir()
    return work_dir


@pytest.fixture(scope='module')
def metrics(digits):
    return [json.loads(line) for line in (digits / 'metrics.json').read_text().splitlines()]


def test_accuracy(metrics):
    val = [record for record in metrics if record['mode'] == 'val']
    assert [record['epoch'] for record in val] == list(range(1, 11))
    assert val[-1]['accuracy'] > 0.97
    assert val[-1]['best_accuracy'] == max(record['accuracy'] for record in val)


def test_both_stages_follow_their_schedule(metrics):
    lr = {(r['epoch'], r['iter']): r['lr'] for r in metrics if r['mode'] == 'train'}
    assert lr[1, 15] < lr[1, 30] < lr[1, 45] < lr[2, 15] == lr[4, 45] == 2e-3
    second = [lr[epoch, it] for epoch in range(5, 11) for it in (15, 30, 45)]
    assert second == sorted(second, reverse=True)
    assert second[0] < 1e-2 and second[-1] < 1e-6


def test_files(digits):
    names = {path.name for path in digits.iterdir()}
    log = f'{digits.name}.log'
    assert names == {f'epoch_{n}.pth' for n in range(1, 11)} | {log, 'metrics.json', 'tf_logs'}
    assert 'accuracy: 0.9' in (digits / log).read_text()


def test_tensorboard_agrees_with_metrics(digits, metrics):
    events = EventAccumulator(str(digits / 'tf_logs'))
    events.Reload()
    for mode, key in (('train', 'loss'), ('val', 'loss'), ('val', 'accuracy')):
        written = [event.value for event in events.Scalars(f'{key}/{mode}')]
        assert written == pytest.approx([r[key] for r in metrics if r['mode'] == mode], rel=1e-6)


def test_checkpoint_gives_the_accuracy_in_plain_torch(digits, metrics, monkeypatch):
    monkeypatch.setitem(sys.modules, 'nncore', types.ModuleType('nncore'))
    engine = types.SimpleNamespace(Engine=None, set_random_seed=None)
    monkeypatch.setitem(sys.modules, 'nncore.engine', engine)
    script = runpy.run_path(str(EXAMPLES / 'digits.py'))

    checkpoint = torch.load(digits / 'epoch_10.pth', weights_only=True)
    assert checkpoint['meta']['epoch'] == 10
    net = script['Net']().eval()
    net.load_state_dict(checkpoint['state_dict'])
    held_out = script['Digits']('val')
    with torch.no_grad():
        hits = net.layers(held_out.images).argmax(1) == held_out.labels
    assert hits.float().mean().item() == pytest.approx(metrics[-1]['accuracy'])


def test_summary_and_plot_of_it(digits, metrics, tmp_path):
    (one,) = json.loads(run(['-m', 'nncore_compat', 'summary', digits, '--json'], tmp_path))
    best = {entry['key']: entry for entry in one['best']}
    record = max((r for r in metrics if r['mode'] == 'val'), key=lambda r: r['accuracy'])
    assert best['accuracy']['value'] == record['accuracy']
    assert best['accuracy']['checkpoint'] == f'epoch_{record["epoch"]}.pth'
    assert one['state'] == 'finished' and one['epochs'] == {'done': 10, 'planned': 10}
    run(['-m', 'nncore_compat', 'plot', digits, '--log', '-o', 'curves.png'], tmp_path)
    made, shown = (image.imread(p) for p in (tmp_path / 'curves.png', DOCS / 'digits.png'))
    # That of the README is smaller.
    assert made.shape[0] / made.shape[1] == pytest.approx(shown.shape[0] / shown.shape[1], rel=0.01)


def test_minimal_without_nncore(tmp_path):
    (tmp_path / 'sitecustomize.py').write_text(HIDE_NNCORE)
    paths = [str(tmp_path), *filter(None, [os.environ.get('PYTHONPATH')])]
    env = dict(PYTHONPATH=os.pathsep.join(paths))

    probe = (
        'import importlib.util as u, importlib.metadata as m;'
        'print(u.find_spec("nncore"), [d for d in m.distributions() if d.name == "nncore"])'
    )
    assert run(['-c', probe], tmp_path, **env).split() == ['None', '[]']

    run(['-m', 'nncore_compat', EXAMPLES / 'minimal.py'], tmp_path, **env)
    (metrics_file,) = tmp_path.glob('work_dirs/*/metrics.json')
    records = [json.loads(line) for line in metrics_file.read_text().splitlines()]
    assert [r['epoch'] for r in records if r['mode'] == 'val'] == [1, 2, 3, 4, 5]
    assert records[-1]['loss'] < 0.5 * records[0]['loss']
