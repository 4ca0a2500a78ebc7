"""The plan of a run says what the run then does, in real nncore's trainings and in ours."""

import copy
import os
import random
import subprocess
import sys
import textwrap

import numpy as np
import oracle
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from paths import ROOT, TESTS, python_path
from PIL import Image
from tiny import Net, Points, engine, stage
from torch.utils.data import DataLoader

import nncore_compat
import nncore_compat.__main__
from nncore_compat import CheckpointHook, Engine, Hook, OptimizerHook, _preview, quirks
from nncore_compat._plan import course

# Run with real nncore as `E` for its learning rates, and with ours for the plan's.
CASES = """
import torch
from torch.utils.data import DataLoader

POLICIES = [
    dict(policy='step', step=[1, 3], gamma=0.5),
    dict(policy='step', step=2),
    dict(policy='cosine', target_lr=0.03),
    dict(policy='exp', gamma=0.8),
    dict(policy='poly', power=0.9, min_lr=0.01),
    dict(policy='inv', gamma=0.1, power=2),
]
WARMUPS = [
    dict(type='epoch', policy='linear', steps=2, ratio=0.1),
    dict(type='epoch', policy='exp', steps=1, ratio=0.2),
    dict(type='epoch', policy='constant', steps=3, ratio=0.3),
    dict(type='iter', policy='linear', steps=5, ratio=0.1),
    dict(type='iter', policy='exp', steps=3, ratio=0.01),
    dict(type='iter', policy='constant', steps=20, ratio=0.3),
    None,
]
SCHEDULES = [None] + [dict(p, type=kind) for p in POLICIES for kind in ('epoch', 'iter')]


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(2, 2)

    def forward(self, data, mode, **kwargs):
        return dict(loss=self.fc(data).square().mean(), _avg_factor=len(data), _out=data)


def loaders():
    data = torch.linspace(-1, 1, 12).reshape(6, 2)
    return dict(train=DataLoader(data, 2), val=DataLoader(data[:2], 2))


def build(stages, hooks=(), work_dir='out'):
    # A function of the model stands for an optimizer of several groups.
    model = Net()
    made = [
        dict(one, optimizer=one['optimizer'](model) if callable(one['optimizer']) else
             one['optimizer'])
        for one in stages
    ]
    engine = E.Engine(model, loaders(), stages=made, hooks=list(hooks), work_dir=work_dir,
                      logger=f'plan{next(numbers)}')
    engine.unregister_hook('EventWriterHook')
    return engine


def groups(model):
    return torch.optim.SGD([
        dict(params=[model.fc.weight], lr=0.5), dict(params=[model.fc.bias], lr=0.03, name='bias')
    ])


import itertools
numbers = itertools.count()
plain = dict(type='SGD', lr=0.1)


def schedules():
    for schedule in SCHEDULES:
        stages = []
        for index, warmup in enumerate(WARMUPS):
            one = dict(epochs=4, optimizer=groups if index % 2 else plain)
            if schedule:
                one['lr_schedule'] = schedule
            if warmup:
                one['warmup'] = warmup
            stages.append(one)
        yield build(stages)


def shared():
    model = Net()
    optimizer = groups(model)
    cosine = dict(type='iter', policy='cosine')
    stages = [
        dict(epochs=2, optimizer=optimizer, lr_schedule=cosine),
        dict(epochs=1, optimizer=optimizer),
        dict(epochs=2, optimizer=optimizer, warmup=WARMUPS[3]),
    ]
    return E.Engine(model, loaders(), stages=stages, work_dir='out', logger='shared')


def validated():
    intervals = [dict(interval=1), dict(interval=2), dict(interval=2, offset=1), dict(interval=0)]
    stages = [dict(epochs=4, optimizer=plain, validation=one) for one in intervals]
    hooks = [dict(type='CheckpointHook', interval=3)]
    return build(stages + [dict(epochs=1, optimizer=plain)], hooks)
"""

RUN = """
import os

class Watch(E.Hook):
    rates, epochs = [], []

    def after_train_iter(self, engine):
        self.rates.append(tuple(g['lr'] for g in engine.optimizer.param_groups))

    def after_val_epoch(self, engine):
        self.epochs.append(engine.epoch)

def train(engine):
    watch = Watch()
    watch.rates, watch.epochs = [], []
    engine.register_hook(watch)
    engine.launch()
    return watch

result = dict(rates=[], resumed=[])
for engine in schedules():
    engine.unregister_hook('CheckpointHook')
    result['rates'].append(train(engine).rates)
result['shared'] = train(shared()).rates
for name in os.listdir('out'):
    os.remove(os.path.join('out', name)) if name.endswith('.pth') else None
result['validated'] = train(validated()).epochs
result['saved'] = sorted(int(n[6:-4]) for n in os.listdir('out') if n.endswith('.pth'))
for schedule, warmup in ((SCHEDULES[5], None), (SCHEDULES[6], WARMUPS[3]), (None, WARMUPS[5])):
    stages = [dict(epochs=4, optimizer=groups, lr_schedule=schedule, warmup=warmup)]
    train(build(stages))
    for epoch in (1, 3):
        file = f'out/epoch_{epoch}.pth'
        checkpoint = torch.load(file, weights_only=False)
        del checkpoint['meta']['stages'][0]['optimizer']
        engine = build(stages)
        # Not the file: torch refuses the optimizer in it.
        engine.resume(checkpoint)
        result['resumed'].append((schedule, warmup, checkpoint, train(engine).rates))
"""


@pytest.fixture(scope='module')
def cases():
    namespace = {'E': nncore_compat}
    exec(CASES, namespace)
    return namespace


@pytest.fixture(scope='module')
def real():
    return oracle.run('real', textwrap.dedent(CASES) + RUN)


@pytest.fixture(autouse=True)
def all_quirks(monkeypatch, tmp_path):
    """Each test begins with the quirks of the real one, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    quirks.enable('all')
    yield
    quirks.enable('none')


def test_rates_are_those_of_nncores_training_bit_for_bit(cases, real):
    for one, rates in zip(cases['schedules'](), real['rates'], strict=True):
        assert one.plan().rates.values == rates
    assert len(real['rates']) == 13 and {len(rates) for rates in real['rates']} == {84}
    assert {len(values) for values in real['rates'][3]} == {1, 2}


def test_rates_of_an_optimizer_that_serves_in_several_stages(cases, real):
    engine = cases['shared']()
    assert engine.plan().rates.values == real['shared']
    assert 'base_lr' not in engine.stages[0]['optimizer'].param_groups[0]


def test_rates_of_a_run_that_is_resumed_from_nncores_file(cases, real):
    for schedule, warmup, checkpoint, rates in real['resumed']:
        stages = [dict(epochs=4, optimizer=cases['groups'], lr_schedule=schedule, warmup=warmup)]
        checkpoint['meta']['stages'] = None
        plan = cases['build'](stages).plan(resume=checkpoint)
        assert plan.rates.values == rates and plan.stages[0].begun
    assert {len(rates) for *_, rates in real['resumed']} == {9, 3}


def test_epochs_that_are_validated_and_saved(cases, real):
    plan = cases['validated']().plan()
    assert [epoch for one in plan.stages for epoch in one.validated] == real['validated']
    assert plan.checkpoints == real['saved']
    quirks.enable('none')
    watch = [epoch for one in cases['validated']().plan().stages for epoch in one.validated]
    assert watch != real['validated']


@pytest.mark.parametrize(
    ('every', 'words'),
    [
        (None, 'after epochs 1 to 5'),
        (1, 'after epochs 1 to 5 and every iteration'),
        (7, 'after epochs 1 to 5 and every 7 iterations'),
    ],
)
def test_checkpoints_between_epochs(tmp_path, every, words):
    plan = engine(tmp_path, stages=TWO, hooks=[CheckpointHook(every_n_iters=every)]).plan()
    assert plan.checkpoint_iters == every
    assert ['checkpoint', *words.split()] in [line.split() for line in str(plan).splitlines()]
    bare = engine(tmp_path, stages=TWO)
    bare.unregister_hook('CheckpointHook')
    assert bare.plan().checkpoint_iters is None


class Watch(Hook):
    """Writes down what happens."""

    def __init__(self):
        super().__init__()
        self.rates, self.steps, self.epochs = [], 0, []

    def before_stage(self, engine):
        step = engine.optimizer.step

        def counted(*args, **kwargs):
            self.steps += 1
            return step(*args, **kwargs)

        engine.optimizer.step = counted

    def after_train_iter(self, engine):
        self.rates.append(tuple(group['lr'] for group in engine.optimizer.param_groups))

    def after_val_epoch(self, engine):
        self.epochs.append(engine.epoch)


TWO = [
    stage(
        epochs=3,
        lr_schedule=dict(type='epoch', policy='exp', gamma=0.5),
        # Over in the middle of an epoch whose schedule is not heard.
        warmup=dict(type='iter', policy='linear', steps=4),
        validation=dict(interval=2),
    ),
    stage(epochs=2, lr_schedule=dict(type='iter', policy='poly'), validation=dict(interval=1)),
]


@pytest.mark.parametrize('spec', ['none', 'inexact-resume'])
def test_the_rest_of_an_interrupted_run(tmp_path, spec):
    """From every file that a run has left; begun anew with the epoch where exactness is off."""
    quirks.enable(spec)
    watch = Watch()
    saving = CheckpointHook(every_n_iters=1)
    engine(tmp_path, stages=TWO, hooks=[watch, saving]).launch()
    files = [
        f'{kind}_{n}.pth'
        for kind, n in [
            *(('epoch', n) for n in range(1, 6)),
            *(('iter', n) for n in (1, 4, 5, 8, 10, 13)),
        ]
    ]
    for file in files:
        path = tmp_path / file
        done = torch.load(path, weights_only=False)['meta']['iter']
        planned = engine(tmp_path, stages=TWO, hooks=[saving]).plan(resume=str(path))
        begun = done if spec == 'none' else done // 3 * 3
        if spec == 'none' or file.startswith('epoch'):
            assert planned.rates.values == watch.rates[done:], file
            assert planned.iterations == 15 - done
            assert planned.rates.iterations[:1] == ([done] if done < 15 else [])
        late = [epoch for one in planned.stages for epoch in one.validated]
        # A checkpoint is saved before the validation of its epoch.
        exact = spec == 'none'
        assert late == [n for n in watch.epochs if (n * 3 >= done if exact else n * 3 > begun)]


def test_a_file_that_was_saved_after_its_validation(tmp_path):
    quirks.enable('none')
    watch = Watch()
    saving = CheckpointHook(save_best='acc')
    engine(tmp_path, stages=TWO, hooks=[watch, saving]).launch()
    best = tmp_path / 'best_acc.pth'
    saved = torch.load(best, weights_only=False)['meta']['epoch']
    plan = engine(tmp_path, stages=TWO).plan(resume=str(best))
    assert [n for one in plan.stages for n in one.validated] == [n for n in (2, 4, 5) if n > saved]
    assert saved in watch.epochs[:-1] and plan.rates.values == watch.rates[saved * 3 :]


def test_planning_a_resumed_engine(tmp_path):
    quirks.enable('none')
    watch = Watch()
    engine(tmp_path, stages=TWO, hooks=[watch, CheckpointHook(every_n_iters=4)]).launch()
    later = engine(tmp_path, stages=TWO)
    later.resume(str(tmp_path / 'iter_4.pth'))
    plan = later.plan()
    assert plan.rates.values == watch.rates[4:]
    assert 'epoch 2, of which 1 iterations are done' in plan.resume
    again = Watch()
    later.register_hook(again)
    later.launch()
    assert again.rates == watch.rates[4:]
    auto = engine(tmp_path, stages=TWO).plan(resume='auto')
    assert auto.resume.startswith(str(tmp_path / 'epoch_5.pth'))


@pytest.mark.parametrize('interval', [0, 1, 2, 5])
def test_counts_are_those_of_a_run(tmp_path, interval):
    watch = Watch()
    one = engine(tmp_path, stages=TWO, hooks=[OptimizerHook(interval=interval), watch])
    plan = one.plan()
    one.launch()
    assert sum(stage.steps for stage in plan.stages) == watch.steps
    assert plan.iterations == len(watch.rates) == one.iter
    assert plan.parameters == plan.trainable == 6
    assert [repr(plan.timeline), plan.changers] == [repr(one.timeline()), ['Watch']]


class Untouchable(DataLoader):
    def __iter__(self):
        raise AssertionError('nobody is to iterate this')


class Stateful(Points):
    """Has another length while it serves for training."""

    def set_state(self, state):
        self.x = self.x[:4] if state == 'train' else self.x


def picture(one):
    """All that a plan could have changed."""
    groups = [
        dict(g, params=None)
        for s in one.stages
        if hasattr(s['optimizer'], 'param_groups')
        for g in s['optimizer'].param_groups
    ]
    data = [len(loader.dataset) for loader in one.data_loaders.values()]
    weights = {k: v.clone() for k, v in one.model.state_dict().items()}
    mine = {k: v for k, v in vars(one).items() if k not in ('_run', 'logger')}
    return copy.copy(mine), str(groups), data, str(weights), os.environ.copy()


def test_nothing_is_changed(tmp_path):
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    stages = [stage(optimizer=optimizer), stage(optimizer={'type': 'Adam'}), *TWO]
    loaders = {
        'train': Untouchable(Stateful(8), 2, num_workers=2, shuffle=True),
        'val': Untouchable(Points(6), 4),
    }
    folder = tmp_path / 'not there'
    log = 'another'
    one = engine(folder, net, stages, loaders, logger=nncore_compat.utils.__name__ + log)
    for file in folder.glob('*'):
        file.unlink()
    folder.rmdir()
    before = picture(one)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    plan = one.plan()
    str(plan)
    now = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert now == states
    assert all(a == b for a, b in zip(before, picture(one), strict=True))
    assert not list(tmp_path.iterdir())
    # As many as while it trains, not as while nobody has told it.
    assert (plan.loaders['train'].batches, len(one.data_loaders['train'])) == (2, 4)
    assert plan.loaders['train'].workers == 2 and plan.ok


def test_a_long_run_is_thinned_exactly(tmp_path, monkeypatch):
    loaders = {'train': DataLoader(Points(300), 1)}
    long = dict(epochs=4, warmup=dict(type='iter', policy='exp', steps=500.5))
    stages = [
        stage(**long, lr_schedule=dict(type='epoch', policy='step', step=[1, 3])),
        stage(**long, lr_schedule=dict(type='iter', policy='cosine')),
        stage(**long),
    ]
    whole = engine(tmp_path, stages=stages, data_loaders=loaders).plan()
    monkeypatch.setattr(course, 'DENSE', 1000)
    monkeypatch.setattr(course, 'THINNED', 100)
    thin = engine(tmp_path, stages=stages, data_loaders=loaders).plan()
    known = dict(zip(whole.rates.iterations, whole.rates.values, strict=True))
    assert len(known) == 3600 and len(thin.rates.values) < 150
    found = dict(zip(thin.rates.iterations, thin.rates.values, strict=True))
    assert found == {iteration: known[iteration] for iteration in found}
    assert {499, 500, 501, 1199, 1200, 3599} <= set(found)


def broken_optimizer(params, **kwargs):
    raise RuntimeError('no such luck')


ERRORS = {
    'no loader for training': dict(data_loaders={'val': DataLoader(Points(), 4)}),
    'no such luck': dict(stages=stage(optimizer={'type': 'Broken'})),
    'is no folder': dict(folder='file/below'),
    "monitors 'val_loss', but no stage validates": dict(hooks=[EarlyStopping('val_loss')]),
    'the learning rate cannot be set: ZeroDivisionError': dict(
        stages=stage(epochs=4, lr_schedule=dict(type='epoch', policy='late'))
    ),
}


@pytest.fixture
def registered():
    policies = nncore_compat.hooks.lr_updater.POLICIES
    nncore_compat.builder.OPTIMIZERS.register(broken_optimizer, name='Broken')
    policies.register(lambda base_lr, progress, **kwargs: base_lr / (2 - progress), name='late')
    yield
    nncore_compat.builder.OPTIMIZERS.pop('Broken')
    policies.pop('late')


@pytest.mark.parametrize('words', ERRORS)
def test_what_training_would_end_with(words, tmp_path, registered, monkeypatch):
    """The run that is found to fail does fail."""
    (tmp_path / 'file').write_text('')
    arguments = dict(ERRORS[words])
    folder = tmp_path / arguments.pop('folder', 'out')
    monkeypatch.setenv(_preview.ENV, _preview.PLAN)
    one = engine(folder, **arguments)
    plan = one.plan()
    assert [words in str(problem) for problem in plan.problems if problem.fatal] == [True]
    assert not plan.ok and words in ' '.join(str(plan).split())
    monkeypatch.delenv(_preview.ENV)
    with pytest.raises((ValueError, RuntimeError, OSError, ZeroDivisionError)):
        engine(folder, **arguments).launch()


def test_a_policy_of_the_users_in_the_place_of_ours(tmp_path):
    """Nobody knows what its arguments mean."""
    policies = nncore_compat.hooks.lr_updater.POLICIES
    ours = policies.get('step')
    policies.pop('step')
    policies.register(lambda base_lr, step, **kwargs: base_lr, name='step')
    try:
        stages = stage(lr_schedule=dict(type='iter', policy='step', step='soon'))
        assert engine(tmp_path, stages=stages).plan().ok
    finally:
        policies.pop('step')
        policies.register(ours, name='step')


def test_a_run_that_would_train_nothing(tmp_path):
    loaders = {'train': DataLoader(Points(), 20, drop_last=True)}
    (problem,) = (
        one for one in engine(tmp_path, data_loaders=loaders).plan().problems if one.fatal
    )
    assert 'has no batch of 20 samples: its data set has 10 samples' in str(problem)


NEVER = dict(type='EvalHook', high_keys=['acc'])
WARNINGS = {
    'the training data stand in for them': dict(data_loaders={'train': DataLoader(Points(), 4)}),
    "data_loaders['val'] has no batch": dict(
        data_loaders={'train': DataLoader(Points(), 4), 'val': DataLoader(Points(0), 4)}
    ),
    'more than the 3 of the stage': dict(
        stages=stage(warmup=dict(type='iter', policy='linear', steps=9))
    ),
    'by epoch has no effect': dict(
        stages=stage(
            lr_schedule=dict(type='iter', policy='cosine'),
            warmup=dict(type='epoch', policy='linear', steps=1),
        )
    ),
    'the lr_schedule by epoch has no effect': dict(
        stages=stage(
            epochs=4,
            lr_schedule=dict(type='epoch', policy='cosine'),
            warmup=dict(type='iter', policy='linear', steps=5),
        )
    ),
    '7, 9 is never reached in 5 epochs': dict(
        stages=stage(epochs=5, lr_schedule=dict(type='epoch', policy='step', step=[2, 7, 9]))
    ),
    'no epoch of this stage is validated': dict(stages=stage(validation=dict(interval=2))),
    'EvalHook never evaluates': dict(hooks=[NEVER]),
    "save_best='acc'": dict(hooks=[CheckpointHook(save_best='acc')]),
    'its end is a step in any case': dict(hooks=[OptimizerHook(interval=9)]),
    "did you mean 'val_loss' or 'train_loss'?": dict(
        stages=stage(validation=dict(interval=1)), hooks=[EarlyStopping('loss')]
    ),
    "did you mean 'best_acc'?": dict(
        stages=stage(validation=dict(interval=1)), hooks=[NEVER, ModelCheckpoint(monitor='bestacc')]
    ),
    'the learning rate is -0.1': dict(
        stages=stage(epochs=2, lr_schedule=dict(type='epoch', policy='cosine', target_lr=-0.3))
    ),
    'did you mean': dict(
        stages=stage(lr_schedule=dict(type='iter', policy='step', step=1, gama=0.1))
    ),
}


@pytest.mark.parametrize('words', WARNINGS)
def test_what_is_hardly_meant(words, tmp_path):
    quirks.enable('none')
    kwargs = dict(WARNINGS[words])
    plan = engine(tmp_path, **kwargs).plan()
    assert any(words in str(problem) for problem in plan.problems), plan.problems
    assert plan.ok and not any(problem.fatal for problem in plan.problems)


def test_a_misspelt_split(tmp_path, monkeypatch, capsys):
    """In plan() and in a dry run, where errors would hide the plan; of configs too."""
    builder = nncore_compat.builder
    typo = "data_loaders has a split of its own, 'valid': did you mean 'val'?"
    stand_in = "there is no loader 'val' or 'test': the training data stand in for them"
    loader = DataLoader(Points(), 4)
    builder.DATASETS.register(Points, name='PlannedPoints')
    try:
        for train in (loader, dict(type='PlannedPoints', loader=dict(batch_size=4))):
            plan = engine(tmp_path, data_loaders={'train': train, 'valid': loader}).plan()
            assert [one.message for one in plan.problems] == [typo, stand_in] and plan.ok
    finally:
        builder.DATASETS.pop('PlannedPoints')
    monkeypatch.setenv(_preview.ENV, _preview.PLAN)
    for loaders, words in (
        ({'train': loader, 'valid': loader}, [typo, stand_in, ' 2 warnings']),
        ({'train': 5, 'valid': loader}, [typo, "data_loaders['train']", ' 1 error, 1 warning']),
        ({'valid': loader}, ["neither 'train' nor the 'type'", ' 1 error ']),
    ):
        with pytest.raises(SystemExit), nncore_compat.__main__.to_its_plan():
            engine(tmp_path / 'new', data_loaders=loaders).launch()
        found = ' '.join(capsys.readouterr().out.split())
        assert all(one in found for one in words), found


def test_a_good_configuration_has_nothing_to_say(tmp_path):
    quirks.enable('none')
    hooks = [NEVER, EarlyStopping('val_loss'), ModelCheckpoint(monitor='acc')]
    plan = engine(tmp_path / 'new', stages=TWO[1], hooks=hooks).plan()
    assert plan.problems == [] and plan.text().endswith('nothing wrong was found')


def test_missing_hooks(tmp_path):
    one = engine(tmp_path, stages=TWO)
    one.unregister_hook(['TimerHook', 'LrUpdaterHook', 'OptimizerHook'])
    problems = list(map(str, one.plan().problems))
    assert any('error: there is no OptimizerHook' in text for text in problems)
    assert any('lr_schedule and warmup have no effect' in text for text in problems)
    assert any('EventWriterHook writes no times' in text for text in problems)
    assert {values for values in one.plan().rates.values} == {(0.1,)}


def test_overwritten_files_are_told(tmp_path):
    stages = [TWO[1], stage(epochs=3)]
    engine(tmp_path, stages=stages).launch()
    one = engine(tmp_path, stages=stages)
    assert 'epoch_1.pth ... epoch_5.pth' in str(one.plan().problems)
    assert one.plan(resume=str(tmp_path / 'epoch_2.pth')).problems == []


def test_an_evaluation(tmp_path):
    plan = engine(tmp_path).plan(eval='both')
    assert plan.evaluates == ('val', 'test') and plan.ok and not plan.stages
    assert 'val and test, and does not train' in str(plan)
    bare = engine(tmp_path, data_loaders={'train': DataLoader(torch.zeros(4, 2), 2)})
    assert 'has no evaluate method' in str(bare.plan(eval=True).problems)
    assert "'all' not found" in str(bare.plan(eval='all').problems)


def groups_of(net):
    return torch.optim.SGD(
        [dict(params=[net.fc.weight], lr=1.0, name='w'), dict(params=[net.fc.bias], lr=0.01)]
    )


def test_the_text_keeps_to_its_width(tmp_path, monkeypatch):
    # Names of folders are not broken.
    monkeypatch.chdir(tmp_path)
    net = Net()
    warm = dict(type='iter', policy='linear', steps=4, ratio=0.5)
    stages = [stage(epochs=2, optimizer=groups_of(net), warmup=warm), *TWO]
    plan = engine('w', net, stages, hooks=['LearningRateMonitor', Watch()]).plan()
    for width in (80, 100):
        assert max(map(len, plan.text(width).splitlines())) <= width
    lines = [line.split() for line in str(plan).splitlines()]
    assert ['stage', '1', 'begins', '1', '1/3', '1', '0.5', '0.005'] in lines
    assert ['warm-up', 'over', '2', '2/3', '5', '1', '0.01'] in lines
    assert ['stage', '3', 'ends', '7', '3/3', '21', '0.0166667'] in lines
    # One chart for groups of one shape: its highest bar is the highest rate.
    bars = [line for line in str(plan).splitlines() if '│' in line]
    assert len(bars) == 8 and bars[0].strip().startswith('1 │') and '█' in bars[0]
    assert bars[-1].index('█') < bars[0].index('█')


@pytest.mark.parametrize('name', ['lr.png', 'lr.svg', 'lr.pdf', 'lr.html'])
def test_figures(tmp_path, name):
    net = Net()
    plan = engine(tmp_path, net, [stage(epochs=2, optimizer=groups_of(net)), *TWO]).plan()
    file = tmp_path / name
    figure = plan.plot(file)
    heads = {'png': b'\x89PNG', 'svg': b'<?xml', 'pdf': b'%PDF', 'html': b'<!doctype html>'}
    assert file.read_bytes().startswith(heads[name.split('.')[1]])
    if name == 'lr.png':
        with Image.open(file) as image:
            assert image.size == (1350, 600)
            assert len(image.convert('RGB').getcolors(100000)) > 10
    # What is drawn is what was planned, by iteration from 1.
    for group, line in enumerate(figure.axes[0].lines[-2:]):
        drawn = dict(zip(*line.get_data(), strict=True))
        for iteration, values in enumerate(plan.rates.values, start=1):
            if group < len(values):
                assert drawn[iteration] == values[group]
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words == ['stage 1\nepochs 1-2', 'stage 2\nepochs 3-5', 'stage 3\nepochs 6-7']


def test_figures_that_cannot_be(tmp_path, monkeypatch):
    plan = engine(tmp_path).plan()
    with pytest.raises(ValueError, match=r"'lr.bmp' must end with one of .png, .svg"):
        plan.plot('lr.bmp')
    with pytest.raises(ValueError, match='there is no folder'):
        plan.plot('nowhere/lr.png')
    monkeypatch.setattr(_preview, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'nncore-compat\[plot\]'"):
        plan.plot('lr.png')


class Frozen(Engine):
    def train_iter(self, data):
        super().train_iter(data)


def test_who_may_change_the_rates(tmp_path):
    class Silent(Hook):
        def after_val_epoch(self, engine):
            pass

    closure = dict(type='ClosureHook', name='before_train_iter', func=print)
    hooks = [Watch(), Silent(), closure, 'EmptyCacheHook', 'LearningRateMonitor']
    plan = engine(tmp_path, cls=Frozen, hooks=hooks).plan()
    assert plan.changers == ['Frozen.train_iter', 'Watch', 'ClosureHook']
    assert 'may set other rates: Frozen.train_iter, Watch, ClosureHook' in str(plan)


SCRIPT = """
import sys
from nncore.engine import CheckpointHook, Engine, Hook
from tiny import Net, Points
from torch.utils.data import DataLoader

class Mine(Hook):
    def before_launch(self, engine):
        raise AssertionError('launched')

class Untouchable(DataLoader):
    def __iter__(self):
        raise AssertionError('nobody is to iterate this')

hooks, stages, loaders = [Mine()], [STAGE], Untouchable(Points(40), 4, num_workers=2, shuffle=True)
if 'bad' in sys.argv:
    hooks += ['NoHook', CheckpointHook(save_best='acc'), CheckpointHook(out='script.py')]
    stages = [dict(STAGE, epochs=0), dict(STAGE, optimizer='SDG', lr_schedule=dict(type='it')), 7]
print('begun')
if 'early' in sys.argv:
    sys.exit()
model = 'NoModel' if 'model' in sys.argv else Net()
engine = Engine(model, loaders, stages=stages, hooks=hooks, amp='bad' in sys.argv and 'fp8',
                work_dir='out')
engine.launch()
print('went on')
""".replace('STAGE', repr(stage(epochs=2)))


def dry_run(folder, *options, args=()):
    (folder / 'script.py').write_text(SCRIPT)
    env = {'PYTHONPATH': python_path(ROOT, TESTS), 'OMP_NUM_THREADS': '1', 'COLUMNS': '80'}
    return subprocess.run(
        [sys.executable, '-m', 'nncore_compat', *options, 'script.py', *args],
        cwd=folder,
        env={**env, 'PYTHONDONTWRITEBYTECODE': '1', 'PYTHONIOENCODING': 'ascii'},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_dry_run(tmp_path):
    """Of two processes, neither is started; a terminal without blocks gets other characters."""
    options = ['--devices', '2', '--accelerator', 'cpu', '--quirks', 'all', '--plot-lr', 'lr.pdf']
    run = dry_run(tmp_path, *options)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count('begun') == 1 and 'went on' not in run.stdout
    lines = [line.split() for line in run.stdout.splitlines()]
    assert ['device', 'cpu,', 'ReplicatedStrategy,', '2', 'processes'] in lines
    assert ['train', '40', '4', '5', '2', '10'] in lines
    assert ['0.1', '|' + '#' * 68] in lines and [
        'stage',
        '1',
        'ends',
        '2',
        '5/5',
        '10',
        '0.1',
    ] in lines
    assert 'may set other rates: Mine' in run.stdout
    assert run.stdout.endswith('lr.pdf\n\nThis was a dry run: nothing was trained.\n')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['lr.pdf', 'script.py']


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    run = dry_run(tmp_path, '--dry-run', '--strategy', 'dpp', args=['bad'])
    assert run.returncode == 1 and 'Traceback' not in run.stderr
    for words in (
        'stages[0].epochs must be at least 1',
        "unknown optimizer 'SDG'",
        'stages[1].lr_schedule.policy is missing',
        'stages[2] must be a dict',
        "unknown hook 'NoHook'",
        'hooks[3] replaces hooks[2]',
        "'fp8'",
        "strategy='dpp'",
        'cannot be made, as',
    ):
        assert words in ' '.join(run.stdout.split()), run.stdout
    assert [path.name for path in tmp_path.iterdir()] == ['script.py']


def test_a_dry_run_that_comes_to_no_launch(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_preview, 'shown', True)
    with pytest.raises(SystemExit) as ended, nncore_compat.__main__.to_its_plan():
        pass
    assert ended.value.code == 1 and 'without engine.launch()' in capsys.readouterr().out
    monkeypatch.setenv(_preview.ENV, _preview.PLAN)
    with pytest.raises(SystemExit), nncore_compat.__main__.to_its_plan():
        engine(tmp_path, model='NoModel', hooks=['NoHook'])
    found = capsys.readouterr().out
    assert "unknown model 'NoModel'" in found and "unknown hook 'NoHook'" in found
    # What was found is told too if the script fails before its launch.
    with pytest.raises(KeyError), nncore_compat.__main__.to_its_plan():
        raise engine(tmp_path, hooks=['NoHook']) and KeyError
    assert "unknown hook 'NoHook'" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_refused_hooks_keep_their_places(tmp_path, monkeypatch, capsys):
    """Also what is refused only when a hook is registered, and all that is wrong besides."""
    monkeypatch.setenv(_preview.ENV, _preview.PLAN)
    lost = dict(type='EventWriterHook', writers=[dict(type='LightningLoggerWriter', logger='csvv')])
    hooks = ['EvalHok', None, [dict(type='EvalHook'), lost], 'TimrHook', [None]]
    with pytest.raises(SystemExit) as ended, nncore_compat.__main__.to_its_plan():
        engine(tmp_path, stages=stage(epochs=0), hooks=hooks).launch()
    found = ' '.join(capsys.readouterr().out.split())
    assert ended.value.code == 1
    for words in (
        'error: stages[0].epochs must be at least 1',
        "error: hooks[0]: unknown hook 'EvalHok'",
        "error: hooks[2][1]: unknown logger 'csvv' (EventWriterHook.writers[0].logger.type)",
        "error: hooks[3]: unknown hook 'TimrHook'",
        'error: hooks[4][0]: ',
        ' 5 errors',
    ):
        assert words in found
