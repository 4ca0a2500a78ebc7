"""The examples show what they say: what they print is computed again by something else."""

import csv
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity.compare import compare_runs
from parity.sides import Side, run_both
from paths import ROOT
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, f1_score
from torch.utils.data import DataLoader, TensorDataset

EXAMPLES = ROOT / 'examples'
PROJECT = EXAMPLES / 'project'
# scikit-learn needs SciPy, which is hidden from processes of tests; bytecode would be compared.
PRELUDE = "import sys; sys.modules.pop('scipy', None); sys.dont_write_bytecode = True"


@pytest.fixture(scope='module')
def ours(request, tmp_path_factory):
    """A live process of ours, of the pair that is there anyway where there is nncore."""
    if importlib.util.find_spec('nncore'):
        yield request.getfixturevalue('sides')[1]
    else:
        side = Side(False, tmp_path_factory.mktemp('side') / 'log')
        yield side
        side.close()


@pytest.fixture
def printed(ours, tmp_path):
    """Run an example to its end; return the lines that it prints when the log is over."""

    def run(name):
        out = tmp_path / 'run'
        code = ours.run(EXAMPLES / name, out, quirks='none', prelude=PRELUDE)
        text = (tmp_path / 'run.stdout').read_text()
        errors = (tmp_path / 'run.stderr').read_text()
        assert code == 0, text + errors
        assert not re.search(r'WARNING|Warning', text + errors)
        return re.split(r'^\[20.*\n', text, flags=re.M)[-1].splitlines()

    return run


def digits():
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)


def held_out_logits(state_dict):
    """What a saved network says of the 300 digits that training does not see, in plain PyTorch."""
    images, _ = digits()
    weights = [state_dict[f'layers.{key}'] for key in ('0.weight', '0.bias', '2.weight', '2.bias')]
    return F.linear(F.relu(F.linear(images[:300], *weights[:2])), *weights[2:])


def accuracy(state_dict):
    return accuracy_score(digits()[1][:300], held_out_logits(state_dict).argmax(1))


def weights_in(folder, name):
    (file,) = folder.glob(f'run/work_dirs/*/{name}')
    return torch.load(file, weights_only=True)['state_dict']


def records_in(folder, mode):
    (file,) = folder.glob('run/work_dirs/*/metrics.json')
    records = [json.loads(line) for line in file.read_text().splitlines()]
    return [record for record in records if record['mode'] == mode]


def test_custom_hook(printed, tmp_path):
    hooks, *epochs = printed('custom_hook.py')
    assert hooks.endswith('EvalHook, WeightHook, EventWriterHook, FreezeHook')
    torch.manual_seed(1)
    before = first = torch.nn.Linear(64, 64).weight.detach()
    for number, line in enumerate(epochs, 1):
        saved = weights_in(tmp_path, f'epoch_{number}.pth')
        weight = saved['layers.0.weight']
        assert torch.equal(weight, first) == (number <= 2)
        # The mean of an epoch in which it stands still, or grows.
        norm = float(re.search(r'norm of the first layer (\S+),', line)[1])
        assert float(before.norm()) - 5e-4 <= norm <= float(weight.norm()) + 5e-4
        assert line.endswith(f'accuracy {accuracy(saved):.1%}')
        before = weight
    assert len(epochs) == 4


def test_custom_hook_under_nncore(sides, tmp_path):
    """The same lines, files and weights."""
    script = EXAMPLES / 'custom_hook.py'
    (reference, code), (ours, our_code) = run_both(*sides, script, tmp_path, prelude=PRELUDE)
    assert (code, our_code) == (0, 0)
    assert compare_runs(reference, ours) == []
    assert 'Epoch 4: norm of the first layer' in (tmp_path / 'reference.stdout').read_text()


def test_metrics(printed, tmp_path):
    values = dict(line.split(': ') for line in printed('metrics.py'))
    logits, labels = held_out_logits(weights_in(tmp_path, 'epoch_5.pth')), digits()[1][:300]
    chances, guesses = logits.softmax(1).max(1)
    right, bins = (guesses == labels).numpy(), np.ceil(chances.numpy() * 15)
    parts = [bins == number for number in np.unique(bins)]
    gaps = [abs(right[part].mean() - chances.numpy()[part].mean()) * part.mean() for part in parts]
    expected = {
        'acc': accuracy_score(labels, guesses),
        'f1': f1_score(labels, guesses, average='macro'),
        'calibration': sum(gaps),
    }
    assert values == {name: f'{value:.4f}' for name, value in expected.items()}
    assert records_in(tmp_path, 'val')[-1]['f1'] == pytest.approx(expected['f1'])


def test_mix_callbacks(printed, tmp_path):
    order, stopping, best, rates, averaging = printed('mix_callbacks.py')
    given = 'EarlyStopping, ModelCheckpoint, LearningRateMonitor, EMAWeightAveraging'
    assert order.endswith(f', EventWriterHook, {given}')

    accuracies = [record['acc'] for record in records_in(tmp_path, 'val')]
    top = accuracies.index(max(accuracies))
    assert len(accuracies) == top + 3
    assert stopping == f'EarlyStopping: ended after {len(accuracies)} epochs of 30'

    file = 'mix_callbacks/version_0/checkpoints/best.ckpt'
    assert best == f'ModelCheckpoint: accuracy {max(accuracies):.1%}, in work_dirs/{file}'
    saved = torch.load(tmp_path / 'run/work_dirs' / file, weights_only=True)
    assert accuracy(saved['state_dict']) == pytest.approx(max(accuracies))
    pair = [saved[key]['layers.2.bias'] for key in ('state_dict', 'current_model_state')]
    far = float((pair[0] - pair[1]).abs().max())
    assert averaging.startswith(f'EMAWeightAveraging: {far:.4f} ') and far > 1e-4

    with open(tmp_path / 'run/work_dirs/mix_callbacks/version_0/metrics.csv') as opened:
        written = [float(row['lr-Adam']) for row in csv.DictReader(opened) if row['lr-Adam']]
    assert written == sorted(written, reverse=True)
    assert set(written) == {0.01, 0.001}
    assert rates == 'LearningRateMonitor: 0.01, 0.001'


def test_from_lightning(printed):
    *epochs, seen = printed('from_lightning.py')

    # What the stages are to do, in a plain loop.
    torch.manual_seed(1)
    layers = [torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)]
    net, (images, labels) = torch.nn.Sequential(*layers), digits()
    train = DataLoader(TensorDataset(images[300:], labels[300:]), 32, shuffle=True)
    expected = []
    for kind, lr in ((torch.optim.Adam, 2e-3), (torch.optim.SGD, 1e-1)):
        optimizer = kind(net.parameters(), lr)
        for _ in range(2):
            for batch in train:
                optimizer.zero_grad()
                F.cross_entropy(net(batch[0]), batch[1]).backward()
                optimizer.step()
            # A loader draws a seed when it begins.
            torch.empty((), dtype=torch.int64).random_()
            loss = F.cross_entropy(net(images[:300]), labels[:300]).item()
            expected.append((len(expected) + 1, kind.__name__, loss))
    found = [re.fullmatch(r'Epoch (\d): (\w+), val_loss (\S+)', line).groups() for line in epochs]
    assert [(int(n), name, float(loss)) for n, name, loss in found] == [
        (n, name, pytest.approx(loss, abs=1e-4)) for n, name, loss in expected
    ]

    losses = [float(loss) for loss in re.findall(r'(\S+) in iteration', seen)]
    assert re.findall(r'iteration (\d+)', seen) == ['0', str(len(train)), str(2 * len(train) - 1)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(np.log(10), abs=0.2)


@pytest.mark.slow
def test_resume():
    done = subprocess.run(
        [sys.executable, '-m', 'nncore_compat', EXAMPLES / 'resume.py'],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    # Of 47 batches an epoch; one record for each five and the end, and one for the validation.
    assert done.stdout.splitlines() == [
        'A whole run: exit status 0',
        'One that is killed in iteration 110: exit status -9',
        'The same, started again: exit status 0, went on from stage 1, epoch 2, iter 100',
        'Tensors of weights that end the same, to the bit: 4 of 4',
        f'Lines of metrics.json: {4 * (47 // 5 + 1 + 1)}, the same: True',
    ]


@pytest.mark.slow
def test_project(sides, tmp_path):
    """The commands of its README, on nncore and on us: the same lines, files and weights."""
    readme = (PROJECT / 'README.md').read_text().replace('\\\n', '')
    commands = re.findall(r'^python -m nncore_compat (\S+) (.*)$', readme, re.M)
    assert len(commands) == 4
    folders = [tmp_path / 'reference', tmp_path / 'ours']
    for folder in folders:
        ignored = shutil.ignore_patterns('__pycache__', 'work_dirs')
        shutil.copytree(PROJECT, folder, ignore=ignored)
    for script, args in commands:
        for side, folder in zip(sides, folders, strict=True):
            options = dict(args=args.split(), prelude=PRELUDE + '; del sys.argv[1]')
            side.start(folder / script, folder, **options)
        codes = [side.wait() for side in sides]
        text = (tmp_path / 'ours.stdout').read_text() + (tmp_path / 'ours.stderr').read_text()
        assert codes == [0, 0], text
        assert compare_runs(*folders) == [], args
        if '--eval' in args:
            (found,) = re.findall(r"Evaluation results: {'test': {'accuracy': (\S+)}}", text)
            records = (folders[0] / 'work_dirs/mlp_4e_digits/metrics.json').read_text()
            trained = json.loads(records.splitlines()[-1])['accuracy']
            assert float(found) == pytest.approx(trained) and trained > 0.9
    made = {path.name for path in folders[1].glob('work_dirs/*')}
    assert made == {'cnn_2s_4e_digits', 'mlp_4e_digits', 'resumed'}
