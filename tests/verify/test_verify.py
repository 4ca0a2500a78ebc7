"""The whole command, on scripts that run under nncore itself and under us."""

import os
import shutil
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from oracle import results

from nncore_compat import quirks
from nncore_compat._verify import command

from .conftest import SCRIPTS

PROJECT = Path(__file__).resolve().parents[1] / 'project'

QUIRKS = {
    'hook-defaults': """
        class Mine(Hook):
            def before_epoch(self, engine):
                engine.buffer.update('begun', 1.0)
        engine(hooks=[Mine()]).launch()
    """,
    'skip-stage-end-validation': 'engine(stage(), stage()).launch()',
    'validation-offset': 'engine(stage(4, 2, offset=1)).launch()',
    'eval-interval': 'engine(stage(3), hooks=[EvalHook(interval=2)]).launch()',
    'inexact-resume': """
        engine().launch()
        again = engine(work_dir='again')
        again.resume('work/dir/epoch_1.pth')
        again.launch()
    """,
    'single-loader': "engine(stage(1, 0), data=loaders()['train']).launch()",
}


@pytest.mark.parametrize('name', QUIRKS)
def test_a_quirk_is_named(name, verify, script):
    said = verify(script(QUIRKS[name]))
    assert said.code == 1 and said.out.count('\ndifferent: ') == 1, said.out + said.err
    assert f'explained by the quirk {name}: identical with --quirks {name}\n' in said, said.out
    # And nothing else is.
    assert said.out.count('explained') == 1


def test_with_the_quirk_on_it_is_identical(verify, script):
    name = script(QUIRKS['skip-stage-end-validation'])
    said = verify(name, spec='skip-stage-end-validation')
    assert said.code == 0
    assert 'identical: 12 iterations, 3 validations' in said


def test_two_quirks_are_named_together(verify, script):
    said = verify(script('engine(stage(3), stage(2), hooks=[EvalHook(interval=2)]).launch()'))
    assert said.code == 1
    assert 'quirks eval-interval and skip-stage-end-validation: identical with' in said, said.out


def test_a_quirk_that_made_no_difference_is_named(verify, script):
    source = """
        class Mine(Hook):
            def after_epoch(self, engine):
                pass
        engine(stage(2, 0), hooks=[Mine()]).launch()
    """
    said = verify(script(source), n=2)
    assert said.code == 0 and 'identical: 2 iterations, ' in said, said.out + said.err
    assert 'quirks met that made no difference so far: hook-defaults\n' in said


BROKEN = """
    class Broken(Hook):
        def after_train_iter(self, engine):
            if engine.iter == 4:
                {}
    engine(hooks=[Broken()]).launch()
"""


@pytest.mark.parametrize(
    ('deed', 'words'),
    [
        (
            'engine.model.layers[0].weight.data[3, 2] = 0.75 if OURS else 0.25',
            ['model.layers.0.weight:', '1 of 48 elements differs, by 0.5, at', '[3, 2]:'],
        ),
        ("engine.buffer.update('mine', 0.75 if OURS else 0.25)", ["buffer['mine'][-1]:"]),
        (
            "engine.optimizer.param_groups[0]['lr'] = 0.75 if OURS else 0.25",
            ['learning rate of group 0:'],
        ),
        (
            'engine.optimizer.state[engine.model.layers[4].bias]["exp_avg"].fill_('
            '0.75 if OURS else 0.25)',
            ["optimizer's exp_avg of model.layers.4.bias:", '3 of 3 elements differ'],
        ),
        (
            'engine.model.layers[1].running_mean[5] = 0.75 if OURS else 0.25',
            ['model.layers.1.running_mean:', '[5]:'],
        ),
    ],
    ids=['weight', 'buffer', 'rate', 'state', 'statistics'],
)
def test_a_difference_is_shown_where_it_arises(verify, script, deed, words):
    said = verify(script(BROKEN.format(deed)))
    assert said.code == 1
    assert 'different: iteration 5 (stage 1, epoch 2), in Broken.after_train_iter\n' in said
    assert 'identical up to there: 4 iterations' in said and 'please report it' in said
    for word in (*words, '0.25', '0.75'):
        assert word in said, said.out
    nncore, ours = (said.out.index(number) for number in ('0.25', '0.75'))
    assert nncore < ours


def test_a_difference_in_the_data_and_in_the_model(verify, script):
    source = """
        class Other(Points):
            def __getitem__(self, index):
                item = super().__getitem__(index)
                return dict(x=item['x'] + OURS * (index == 7), y=item['y'])
        data = loaders()
        data['train'] = DataLoader(Other(10, 0), 4)
        engine(data=data).launch()
    """
    said = verify(script(source))
    assert 'iteration 2 (stage 1, epoch 1), in the batch that the model is given' in said, said.out
    assert "batch['x']:\n    6 of 24 elements differ, by 1 at most" in said
    source = """
        class Grown(Net):
            def forward(self, data, mode, **kwargs):
                output = super().forward(data, mode, **kwargs)
                output['loss'] = output['loss'] * (2 if OURS else 1)
                return output
        Engine(Grown(), loaders(), [stage()]).launch()
    """
    said = verify(script(source))
    assert 'iteration 1 (stage 1, epoch 1), when the model has seen the batch' in said, said.out
    assert "losses['loss']:" in said


def test_a_gradient(verify, script):
    source = """
        class Fixed(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.clone()
            @staticmethod
            def backward(ctx, grad):
                return torch.full_like(grad, 0.75 if OURS else 0.25)
        class Bent(Net):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.zeros(3, 2))
            def forward(self, data, mode, **kwargs):
                output = super().forward(data, mode, **kwargs)
                output['loss'] = output['loss'] + Fixed.apply(self.weight).sum()
                return output
        Engine(Bent(), loaders(), [dict(epochs=1, optimizer=dict(type='SGD', lr=0.0))]).launch()
    """
    said = verify(script(source))
    assert 'in OptimizerHook.after_train_iter' in said, said.out
    assert 'gradient of model.weight:\n    6 of 6 elements differ, by 0.5 at most' in said


def test_another_order_of_hooks(verify, script):
    source = """
        class One(Hook):
            def after_train_iter(self, engine):
                pass
        class Two(One):
            pass
        hooks = [One(), Two()]
        engine(hooks=hooks[::-1] if OURS else hooks).launch()
    """
    said = verify(script(source))
    assert 'engine.hooks:' in said and 'One, Two' in said and 'Two, One' in said


@pytest.mark.parametrize(
    ('n', 'train', 'val', 'words'),
    [
        (2, 2, 2, '2 iterations, 1 validation'),  # Within the first epoch, of three.
        (3, 3, 2, '3 iterations, 1 validation'),  # At its end.
        (5, 5, 2, '5 iterations, 1 validation'),  # Within the second: that one was validated.
        (6, 6, 4, '6 iterations, 2 validations'),  # The whole run.
        (99, 6, 4, '6 iterations, 2 validations'),
    ],
)
def test_it_ends_after_so_many_iterations(verify, script, tmp_path, n, train, val, words):
    source = """
        class Ends(Hook):
            def before_launch(self, engine):
                see(f'{engine.max_iters} {len(engine.data_loaders["train"])}')
        engine(hooks=[Ends()]).launch()
        see('over')
    """
    said = verify(script(source), n=n)
    assert said.code == 0 and f'identical: {words}, ' in said, said.out + said.err
    seen = Counter((tmp_path / 'seen.txt').read_text().splitlines())
    for side in ('nncore', 'ours'):
        # The schedule is that of the whole run.
        assert seen[f'{side} 6 3'] == 1
        assert (seen[f'{side} train'], seen[f'{side} val']) == (train, val)
        assert seen[f'{side} over'] == (n >= 6)


def test_a_validation_that_is_not_due_is_brought_forward(verify, script, tmp_path):
    said = verify(script('engine(stage(6, 5)).launch()'), n=5)
    assert 'identical: 5 iterations, 1 validation' in said, said.out
    said = verify(script('engine(stage(6, 5)).launch()'), n=6)
    assert 'identical: 6 iterations, 1 validation' in said, said.out
    said = verify(script('engine(stage(6, 0)).launch()'), n=5)
    assert 'identical: 5 iterations, ' in said and 'no validation: the stage has none' in said


ON = {
    'launches': """
        while True:
            try:
                engine().launch()
            except BaseException:
                pass
    """,
    'iterates': """
        one = engine()
        try:
            one.launch()
        except BaseException:
            pass
        while True:
            one.train_iter(next(iter(one.data_loader)))
    """,
    'knows no such error': """
        try:
            engine().launch()
        except Exception:
            see('train train train')
    """,
}


@pytest.mark.parametrize('how', ON)
def test_no_script_trains_on(verify, script, tmp_path, how):
    assert verify(script(ON[how]), n=2).code == 0
    seen = Counter((tmp_path / 'seen.txt').read_text().split())
    assert (seen['train'], seen['val']) == (4, 4)


def test_several_engines_and_evaluations_in_order(verify, script):
    source = """
        first, second = engine(), engine(stage(1), work_dir=None)
        second.launch(eval=True)
        first.launch()
        second.load_checkpoint('work/dir/epoch_2.pth')
        second.launch()
    """
    said = verify(script(source), n=8)
    assert said.code == 0, said.out + said.err
    assert 'identical: 8 iterations, 2 validations, 1 test, ' in said
    source += """
        third = engine()
        third.model.layers[4].weight.data += OURS
        third.launch(eval='val')
    """
    said = verify(script(source))
    assert said.code == 1 and 'when engine.launch() is called' in said, said.out + said.err
    said = verify(script('engine().launch(eval=True)'))
    assert 'identical: 1 test, results to the bit' in said, said.out + said.err


def test_the_users_files_are_left_alone(verify, script, tmp_path):
    work = tmp_path / 'work' / 'dir'
    work.mkdir(parents=True)
    (work / 'config.json').write_text('of an earlier run')
    (work / 'epoch_1.pth').write_text('a checkpoint')
    os.utime(work / 'config.json', (1, 1))
    source = """
        os.makedirs('work/dir/sub', exist_ok=True)
        open('work/dir/sub/log', 'w').write('a log')
        open('work/dir/config.json', 'w').write('of this run')
        os.remove('work/dir/epoch_1.pth')
        torch.save({}, 'work/dir/mine.pth')
        open('result.txt', 'w').write('a result')
        writer = EventWriterHook(writers=[dict(type='TensorboardWriter', log_dir='tb')])
        other = engine(hooks=[CheckpointHook(out='checkpoints'), writer], work_dir=None)
        third = engine(stage(1))
        third.work_dir = 'elsewhere'
        engine().launch()
        other.launch()
        third.launch()
        assert torch.load('work/dir/epoch_2.pth') and not os.path.exists('elsewhere')
    """
    name = script(source)
    before = tree(tmp_path)
    said = verify(name)
    assert said.code == 0, said.out + said.err
    after = tree(tmp_path)
    assert {path for path in after if path not in before} == {'result.txt', 'seen.txt'}
    assert {path: after[path] for path in before} == before
    assert 'the script itself wrote: result.txt, seen.txt\n' in said


def tree(folder):
    """The files below a folder, with content and time, and the folders."""
    return {
        str(path.relative_to(folder)): path.is_file()
        and (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob('*')
        if '__pycache__' not in path.parts
    }


def test_a_work_dir_that_the_script_makes_is_gone_again(verify, script, tmp_path):
    source = """
        os.makedirs('work/dir')
        open('work/dir/log', 'w').close()
        engine().launch()
        see(os.listdir('work/dir'))
    """
    said = verify(script(source))
    assert said.code == 0, said.out + said.err
    seen = (tmp_path / 'seen.txt').read_text().splitlines()
    assert [line for line in seen if '[' in line] == ["nncore ['log']", "ours ['log']"]
    assert not (tmp_path / 'work').exists() and not (tmp_path / 'work_dirs').exists()


def test_random_numbers_begin_alike_and_seeds_that_nobody_gave_are_the_same(verify, script):
    source = """
        import random
        import numpy as np
        order = random.sample(range(10), 10) + np.random.permutation(10).tolist()
        seed = set_random_seed(), generate_random_seed()
        class Shown(Hook):
            def before_launch(self, engine):
                engine.buffer.update('_numbers', [order, seed, hash('text')])
        engine(hooks=[Shown()]).launch()
    """
    said = verify(script(source))
    assert said.code == 0, said.out + said.err


def test_a_script_that_does_not_repeat_itself_is_told(verify, script):
    source = """
        import time
        class Clock(Hook):
            def after_train_iter(self, engine):
                engine.buffer.update('clock', time.time())
        engine(hooks=[Clock()]).launch()
    """
    said = verify(script(source))
    assert said.code == 1 and 'the script does not do the same twice under nncore itself' in said
    assert "buffer['clock'][-1]:" in said and 'please report' not in said


TRAINS = """
    import hashlib, random
    import numpy as np
    torch.manual_seed(4), random.seed(4), np.random.seed(4)
    one = engine(stage(2), stage(1), hooks=[EvalHook()])
    one.launch()
    digest = hashlib.sha256()
    for value in (*one.model.state_dict().values(), torch.get_rng_state()):
        digest.update(value.numpy().tobytes())
    digest.update(repr([random.random(), np.random.random(), one.buffer.keys()]).encode())
    result = digest.hexdigest()
    see(result)
"""


def test_being_recorded_changes_nothing(verify, script, tmp_path):
    (plain,) = results(
        ('real',),
        f'import sys; sys.path.insert(0, {str(SCRIPTS)!r})\nfrom lab import *\n'
        f'from nncore.engine import EvalHook\n{textwrap.dedent(TRAINS)}',
        {},
    )
    said = verify(script(TRAINS), spec='all')
    assert said.code == 0, said.out + said.err
    seen = (tmp_path / 'seen.txt').read_text().splitlines()
    assert [line for line in seen if len(line) > 60] == [f'nncore {plain}', f'ours {plain}']


FAILS = """
    class Boom(Hook):
        def after_train_iter(self, engine):
            if {}:
                raise ValueError('no more')
    engine(hooks=[Boom()]).launch()
"""


@pytest.mark.parametrize(
    ('when', 'sides', 'end'),
    [('OURS', 1, 'one of the two'), ('not OURS', 1, 'one of the two'), ('True', 2, 'both')],
)
def test_a_script_that_fails(verify, script, when, sides, end):
    said = verify(script(FAILS.format(when)))
    assert said.code == 2 and f'could not compare: the script fails under {end}' in said.err
    assert said.out.count('the script fails under') == sides
    assert said.out.count('ValueError: no more') == sides
    assert 'identical' not in said


@pytest.mark.parametrize(
    'fails',
    ["assert OURS, 'no more'", 'one.launch(eval=True)'],
    ids=['the script', 'nncore, in an evaluation after training'],
)
def test_what_differs_before_the_script_fails(verify, script, fails):
    source = f"""
        class Early(Hook):
            def before_epoch(self, engine):
                see('before_epoch')
        one = engine(hooks=[Early()])
        one.launch()
        {fails}
    """
    said = verify(script(source))
    assert said.code == 1, said.out + said.err
    assert 'goes on with Early.before_epoch' in said
    assert 'identical with --quirks hook-defaults, until the script fails under nncore' in said
    assert 'the script fails under nncore 0.4.7, later:\n' in said


def test_a_script_that_looks_for_its_files_is_told_where_they_are_not(verify, script):
    source = """
        import glob
        engine().launch()
        torch.load(glob.glob('work/*.pth')[0])
    """
    said = verify(script(source))
    assert said.code == 2 and 'does not find them' in said, said.out + said.err


def test_a_relative_work_dir_of_a_script_that_has_changed_folder(verify, script, tmp_path):
    folder = tmp_path / 'sub' / 'exp'
    folder.mkdir(parents=True)
    (folder / 'epoch_9.pth').write_text('of an earlier run')
    source = """
        import shutil
        os.chdir('sub')
        shutil.rmtree('exp')
        os.makedirs('exp')
        open('exp/config.json', 'w').write('{}')
        engine(work_dir='exp').launch()
    """
    said = verify(script(source))
    assert said.code == 0, said.out + said.err
    assert [path.name for path in folder.iterdir()] == ['epoch_9.pth']


def test_a_script_that_goes_on_when_a_launch_has_failed(verify, script):
    source = """
        class Boom(Hook):
            def before_train_iter(self, engine):
                if engine.iter == 1:
                    raise {}
        class Last(Hook):
            def {}(self, engine):
                pass
        try:
            engine(hooks=[Last(), Boom()]).launch()
        except ({}):
            engine().launch()
    """
    raised = ("ValueError('no more')", 'ValueError')
    said = verify(script(source.format(raised[0], 'before_launch', raised[1])), n=4)
    assert said.code == 0 and '3 iterations, 1 validation' in said, said.out + said.err
    said = verify(script(source.format(raised[0], 'after_launch', raised[1])), n=4)
    assert said.code == 1 and 'explained by the quirk silent-failure:' in said, said.out + said.err


@pytest.mark.parametrize(
    ('source', 'words'),
    [
        ("print('nothing')", 'main.py makes no nncore.engine.Engine in its own process'),
        ('engine()', 'main.py launches no engine'),
    ],
)
def test_a_script_without_anything_to_compare(verify, script, source, words):
    said = verify(script(source))
    assert said.code == 2 and words in said.err


def test_wrong_arguments_of_the_script(verify, script):
    said = verify(script("import argparse\nargparse.ArgumentParser().parse_args(['--unknown'])"))
    assert said.code == 2 and 'unrecognized arguments: --unknown' in said


def test_nncore_missing(verify, script, monkeypatch):
    monkeypatch.setattr(command, 'find_spec', lambda name: None)
    said = verify(script('engine().launch()'))
    assert said.code == 2 and "pip install 'nncore-compat[nncore]'" in said.err


def test_torchvision_is_there_for_nncore_alone(verify, script):
    source = """
        import importlib.util
        assert 'torchvision' not in sys.modules, 'seen'
        assert importlib.util.find_spec('torchvision') is None
        import lightning.pytorch, torchmetrics.utilities.imports as imports
        assert not imports._TORCHVISION_AVAILABLE
        engine().launch()
    """
    said = verify(script(source))
    assert said.code == 0, said.out + said.err


def test_any_path_arguments_and_modules(verify, script, tmp_path):
    source = """
        assert sys.argv[1:] == ['--quirks', 'ä b']
        engine(amp='bf16', work_dir='wörk dir').launch()
    """
    name = script(source, 'a folder/Schrïft.py')
    assert verify(name, '--quirks', 'ä b').code == 0
    script(source, 'package/part.py')
    assert verify('-m', 'package.part', '--quirks', 'ä b').code == 0


@pytest.mark.slow
def test_a_project(verify, tmp_path):
    shutil.copytree(PROJECT, tmp_path, dirs_exist_ok=True)
    before = tree(tmp_path)
    said = verify('tools/launch.py', 'configs/clips/localizer_3e_clips.py')
    assert said.code == 0 and 'weights to the bit' in said, said.out + said.err
    assert tree(tmp_path) == before
    said = verify('tools/launch.py', 'configs/clips/localizer_2s_5e_clips.py')
    # One of its hooks says in after_epoch what nncore never lets it say.
    assert 'goes on with LossWeightHook.after_epoch' in said
    names = 'hook-defaults and skip-stage-end-validation'
    assert f'explained by the quirks {names}: identical with' in said, said.out + said.err
    assert tree(tmp_path) == before


@pytest.mark.slow
def test_workers_that_are_spawned(verify, script):
    source = """
        if __name__ == '__main__':
            torch.multiprocessing.set_start_method('spawn')
            engine(stage(1), data=loaders(num_workers=1)).launch()
    """
    said = verify(script(source))
    assert said.code == 0 and 'identical: 3 iterations' in said, said.out + said.err


def test_every_quirk_has_a_script_here():
    assert {*QUIRKS, 'silent-failure'} == set(quirks.QUIRKS)
