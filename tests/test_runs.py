"""What real nncore and this package leave in work dirs, as `summary` and `plot` tell of it.

The numbers are computed again here, from the lines of metrics.json one by one.
"""

import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import oracle
import pytest
import torch

from nncore_compat import _plot, _summary, get_checkpoint
from nncore_compat._pickles import Refused
from nncore_compat._plots.panels import drawing
from nncore_compat._runs import best, log, saved, state
from nncore_compat._runs.find import Place, places
from nncore_compat._runs.records import Records, epoch_of, iteration_of
from nncore_compat._runs.run import Run

FIXTURES = Path(__file__).parent / 'fixtures'

TRAINING = """
import os, time, torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

class Points(Dataset):
    def __init__(self, size):
        self.x = torch.randn(size, 2, generator=torch.Generator().manual_seed(size))
    def __len__(self):
        return len(self.x)
    def __getitem__(self, index):
        return self.x[index]
    def evaluate(self, outputs, logger=None, **kwargs):
        share = sum(map(len, outputs)) / len(self)
        values = torch.cat(outputs)
        return dict(zork=values.mean().item(), plonk=values.std().item(), acc=share)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(2, 1)
    def forward(self, data, mode, **kwargs):
        out = (self.fc(data) - data.sum(1, keepdim=True)).square()
        return dict(loss_a=out.mean(), loss_b=out.mean() / 3, _avg_factor=len(data),
                    _out=out[:, 0].detach())

def engine(name, stages, hooks, **loaders):
    loaders = dict(train=DataLoader(Points(23), 4), **loaders)
    return E.Engine(Net(), loaders, stages=stages, hooks=hooks, work_dir=os.path.join(FOLDER, name),
                    logger=name + str(time.time()))

STAGES = [
    dict(epochs=2, optimizer=dict(type='SGD', lr=0.01, momentum=0.9),
         warmup=dict(type='iter', policy='linear', steps=4, ratio=0.1),
         validation=dict(interval=1)),
    dict(epochs=3, optimizer=dict(type='Adam', lr=0.02),
         lr_schedule=dict(type='iter', policy='cosine'), validation=dict(interval=1)),
]
HOOKS = [dict(type='EvalHook', low_keys=['zork', 'plonk'], high_keys=['acc']),
         dict(type='EventWriterHook', interval=4),
         dict(type='CheckpointHook', create_symlink=True)]

class Fall(E.Hook):
    def after_train_iter(self, engine):
        if engine.iter == 4 * 6 + 4:
            raise RuntimeError('fallen')

val = dict(val=DataLoader(Points(9), 4))
engine('whole run', STAGES, HOOKS, **val).launch()
try:
    engine('resumed', STAGES, [*HOOKS, Fall()], **val).launch()
except RuntimeError:
    pass
time.sleep(1.1)
again = engine('resumed', STAGES, HOOKS, **val)
again.resume(os.path.join(FOLDER, 'resumed', 'epoch_1.pth'))
again.launch()
writers = ['CommandLineWriter', dict(type='JSONWriter', filename='lines.txt')]
engine('bare', [dict(epochs=2, optimizer=dict(type='SGD', lr=0.01))],
       [dict(type='EventWriterHook', interval=1, writers=writers)]).launch()
result = None
"""


NAMES = {('train', 'loss_a'), ('val', 'loss'), ('val', 'zork'), ('train', 'lr')}
BEST = {'loss': min, 'loss_a': min, 'loss_b': min, 'zork': min, 'plonk': min, 'acc': max}


@pytest.fixture(scope='module', params=['real', 'ours'])
def side(request, tmp_path_factory):
    """A folder with three runs of real nncore, or of ours."""
    folder = tmp_path_factory.mktemp('ü ') / request.param
    oracle.run(request.param, f'FOLDER = {str(folder)!r}\n{TRAINING}')
    return folder


def lines(folder, name='metrics.json'):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def told(capsys, *args):
    _summary.main([*map(str, args), '--json'])
    return json.loads(capsys.readouterr().out)


def text(capsys, *args):
    _summary.main([*map(str, args)])
    return capsys.readouterr().out


def point(record, length=6):
    """How many iterations and epochs are done where a record was written."""
    if record['mode'] == 'train':
        done = (record['epoch'] - 1) * length + record['iter']
        return done, pytest.approx(done / length)
    return record['epoch'] * length, record['epoch']


def surviving(records):
    """The records that no later one goes back before."""
    places = [(r['epoch'], r['iter'] or math.inf) for r in records]
    return [r for n, r in enumerate(records) if all(places[n] < p for p in places[n + 1 :])]


def curves(folder, **options):
    drawn = drawing([Run(place) for place in places([str(folder)])], **options)
    return {
        (curve.mode, panel.key, curve.old): curve
        for panel in drawn.panels
        for curve in panel.curves
    }


def test_curves_are_what_metrics_json_holds(side):
    records = lines(side / 'whole run')
    found = curves(side / 'whole run', keys=['*'])
    assert {key[:2] for key in found} >= {('train', 'loss_a'), ('val', 'zork'), ('lr', 'lr')}
    for (mode, key, old), curve in found.items():
        mode = 'train' if mode == 'lr' else mode
        expected = [(*point(r), r[key]) for r in records if r['mode'] == mode and key in r]
        assert not old
        assert list(zip(curve.iters, curve.epochs, curve.values, strict=True)) == expected


def test_resume(side, capsys):
    """Nothing of what came again is left of the first time, and the place is marked."""
    records = lines(side / 'resumed')
    kept = surviving(records)
    assert len(records) > len(kept) > 12
    found = curves(side / 'resumed')
    for mode, key in NAMES:
        name = 'lr' if key == 'lr' else mode
        expected = [r[key] for r in kept if r['mode'] == mode]
        assert list(found[name, key, False].values) == expected
    assert len(found['train', 'loss', True].values) == sum(
        r['mode'] == 'train' for r in records
    ) - sum(r['mode'] == 'train' for r in kept)
    (one,) = told(capsys, side / 'resumed')
    assert one['resumes'] == [{'iteration': 6, 'epoch': 1.0}] and one['launches'] == 2
    assert one['records']['read'] == len(kept)
    assert one['records']['put_aside'] == len(records) - len(kept)
    assert 'resumed after epoch 1 (iteration 6)' in text(capsys, side / 'resumed')
    # Without the log, it is seen by the step back.
    os.rename(log_of(side / 'resumed'), side / 'aside')
    try:
        (one,) = told(capsys, side / 'resumed')
        assert [mark['iteration'] for mark in one['resumes']] == [6]
    finally:
        os.rename(side / 'aside', log_of(side / 'resumed', '20250101000000.log'))


def log_of(folder, name=None):
    return folder / name if name else max(folder.glob('*.log'), key=os.path.getsize)


def test_best(side, capsys):
    for name in ('whole run', 'resumed'):
        records = [r for r in surviving(lines(side / name)) if r['mode'] == 'val']
        (one,) = told(capsys, side / name)
        assert {entry['key'] for entry in one['best']} == set(BEST)
        for entry in one['best']:
            choose = BEST[entry['key']]
            record = choose(records, key=lambda r: r[entry['key']])
            assert (entry['value'], entry['epoch']) == (record[entry['key']], record['epoch'])
            assert entry['iteration'] == record['epoch'] * 6
            assert entry['high'] == (choose is max)
            assert entry['checkpoint'] == f'epoch_{record["epoch"]}.pth'
    # acc was 1 all the time: nncore's files do not tell what is best of it, ours do.
    assert [e['guessed'] for e in one['best'] if e['key'] == 'acc'] == [side.name == 'real']
    assert [e['guessed'] for e in one['best'] if e['key'] in ('zork', 'plonk')] == [False, False]


def test_table_of_epochs(side, capsys):
    records = lines(side / 'whole run')
    (one,) = told(capsys, side / 'whole run')
    assert [row['epoch'] for row in one['by_epoch']] == [1, 2, 3, 4, 5]
    shown = text(capsys, side / 'whole run')
    for row in one['by_epoch']:
        train = [r for r in records if r['mode'] == 'train' and r['epoch'] == row['epoch']]
        weights = [4, 2]
        mean = sum(w * r['loss'] for w, r in zip(weights, train, strict=True)) / 6
        assert row['train']['loss'] == pytest.approx(mean)
        spent = sum(w * (r['time'] + r['data_time']) for w, r in zip(weights, train, strict=True))
        assert row['seconds'] == pytest.approx(spent)
        assert row['lr'] == train[-1]['lr']
        assert f'{mean:.4g}' in shown
        val = [r for r in records if r['mode'] == 'val' and r['epoch'] == row['epoch']]
        if val:
            assert row['val'] == {
                k: v for k, v in val[0].items() if k not in ('mode', 'epoch', 'iter')
            }
            assert f'{val[0]["zork"]:.4g}' in shown
        else:
            assert side.name == 'real' and row['epoch'] == 2 and 'val' not in row
    assert one['seconds']['iteration'] == pytest.approx(
        sum(row['seconds'] for row in one['by_epoch']) / 30
    )


def test_stages_versions_and_progress(side, capsys):
    (one,) = told(capsys, side / 'whole run')
    meta = torch.load(side / 'whole run' / 'epoch_5.pth', weights_only=True)['meta']
    assert one['stages'] == [
        {'first': 1, **meta['stages'][0], 'optimizer': 'SGD(lr: 0.01, momentum: 0.9)'},
        {'first': 3, **meta['stages'][1], 'optimizer': 'Adam(lr: 0.02)'},
    ]
    assert one['epochs'] == {'done': 5, 'planned': 5}
    assert one['iterations'] == {'done': 30, 'in_epoch': 0, 'per_epoch': 6}
    assert one['state'] == 'finished' and one['launches'] == 1 and not one['resumes']
    assert one['versions']['nncore'] == meta['nncore_version']
    assert ('nncore_compat' in one['versions']) == (side.name == 'ours')
    shown = text(capsys, side / 'whole run')
    assert 'cosine by iter' in shown and 'linear by iter (steps: 4, ratio: 0.1)' in shown
    # They are marked where they begin, also where only the log tells of them.
    for content in (None, {}):
        run = Run(Place(str(side / 'whole run')))
        if content is not None:
            run.content = content
        assert [stage.config != {} for stage in run.stages] == [content is None] * 2
        assert drawing([run]).runs[0].stages == [(0, 0.0), (12, 2.0)]


def test_checkpoints_are_told_without_torch(side, capsys):
    folder = side / 'whole run'
    (one,) = told(capsys, folder)
    listed = {c['name']: c for c in one['checkpoints']}
    assert list(listed) == [*(f'epoch_{n}.pth' for n in range(1, 6)), 'latest.pth']
    for name, entry in listed.items():
        loaded = torch.load(folder / name, weights_only=True)
        assert (entry['epoch'], entry['iteration']) == (
            loaded['meta']['epoch'],
            loaded['meta']['iter'],
        )
        assert entry['bytes'] == os.path.getsize(folder / name) and entry['readable']
        for first_only in (True, False):
            assert saved.contents(str(folder / name), first_only)['meta'] == loaded['meta']
    assert listed['latest.pth']['link'] == 'epoch_5.pth'
    if side.name == 'ours':
        loaded = torch.load(folder / 'epoch_5.pth', weights_only=True)['nncore_compat']
        run = Run(Place(str(folder)))
        assert run.hook_states == loaded['ranks'][0]['hooks']
        assert run.hook_states['EvalHook']['low']['zork'] > 0


def test_the_log_alone(side, tmp_path, capsys):
    """It has the same records, with four decimals."""
    shutil.copy(log_of(side / 'whole run'), tmp_path)
    kept = [r for r in lines(side / 'whole run')]
    run = Run(*places([str(tmp_path)]))
    assert len(run.records) == len(kept)
    for mode, key in {('train', 'lr'), ('train', 'loss_a'), ('val', 'zork'), ('val', 'best_zork')}:
        _, values = run.records.series(mode, key)
        expected = [r[key] for r in kept if r['mode'] == mode]
        assert list(values) == pytest.approx(expected, abs=5.1e-5)
    (one,) = told(capsys, tmp_path)
    assert one['state'] == 'finished' and one['epochs'] == {'done': 5, 'planned': 5}


def test_metrics_under_another_name_and_no_validation(side, capsys):
    found = curves(side / 'bare')
    records = lines(side / 'bare', 'lines.txt')
    assert list(found['train', 'loss', False].values) == [r['loss'] for r in records]
    for path in (side / 'bare', side / 'bare' / 'lines.txt'):
        (one,) = told(capsys, path)
        assert one['metrics'].endswith('lines.txt') and one['best'] == []
        assert one['iterations']['done'] == 12


def test_a_folder_of_runs(side, capsys):
    runs = told(capsys, side)
    assert [Path(one['work_dir']).name for one in runs] == ['bare', 'resumed', 'whole run']
    shown = text(capsys, side, '--sort', 'zork')
    rows = [line.split('  ')[1].strip() for line in shown.splitlines()[1:4]]
    assert set(rows) == {'bare', 'resumed', 'whole run'} and rows[2] == 'bare'
    assert told(capsys, side, side / 'bare', str(side / 'bare') + '/') == runs
    drawn = drawing([Run(place) for place in places([str(side)])])
    assert [run.label for run in drawn.runs] == ['bare', 'resumed', 'whole run']
    assert Counter(c.run for p in drawn.panels for c in p.curves if p.key == 'acc') == {1: 2, 2: 1}


def test_neither_torch_nor_numpy_nor_a_change(side, tmp_path):
    """Both commands leave a work dir as it is, and get along with Python's own modules."""
    before = {path: os.stat(path) for path in side.rglob('*')}
    code = f"""
import sys
from nncore_compat.__main__ import main
main(['summary', {str(side)!r}])
main(['plot', {str(side)!r}, '-o', {str(tmp_path / 'a.html')!r}])
main(['plot', {str(side / 'bare')!r}])
print(sorted({{'torch', 'numpy', 'lightning', 'matplotlib'}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.splitlines()[-1] == '[]'
    after = {path: os.stat(path) for path in side.rglob('*')}
    assert before.keys() == after.keys()
    for path, stat in before.items():
        assert (stat.st_mtime_ns, stat.st_size) == (after[path].st_mtime_ns, after[path].st_size)
    assert os.listdir(tmp_path) == ['a.html']


def written(folder, records, log_lines=()):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'metrics.json').write_text(''.join(json.dumps(r) + '\n' for r in records))
    if log_lines:
        (folder / 'a.log').write_text('\n'.join(log_lines) + '\n')
    return folder


def train(epoch, iteration, **values):
    return {'mode': 'train', 'epoch': epoch, 'iter': iteration, 'lr': 0.1, **values}


def test_unfinished_runs(tmp_path, capsys):
    records = [train(1, 5, loss=2.0), train(1, 10, loss=1.0), train(2, 5, loss=0.5)]
    head = ['[2026-01-01 00:00:00 INFO]: Launch engine, host: a@b, work_dir: x']
    head += ['[2026-01-01 00:00:00 INFO]: Stage: 1, epochs: 4, optimizer: SGD(lr: 0.1)']
    head += ['[2026-01-01 00:01:00 INFO]: Epoch [2][4/10] lr: 0.1, loss: 0.5']
    head += ['[2026-01-01 00:01:40 INFO]: Epoch [2][5/10] lr: 0.1, eta: 1 day, 0:00:00, loss: 0.5']
    folder = written(tmp_path / 'run', records, head)
    with open(folder / 'metrics.json', 'a') as file:
        file.write('{"mode": "train", "epoch": 2, "it')
    (one,) = told(capsys, folder)
    assert one['state'] == 'running' and one['epochs'] == {'done': 1, 'planned': None}
    assert one['iterations'] == {'done': 15, 'in_epoch': 5, 'per_epoch': 10}
    assert one['records'] == {'read': 3, 'put_aside': 0, 'unreadable': 0, 'torn': True}
    assert one['seconds']['total'] == 100
    for path in folder.iterdir():
        os.utime(path, (time.time() - 3600,) * 2)
    assert told(capsys, folder)[0]['state'] == 'interrupted'
    # The process that goes on writes on in the torn line.
    with open(folder / 'metrics.json', 'a') as file:
        file.write(json.dumps(train(2, 10, loss=0.25)) + '\nnoise\n')
    with open(folder / 'a.log', 'a') as file:
        file.write('[2026-01-01 00:02:00 INFO]: Stopped after epoch 2 of 4, as a callback asked\n')
    (one,) = told(capsys, folder)
    assert one['records'] == {'read': 4, 'put_aside': 0, 'unreadable': 2, 'torn': False}
    assert one['state'] == 'stopped' and one['epochs']['done'] == 2


def test_a_run_that_began_anew(tmp_path, capsys):
    """It has not got to where the first one was: that one is not its own."""
    old = [train(e, 2, loss=e) for e in (1, 2, 3)]
    folder = written(tmp_path / 'run', [*old, train(1, 2, loss=9.0)])
    (one,) = told(capsys, folder)
    assert one['epochs']['done'] == 1 and one['resumes'] == [] and one['launches'] == 2
    found = curves(folder)
    assert list(found['train', 'loss', False].values) == [9.0]
    assert list(found['train', 'loss', True].values) == [1, 2, 3]


def test_odd_records(tmp_path, capsys):
    records = [
        train(1, 1, loss=math.nan) | {'lr': [0.1, {'head': 0.2}], 'note': 'x', 'nothing': None},
        train(1, 2, loss=math.inf) | {'lr': [0.1, {'head': 0.3}], 'now and then': 5},
        train(1, 3, loss=0.5) | {'lr': [0.1, {'head': 0.4}]},
        # Of a hook that validates within an iteration, the third.
        {'mode': 'val', 'epoch': 0, 'iter': 2, 'mid': 0.5},
        {'mode': 'val', 'epoch': 1, 'iter': 0, 'loss': math.nan, 'm': True},
        {'mode': 'test', 'epoch': 1, 'iter': 0, 'loss': 2.0, 'word': 'x'},
    ]
    folder = written(tmp_path / 'run', records)
    found = curves(folder, keys=['loss', 'lr', 'now*', 'mid'])
    assert [repr(v) for v in found['train', 'loss', False].values] == ['nan', 'inf', '0.5']
    assert list(found['head', 'lr', False].values) == [0.2, 0.3, 0.4]
    assert list(found['0', 'lr', False].values) == [0.1, 0.1, 0.1]
    assert list(found['train', 'now and then', False].iters) == [2]
    assert list(found['val', 'mid', False].iters) == [3]
    (one,) = told(capsys, folder)
    assert one['records']['read'] == 6 and one['records']['put_aside'] == 0
    assert one['by_epoch'][0]['val']['loss'] == 'nan' and one['by_epoch'][0]['test']['loss'] == 2
    assert [(e['key'], e['mode'], e['value']) for e in one['best']] == [('loss', 'test', 2.0)]


@pytest.mark.parametrize('name', ['nncore_0.3.8_epoch_1.pth'])
def test_checkpoints_of_old_versions(name, tmp_path, capsys):
    shutil.copy(FIXTURES / name, tmp_path / 'epoch_1.pth')
    meta = get_checkpoint(tmp_path / 'epoch_1.pth')['meta']
    assert saved.contents(str(tmp_path / 'epoch_1.pth'))['meta'] == meta
    (one,) = told(capsys, tmp_path)
    assert one['versions'] == {'nncore': '0.3.8'}
    with pytest.raises(SystemExit):
        _plot.main([str(tmp_path)])
    assert 'no losses or metrics yet' in capsys.readouterr().err


def test_damaged_checkpoints(tmp_path, capsys):
    """What cannot be read is told, whatever it is; nothing in it is run."""
    good = {'meta': {'epoch': 1, 'iter': 2, 'stages': []}, 'state_dict': {'w': torch.ones(1000)}}
    for old in (False, True):
        path = tmp_path / f'epoch_{old:d}.pth'
        torch.save(good, path, _use_new_zipfile_serialization=not old)
        assert saved.contents(str(path))['meta'] == good['meta']
        turned = dict(reversed(good.items()))
        torch.save(turned, tmp_path / 'turned', _use_new_zipfile_serialization=not old)
        assert saved.contents(str(tmp_path / 'turned'), True)['meta'] == good['meta']
        whole = path.read_bytes()
        for size in range(0, len(whole), 97):
            path.write_bytes(whole[:size])
            try:
                found = saved.contents(str(path))
            except Refused:
                continue
            # Before 1.6 the tensors came last, and only --check looks at them.
            assert old and found['meta'] == good['meta']
    torch.save(good, tmp_path / 'epoch_3.pth')
    spoilt = bytearray((tmp_path / 'epoch_3.pth').read_bytes())
    spoilt[spoilt.rindex(torch.ones(9).numpy().tobytes())] ^= 1
    (tmp_path / 'epoch_3.pth').write_bytes(spoilt)
    (tmp_path / 'note.pth').write_text('hello')

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'run by a pickle'),)

    torch.save({'meta': {'epoch': 5}, 'evil': Evil()}, tmp_path / 'evil.pth')
    (tmp_path / 'worse.pth').write_bytes(pickle.dumps(Evil(), 2))
    by_check = []
    for options in ([], ['--check']):
        (one,) = told(capsys, tmp_path, *options)
        by_check.append({c['name']: c['problem'] for c in one['checkpoints'] if c['problem']})
    assert set(by_check[0]) == {'epoch_0.pth', 'note.pth', 'worse.pth'}
    assert set(by_check[1]) == {*by_check[0], 'epoch_1.pth', 'epoch_3.pth'} - {'epoch_1.pth'}
    assert 'checksum' in by_check[1]['epoch_3.pth'] and 'text' in by_check[0]['note.pth']
    assert not (tmp_path / 'run by a pickle').exists()
    assert 'cannot be read: it is a text' in text(capsys, tmp_path)


@pytest.mark.parametrize('command', [_plot, _summary])
def test_no_run(command, tmp_path, capsys):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'notes.txt').write_text('hello')
    (tmp_path / 'empty').mkdir()
    for path, words in (
        ('nowhere', 'there is no '),
        ('empty', 'It is empty'),
        ('full', 'It holds notes.txt'),
        ('full/notes.txt', 'give the folder of the run'),
    ):
        with pytest.raises(SystemExit) as end:
            command.main([str(tmp_path / path)])
        assert end.value.code == 2 and words in capsys.readouterr().err


def test_which_checkpoint_has_the_best(tmp_path, capsys):
    """The one of its moment, and none that a metric of the same epoch is not of."""
    values = [(1, 0.1), (2, 0.3), (3, 0.2)]
    records = []
    for epoch, acc in values:
        records += [train(epoch, 10), {'mode': 'val', 'epoch': epoch, 'iter': 0, 'acc': acc}]
    folder = written(tmp_path / 'run', records)

    def file():
        return told(capsys, folder)[0]['best'][0]['checkpoint']

    for name, epoch, iteration, expected in (
        ('iter_25', 2, 25, None),
        ('iter_20', 2, 20, 'iter_20.pth'),
        ('epoch_2', 2, 20, 'epoch_2.pth'),
        ('best_acc', 2, 20, 'best_acc.pth'),
    ):
        meta = {'epoch': epoch, 'iter': iteration, 'stages': [{'epochs': 3, 'optimizer': 'SGD'}]}
        torch.save({'meta': meta, 'state_dict': {}}, folder / f'{name}.pth')
        assert file() == expected
    written(tmp_path / 'worse', records[:2])
    rows = text(capsys, tmp_path / 'worse', folder, '--sort', 'acc').splitlines()
    assert [row.split()[0] for row in rows[1:3]] == ['run', 'worse']
    with pytest.raises(SystemExit):
        _summary.main([str(folder), '--sort', 'x'])
    assert "no run has a best 'x'. There are: acc" in capsys.readouterr().err


def saved_by(folder, *paths, work_dir=None):
    """A run with checkpoints, and a log that tells of them."""
    written(folder, [train(1, 10)])
    for path in paths:
        path.parent.mkdir(exist_ok=True, parents=True)
        meta = {'epoch': 1, 'iter': 10, 'stages': [{'epochs': 3, 'optimizer': 'SGD'}]}
        torch.save({'meta': meta, 'state_dict': {}}, path)
    head = '[2026-01-01 00:00:00 INFO]: '
    (folder / 'a.log').write_text(
        f'{head}Launch engine, host: a@b, work_dir: {work_dir or folder}\n'
        + ''.join(f'{head}Saving checkpoint to {path}...\n' for path in paths)
    )
    return folder


def listed(capsys, folder):
    names = [one['name'] for one in told(capsys, folder)[0]['checkpoints']]
    rows = text(capsys, folder).partition('\ncheckpoints\n')[2].splitlines()[1:]
    assert [row.strip().split('  ')[0].split(' -> ')[0] for row in rows] == names
    return names


def test_a_copied_folder_has_its_own_checkpoints(tmp_path, capsys):
    run = tmp_path / 'run'
    saved_by(run, run / 'epoch_1.pth', run / 'epoch_2.pth', run / 'sub' / 'iter_5.pth')
    names = ['sub/iter_5.pth', 'epoch_1.pth', 'epoch_2.pth']
    assert sorted(listed(capsys, run)) == sorted(names)
    copy = tmp_path / 'other' / 'copy'
    shutil.copytree(run, copy)
    assert sorted(listed(capsys, copy)) == sorted(names)
    assert all(str(copy) in one['path'] for one in told(capsys, copy)[0]['checkpoints'])
    # What was left out, or is deleted, is not there, though the original has it.
    (copy / 'epoch_2.pth').unlink()
    shutil.rmtree(copy / 'sub')
    assert listed(capsys, copy) == ['epoch_1.pth']
    # Where it was before, there is another run by now.
    shutil.rmtree(run)
    saved_by(run, run / 'epoch_3.pth')
    assert listed(capsys, copy) == ['epoch_1.pth']


def test_checkpoints_that_a_run_saved_elsewhere(tmp_path, capsys, monkeypatch):
    """They have their paths, and only its own are listed: others may write there too."""
    run, out = tmp_path / 'project' / 'run', tmp_path / 'project' / 'out'
    saved_by(run, out / 'epoch_1.pth', out / 'epoch_2.pth')
    for name in ('epoch_7.pth', 'best_acc.pth'):
        shutil.copy(out / 'epoch_1.pth', out / name)
    (out / 'latest.pth').symlink_to('epoch_2.pth')
    paths = [str(out / name) for name in ('epoch_1.pth', 'epoch_2.pth', 'latest.pth')]
    assert listed(capsys, run) == paths
    copy = tmp_path / 'a' / 'copy'
    shutil.copytree(run, copy)
    assert listed(capsys, copy) == paths
    (out / 'epoch_1.pth').unlink()
    assert listed(capsys, copy) == paths[1:]
    # Both have moved, and the paths were relative.
    lines = (run / 'a.log').read_text().replace(f'{tmp_path}/project/', '')
    (run / 'a.log').write_text(lines)
    (tmp_path / 'project').rename(tmp_path / 'moved')
    moved = [str(tmp_path / 'moved' / 'out' / name) for name in ('epoch_2.pth', 'latest.pth')]
    assert listed(capsys, tmp_path / 'moved' / 'run') == moved
    monkeypatch.chdir(tmp_path / 'moved')
    assert listed(capsys, 'run') == moved


def test_long_runs_are_cut_short(tmp_path, capsys):
    records = []
    for epoch in range(1, 101):
        records.append(train(epoch, 5, loss=1 / epoch, time=0.1))
        score = 100 - abs(epoch - 37)
        records.append({'mode': 'val', 'epoch': epoch, 'iter': 0, 'acc': score})
    folder = written(tmp_path / 'run', records)
    shown = text(capsys, folder)
    first = [line.split()[0] for line in shown.partition('epochs\n')[2].splitlines()[1:16]]
    assert first == ['1', '2', '3', '...', '37', '...', *map(str, range(93, 101)), '(*']
    assert len(text(capsys, folder, '--epochs', 'all').splitlines()) > 110
    assert 'epochs\n' not in text(capsys, folder, '--epochs', 'none')


@pytest.mark.parametrize(
    ('key', 'high'),
    [
        ('loss', False),
        ('val_mae', False),
        ('RMSE', False),
        ('word_error', False),
        ('ppl', False),
        ('acc', True),
        ('Top-1', True),
        ('mAP', True),
        ('bbox_mAP_50', True),
        ('R1@0.5', True),
        ('recall@5', True),
        ('valAcc', True),
        ('mean_iou', True),
        ('f1', True),
        ('macro-F1', True),
        ('zork', None),
        ('x', None),
    ],
)
def test_guess(key, high):
    assert best.guess(key) is high


def test_direction_of_what_eval_hook_tracks():
    """By best_<key>, at the first difference, or by the way that all have gone."""

    def told(values, tracked):
        records = Records()
        for epoch, (value, so_far) in enumerate(zip(values, tracked, strict=True), start=1):
            record = {'mode': 'val', 'epoch': epoch, 'iter': 0, 'zork': value, 'best_zork': so_far}
            records.add(record)
        return best.direction('zork', records, {})

    for high, choose in ((True, max), (False, min)):
        for values in ([1, 2, 0, 5], [5, 0, 2, 1], [3, 3, math.nan, 4, 2]):
            finite = [[v for v in values[: n + 1] if v == v] for n in range(len(values))]
            assert told(values, [choose(part) for part in finite]) == (high, True)
    assert told([1, 2, 3], [1, 2, 3]) == (True, True)
    assert told([3, 2, 1], [3, 2, 1]) == (False, True)
    assert told([3, 3, 3], [3, 3, 3]) is None
    assert best.direction('zork', Records(), {}, high=['zork']) == (True, True)
    assert best.direction('acc', Records(), {}, low=['acc']) == (False, True)


def test_several_logs(tmp_path):
    """Restarts have logs of their own, maybe with other loggers' words before the lines."""
    for name, head, epoch in (
        ('b.log', '2026-01-01 00:00:00,123 - root - INFO - ', 1),
        ('a.log', '[2026-01-02 00:00:00 INFO]: ', 2),
    ):
        resumed = f'{head}Resumed stage 1, epoch 1, iter 10\n' if epoch == 2 else ''
        (tmp_path / name).write_text(
            f'{resumed}{head}Launch engine, host: a@b, work_dir: x\n'
            f'{head}Stage: 1, epochs: 2, optimizer: SGD(lr: 0.1)\n'
            f"{head}Epoch [{epoch}][10/10] lr: [0.1, {{'a': 0.2}}], eta: 0:00:00, loss: 0.5\n"
            + (f'{head}Done running in 1 day, 0:00:01 (0:00:00 on hooks)\n' if epoch == 2 else '')
        )
    (tmp_path / 'other.log').write_text('something else\n')
    run = Run(*places([str(tmp_path)]))
    assert [launch.resumed for launch in run.launches] == [None, (1, 10)]
    assert [launch.begun.day for launch in run.launches] == [1, 2]
    assert run.resumes == [(10, 1.0)] and run.planned == 2
    # A later start from before it, or from the beginning, undoes a resume.
    for resumed, expected in ((None, []), ((0, 5), [(5, 0.5)]), ((1, 15), [(10, 1.0), (15, 1.5)])):
        again = Run(*places([str(tmp_path)]))
        again.launches.append(log.Launch(resumed=resumed))
        assert again.resumes == expected
    assert state.times(run).total == 86401 and state.state(run)[0] == 'finished'
    assert [list(run.records.series('train', key)[1]) for key in ('loss', 'lr[a]')] == [
        [0.5, 0.5],
        [0.2, 0.2],
    ]
    assert len(log.launches([str(tmp_path / 'other.log')])) == 0
    assert [(epoch_of(p), iteration_of(p)) for p in run.records.series('train', 'loss')[0]] == [
        (1, 10),
        (2, 10),
    ]
