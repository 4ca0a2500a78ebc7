"""Negative controls: whatever is changed in a run, the comparison finds it."""

import json
import re
import shutil

import pytest
import torch

from parity.compare import compare_runs, compare_values
from parity.sides import run_both

NOTHING = """
from nncore.engine import Engine
launch = Engine.launch
Engine.launch = lambda self, *args, **kwargs: launch(self, *args, **kwargs)
"""
POLICY = """
from nncore.engine.hooks.lr_updater import POLICIES
cosine = POLICIES.pop('cosine')
POLICIES.register(lambda *args, **kwargs: cosine(*args, **kwargs) * (1 + 1e-12), name='cosine')
"""
ORDER = """
from nncore.engine import Engine
init = Engine.__init__
def swapped(self, *args, **kwargs):
    init(self, *args, **kwargs)
    self.register_hook(self.hooks['EvalHook'], before='CheckpointHook')
Engine.__init__ = swapped
"""
DRAW = """
import random
from nncore.engine import Engine
evaluate = Engine.evaluate
def drawing(self):
    random.random()
    return evaluate(self)
Engine.evaluate = drawing
"""


@pytest.mark.parametrize(
    'prelude, where',
    [(NOTHING, None), (POLICY, 'lr:'), (ORDER, 'names:'), (DRAW, 'random:')],
    ids=['nothing', 'policy', 'order', 'draw'],
)
def test_a_broken_engine_is_found(prelude, where, sides, tmp_path):
    reference, ours = sides
    reference.start('defaults.py', tmp_path / 'reference')
    ours.start('defaults.py', tmp_path / 'ours', prelude=prelude)
    assert [side.wait() for side in sides] == [0, 0]
    found = '\n'.join(compare_runs(tmp_path / 'reference', tmp_path / 'ours'))
    assert where in found if where else not found


def edit_json(path, change):
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def edit_tensors(path, change):
    values = torch.load(path, weights_only=False)
    change(values)
    torch.save(values, path)


def next_float(weights):
    name = next(iter(weights))
    flat = weights[name].view(-1)
    flat[0] = torch.nextafter(flat[0], torch.tensor(9e9))


def replace(pattern, words):
    def edit(path):
        text = path.read_bytes().decode()
        assert re.search(pattern, text)
        path.write_bytes(re.sub(pattern, words, text, count=1).encode())

    return edit


def extra_event(path):
    from torch.utils.tensorboard import SummaryWriter

    shutil.move(path, path.parent.parent / 'kept')
    with SummaryWriter(path.parent) as writer:
        writer.add_scalar('loss/train', 0.5, 6)


EDITS = {
    'a weight by its last bit': ('default.pt', lambda p: edit_tensors(p, next_float)),
    'a weight in a checkpoint': (
        'epoch_3.pth',
        lambda p: edit_tensors(p, lambda c: next_float(c['state_dict'])),
    ),
    'a momentum': (
        'epoch_3.pth',
        lambda p: edit_tensors(p, lambda c: c['optimizer']['state'][0]['momentum_buffer'].add_(1)),
    ),
    'an epoch in meta': (
        'epoch_3.pth',
        lambda p: edit_tensors(p, lambda c: c['meta'].update(epoch=4)),
    ),
    'a lost record': ('default.trace.json', lambda p: edit_json(p, lambda rows: rows.pop(40))),
    'a digest': (
        'default.trace.json',
        lambda p: edit_json(p, lambda rows: rows[-1]['random'].update(numpy='0')),
    ),
    'an epoch in the log': ('[0-9].log', replace(r'Epoch \[2\]', 'Epoch [3]')),
    'a loss in the log': ('[0-9].log', replace(r'loss: 1\.', 'loss: 2.')),
    'a level': ('[0-9].log', replace('INFO', 'WARNING')),
    'a line of metrics': ('metrics.json', replace(r'\n.*\n', '\n')),
    'a number in metrics': ('metrics.json', replace(r'"loss": 1\.', '"loss": 1.0')),
    'the order of metrics': (
        'metrics.json',
        replace(r'"epoch": 1, "iter": 6', '"iter": 6, "epoch": 1'),
    ),
    'events': ('events.*', extra_event),
    'a missing file': ('epoch_2.pth', lambda p: p.unlink()),
    'a file too many': ('epoch_2.pth', lambda p: shutil.copy(p, p.with_name('epoch_9.pth'))),
}


@pytest.fixture(scope='module')
def pair(sides, tmp_path_factory):
    """Two equal runs."""
    folder = tmp_path_factory.mktemp('pair')
    assert [code for _, code in run_both(*sides, 'defaults.py', folder)] == [0, 0]
    assert compare_runs(folder / 'reference', folder / 'ours') == []
    return folder


@pytest.mark.parametrize('name', EDITS)
def test_a_changed_file_is_found(name, pair, tmp_path):
    shutil.copytree(pair, tmp_path / 'pair')
    pattern, edit = EDITS[name]
    (path,) = (tmp_path / 'pair' / 'ours').rglob(f'*{pattern}')
    edit(path)
    found = compare_runs(tmp_path / 'pair' / 'reference', tmp_path / 'pair' / 'ours')
    assert found
    assert name != 'events' or any('tfevents' in text for text in found)


@pytest.mark.parametrize('end', ['stdout', 'stderr'])
def test_a_word_too_many_is_found(end, pair, tmp_path):
    shutil.copytree(pair, tmp_path / 'pair')
    with open(tmp_path / 'pair' / f'ours.{end}', 'a') as stream:
        stream.write('GPU available: False\n')
    found = compare_runs(tmp_path / 'pair' / 'reference', tmp_path / 'pair' / 'ours')
    assert len(found) >= 1
    assert all(text.startswith(end) for text in found)


@pytest.mark.parametrize(
    'left, right',
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        (float('nan'), 0.0),
        ({'a': 1, 'b': 2}, {'b': 2, 'a': 1}),
        ([1, 2], [1, 2, 3]),
        ([1], (1,)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(2), torch.zeros(1, 2)),
        (torch.zeros(1), -torch.zeros(1)),
    ],
)
def test_values_that_only_look_alike(left, right):
    assert list(compare_values(left, right))


def test_nan_is_itself():
    nan = float('nan')
    assert not list(compare_values([nan, torch.tensor(nan)], [nan, torch.tensor(nan)]))
