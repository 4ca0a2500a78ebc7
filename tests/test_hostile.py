"""Valid files of absurd content: a checkpoint is refused before anything of a run is changed."""

import copy
import os

import pytest
import torch
from tiny import engine, stage

from nncore_compat.hooks import CheckpointHook

OURS = 'nncore_compat'
ABSURD = (10**30, -1, torch.tensor(1), 1.5, True, 'text', None, [], {}, float('nan'))
NUMBERS = ('meta.epoch', 'meta.iter', f'{OURS}.epoch', f'{OURS}.batches_done', f'{OURS}.batches')
# Which of the absurd values are as good as any other.
HARMLESS = {
    'meta.stages': ABSURD,
    'state_dict': ({},),
    'optimizer.state': ({},),
    'optimizer.state.0': ({},),
    'optimizer.state.0.momentum_buffer': (None,),
    'optimizer.param_groups.0.lr': (-1, 1.5, True, torch.tensor(1), float('nan')),
    OURS: (None, [], {}),
    f'{OURS}.hook': (None, 'text'),
    f'{OURS}.parameters': (None,),
    f'{OURS}.ranks': ([],),
}
RANK = f'{OURS}.ranks.0'
DICTS = [
    f'{RANK}.{key}' for key in ('hooks', 'buffer', 'loaders', 'weights', 'optimizer', 'gradients')
]
HARMLESS.update(dict.fromkeys(DICTS, ({},)))
PLACES = [
    'meta',
    *NUMBERS,
    *HARMLESS,
    'optimizer',
    'optimizer.param_groups',
    'optimizer.param_groups.0',
    'optimizer.param_groups.0.params',
    f'{OURS}.moment',
    f'{OURS}.format',
    RANK,
    f'{RANK}.random',
    f'{RANK}.random.python',
    f'{RANK}.random.numpy',
    f'{RANK}.random.torch',
]


def stages():
    return [stage(epochs=2, optimizer={'type': 'SGD', 'lr': 0.1, 'momentum': 0.9})]


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    engine(folder, stages=stages()).launch()
    return torch.load(folder / 'epoch_1.pth', weights_only=True)


def changed(checkpoint, place, value):
    checkpoint = copy.deepcopy(checkpoint)
    *way, last = (int(key) if key.isdigit() else key for key in place.split('.'))
    inner = checkpoint
    for key in way:
        inner = inner[key]
    inner[last] = value
    return checkpoint


@pytest.mark.parametrize('place', PLACES)
def test_absurd_values_are_refused_and_change_nothing(place, checkpoint, tmp_path):
    fresh = engine(tmp_path, stages=stages())
    weight = fresh.model.fc.weight.clone()
    harmless = [repr(value) for value in HARMLESS.get(place, ())]
    for value in ABSURD:
        if repr(value) in harmless:
            continue
        with pytest.raises((RuntimeError, KeyError, ValueError), match='given checkpoint'):
            fresh.resume(changed(checkpoint, place, value))
        assert (fresh.epoch, fresh.iter, fresh.stage) == (0, 0, 0), value
        assert torch.equal(fresh.model.fc.weight, weight), value
    fresh.resume(checkpoint)
    assert (fresh.epoch, fresh.iter) == (1, 3)


def test_the_error_names_the_place_and_the_value(checkpoint, tmp_path):
    fresh = engine(tmp_path, stages=stages())
    for place, value, words in (
        ('meta.epoch', 10**30, r'meta\.epoch must be a whole number from 0, got 10{30}'),
        (f'{OURS}.moment', 'soon', r'nncore_compat\.moment must be one of iter.*soon'),
        (f'{OURS}.format', 2, r'format is 2, and this version knows 1 only.*exact=False'),
        (f'{OURS}.batches_done', 4, r'tells of 4 of 3 batches in epoch 0, but meta\.epoch is 1'),
        (f'{OURS}.epoch', 5, r'in epoch 5, but meta\.epoch is 1'),
        (f'{RANK}.random.torch', 3, r'ranks\[0\]\.random holds no states of random generators'),
        ('optimizer.state.0.momentum_buffer', torch.ones(3), r'momentum_buffer.*\(2, 2\)'),
    ):
        with pytest.raises(RuntimeError, match=words):
            fresh.resume(changed(checkpoint, place, value))


def test_a_hook_that_does_not_accept_its_state_is_named(checkpoint, tmp_path):
    fresh = engine(tmp_path, stages=stages())
    fresh.resume(changed(checkpoint, f'{RANK}.hooks.CheckpointHook', {'kept': 3}))
    with pytest.raises(RuntimeError, match=r"CheckpointHook does not accept its state.*'kept': 3"):
        fresh.launch()


def test_a_checkpoint_cannot_have_files_of_others_removed(checkpoint, tmp_path):
    precious = tmp_path / 'precious'
    precious.mkdir()
    (precious / 'epoch_1.pth').write_text('mine')
    names = [str(precious), '../precious', '../precious/epoch_1.pth', '..', '.', 'epoch_1.pth']
    run = tmp_path / 'run'
    run.mkdir()
    (run / 'epoch_1.pth').write_text('of this run')
    fresh = engine(run, stages=stages(), hooks=[CheckpointHook(keep_last=1)])
    state = {'kept': names, 'best': None, 'passed': None}
    fresh.resume(changed(checkpoint, f'{RANK}.hooks.CheckpointHook', state))
    fresh.launch()
    assert os.listdir(precious) == ['epoch_1.pth']
    assert [name for name in os.listdir(run) if name.endswith('.pth')] == ['epoch_2.pth']
