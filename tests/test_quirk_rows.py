"""Every known difference between nncore's documentation and nncore 0.4.7, and what is promised.

A quirk has one test of the documented behaviour and one of `--quirks NAME`, which must equal the
reference. What is kept must equal the reference whether quirks are on or off. What 0.4.7 does
wrongly and no working script can depend on must work, or fail in words.
"""

import json
import re
import struct
import subprocess
from pathlib import Path

import pytest
from parity.sides import SCRIPTS, environment
from parity.sides import command as command_line

QUIRKS = {
    'hook-defaults': 'hook_defaults',
    'skip-stage-end-validation': 'stage_end_validation',
    'validation-offset': 'validation_offset',
    'eval-interval': 'eval_interval',
    'inexact-resume': 'inexact_resume',
    'single-loader': 'single_loader',
    'silent-failure': 'silent_failure',
}


class Rows:
    """Runs rows of `_rows.py`, each no more than once, and returns what they wrote."""

    def __init__(self, sides, folder):
        self._sides = sides
        self._folder = folder
        self._seen = {}

    def __call__(self, name, *args, quirks='none', prelude=''):
        """What a row says on the reference's side, and on ours with some quirks."""
        reference, ours = (name, None, *args), (name, quirks, *args)
        waiting = []
        for key, side in zip((reference, ours), self._sides, strict=True):
            if key not in self._seen:
                options = dict(args=[name, *args], quirks=key[1], prelude=prelude)
                self._seen[key] = None
                side.start('_rows.py', self.out(*key[:2]), **options)
                waiting.append((key, side))
        for key, side in waiting:
            out = self.out(*key[:2])
            assert side.wait() == 0, Path(f'{out}.stderr').read_text()[-3000:]
            self._seen[key] = json.loads((out / 'row.json').read_text())
        return self._seen[reference], self._seen[ours]

    def out(self, name, which):
        """The output folder of a row on our side with some quirks; None: the reference's."""
        return self._folder / name / (which or 'reference')


@pytest.fixture(scope='module')
def rows(sides, tmp_path_factory):
    return Rows(sides, tmp_path_factory.mktemp('rows'))


@pytest.mark.parametrize('name', QUIRKS)
def test_quirk_by_name_equals_the_reference(name, rows):
    reference, ours = rows(QUIRKS[name], quirks=name)
    assert ours == reference


@pytest.mark.parametrize('name', QUIRKS)
def test_other_quirks_do_not_bring_it_back(name, rows):
    others = ','.join(other for other in QUIRKS if other != name)
    reference, ours = rows(QUIRKS[name], quirks=others)
    assert ours != reference


def test_quirk_on_the_command_line(rows, tmp_path):
    argv = command_line(False, SCRIPTS / '_rows.py', tmp_path, 'stage_end_validation')
    argv[argv.index('all')] = 'skip-stage-end-validation,eval-interval'
    env = environment(reference=False)
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reference, _ = rows('stage_end_validation')
    assert json.loads((tmp_path / 'row.json').read_text()) == reference


@pytest.mark.parametrize('name', QUIRKS)
def test_a_fixed_quirk_is_told_once_in_a_run(name, rows):
    rows(QUIRKS[name])
    rows(QUIRKS[name], quirks=name)
    fixed, quirky = (
        Path(f'{rows.out(QUIRKS[name], which)}.stdout').read_text() for which in ('none', name)
    )
    # The scripts of these two have two runs, each with a log of its own, that meet the quirk.
    runs = 2 if name in ('eval-interval', 'validation-offset') else 1
    assert fixed.count(f'--quirks {name}') == runs
    assert '--quirks' not in quirky
    # And at the end of each training.
    ends = re.findall(r'that would have changed this run: (.*)', fixed)
    assert sum(name in end.split(', ') for end in ends) == runs
    assert not re.search(rf'that would have changed this run:.*\b{name}\b', quirky)


def test_hook_defaults_documented(rows):
    _, ours = rows('hook_defaults')
    # Two epochs of two training batches and one of validation.
    expected = []
    for epoch in range(2):
        for mode, size, batches, now in (('train', 4, 2, epoch), ('val', 2, 1, epoch + 1)):
            expected += [['set_epoch', size, now], ['before_epoch', mode, now]]
            expected += [['before_iter', mode, now], ['after_iter', mode, now]] * batches
            expected += [['after_epoch', mode, now]]
    assert ours == expected


def test_inexact_resume_documented(rows):
    reference, ours = rows('inexact_resume')
    assert ours['resumed'] == ours['whole'] == reference['whole']


def test_stage_end_validation_documented(rows):
    reference, ours = rows('stage_end_validation')
    assert ours == [1, 2, 3, 4, 5, 6]
    assert reference == [1, 3, 4, 6]


def test_validation_offset_documented(rows):
    reference, ours = rows('validation_offset')
    # (interval, offset): that many epochs are skipped before the interval counts.
    assert ours == {'1, 3': [4, 5, 6, 7], '2, 1': [3, 5, 7], '3, 1': [4, 7]}
    assert reference == {'1, 3': [4, 5, 6, 7], '2, 1': [2, 4, 6], '3, 1': [3, 6]}


def test_eval_interval_documented(rows):
    reference, ours = rows('eval_interval')
    assert ours == {'2': [2, 4, 6], '3': [3, 6]}
    assert reference == {'2': [1, 3, 5], '3': [2, 5]}


def test_single_loader_documented(rows):
    reference, ours = rows('single_loader')
    assert reference['drawn']
    assert not ours['drawn']


def test_single_loader_may_be_endless(rows):
    reference, ours = rows('endless_loader')
    assert reference['made']['error'] == 'RuntimeError'
    assert ours == dict(made=dict(result=True), drawn=0)


def test_resume_of_several_stages(rows):
    reference, ours = rows('resume_stages')
    assert ours['whole'] == reference['whole']
    for epoch, stage in ((1, 0), (2, 1), (3, 1), (4, 2), (5, 3)):
        expected = dict(stage=stage, epoch=epoch, weights=ours['whole'])
        assert ours[str(epoch)] == expected, epoch
    assert any('error' in reference[str(epoch)] for epoch in range(1, 6))


def test_evaluation_after_training(rows):
    reference, ours = rows('evaluate_after_training')
    assert reference['after']['error'] == 'IndexError'
    assert ours['fresh'] == reference['fresh']
    assert ours['after'] == dict(result=ours['fresh'])


def test_debug_with_any_output(rows):
    reference, ours = rows('debug_outputs')
    assert reference['error'] == 'RuntimeError'
    assert 'error' not in ours
    assert 'detected in _wide' in ours['log']


def test_strict_load_is_readable(rows):
    reference, ours = rows('strict_words')
    assert ours['error'] == reference['error'] == 'RuntimeError'
    assert 'layers.0.weight' not in reference['words']
    assert 'layers.0.weight' in ours['words']


def test_unknown_dataset(rows):
    reference, ours = rows('unknown_dataset')
    assert reference['words'] == "object of type 'NoneType' has no len()"
    assert ours['error'] == 'ValueError'
    assert "'Nothing'" in ours['words']


def test_failed_before_registers_nothing(rows):
    reference, ours = rows('failed_before')
    assert reference['left'] == ['ClosureHook']
    assert ours['left'] == []
    assert ours['error'] == reference['error'] == 'ValueError'
    assert 'Absent' in ours['words']


def test_amp_on_cpu_is_labelled_as_it_is(rows):
    reference, ours = rows('amp_label')
    assert ours['types'] == reference['types']
    assert set(ours['types']) == {'torch.bfloat16', None}
    assert (reference['label'], ours['label']) == ('fp16', 'bf16')
    assert 'AMP: bf16' in ours['log']


def test_graph_is_written(rows):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reference, ours = rows('graph')
    assert 'error' in reference
    assert 'error' not in ours
    events = EventAccumulator(str(rows.out('graph', 'none') / 'run' / 'tf_logs'))
    events.Reload()
    assert any('Linear' in node.name or 'addmm' in node.op for node in events.Graph().node)


TORCHVISION = """
import sys, types, enum
from pathlib import Path
url = Path({file!r}).as_uri()
class Weights(enum.Enum):
    IMAGENET1K_V1 = types.SimpleNamespace(url=url)
    DEFAULT = IMAGENET1K_V1
    @property
    def url(self):
        return self.value.url
models = types.ModuleType('torchvision.models')
models.__path__ = []
models.get_model_weights = lambda name: dict(resnet18=Weights)[name]
models.get_weight = lambda name: Weights.DEFAULT
models.list_models = lambda *args, **kwargs: ['resnet18']
torchvision = types.ModuleType('torchvision')
torchvision.models = models
torchvision.__path__ = []
sys.modules.update({{'torchvision': torchvision, 'torchvision.models': models}})
"""


def test_torchvision_by_its_current_interface(rows, tmp_path):
    """Today's torchvision has no `model_urls`; nothing is downloaded, the URL is a file's."""
    import torch

    rows('evaluate_after_training')
    out = rows.out('evaluate_after_training', 'none') / 'run' / 'epoch_2.pth'
    file = tmp_path / 'torchvision_stand_in.pth'
    torch.save(torch.load(out)['state_dict'], file)
    home = f'import torch; torch.hub.set_dir({str(tmp_path / "hub")!r})\n'
    prelude = home + TORCHVISION.format(file=str(file))
    reference, ours = rows('torchvision_weights', prelude=prelude)
    assert 'error' in reference
    assert 'error' not in ours, ours
    assert ours['weights'] != reference['weights']


def test_torchvision_missing(rows):
    _, ours = rows('torchvision_missing')
    assert ours['error'] == 'ImportError'
    assert 'torchvision' in ours['words']


def test_log_file_with_a_wrapped_model(rows):
    reference, ours = rows('wrapped_model_log')
    assert 'run/<time>.log' not in reference
    assert sorted(ours) == sorted([*reference, 'run/<time>.log'])


def kept(rows, name, *args):
    """Run a row with quirks off and on; both must equal the reference. Returns its result."""
    reference, documented = rows(name, *args)
    _, quirky = rows(name, *args, quirks='all')
    assert documented == reference
    assert quirky == reference
    return reference


def test_warmup_and_schedule(rows):
    rates = kept(rows, 'warmup_and_schedule')
    # Three iterations an epoch, the rate halved in each: warm-up by iter ends in the second.
    assert rates['warmup_by_iter'][:6] == pytest.approx([0.01, 0.0325, 0.055, 0.0775, 0.1, 0.1])
    assert rates['warmup_by_iter'][6] == 0.025
    assert rates['schedule_by_iter'][:3] == [0.1, 0.05, 0.025]


def test_losses_are_summed_in_float32(rows):
    seen = kept(rows, 'summed_losses')
    parts, counts, average = seen[-1]
    assert parts['loss'] == pytest.approx(parts['near_loss'] + parts['_lossy'])
    assert counts['precise'] == 2
    assert counts['_private'] == counts['_lossy'] == 3
    assert average == struct.unpack('f', struct.pack('f', 1 / 3))[0] != 1 / 3


def test_missing_loaders(rows):
    reference, ours = rows('missing_loaders')
    expected = dict(
        train=dict(train='train', val='train', test='train'),
        train_val=dict(train='train', val='val', test='val'),
        train_test=dict(train='train', val='test', test='test'),
    )
    assert {k: v['used'] for k, v in ours.items()} == expected
    assert {k: v['used'] for k, v in reference.items()} == expected
    for name, row in ours.items():
        assert row['given'] == sorted(name.split('_'))
        assert reference[name]['given'] == ['test', 'train', 'val']


def test_two_closures(rows):
    for quirks in ('none', 'all'):
        reference, ours = rows('two_closures', quirks=quirks)
        assert ours['seen'] == reference['seen'] == ['two']
        assert ours['log'].count("'ClosureHook' replaces") == 1


def test_shared_optimizer_keeps_its_first_base_lr(rows):
    seen = kept(rows, 'shared_base_lr')
    assert [base for _, base in seen] == [0.4] * 6
    assert seen[3][0] == 0.4


def test_typed_tags(rows):
    tags = kept(rows, 'typed_tags')
    assert 'abc/train/text_summary' in tags['tensors']
    assert 'de/train' in tags['histograms']
    assert 'plain_key/train' in tags['scalars']


def test_run_test_mixture(rows):
    seen = kept(rows, 'run_test_mixture')
    for mode, losses, dataset in seen:
        # Two batches of validation and two of the test split.
        assert (mode, len(losses), dataset) == ('test', 4, 'test')


def test_outputs_are_truncated(rows):
    row = kept(rows, 'truncated_outputs')
    assert row['sizes'] == [5]


def test_validation_in_float32(rows):
    row = kept(rows, 'float32_validation')
    assert row['scaled']
    by_mode = {mode: (kind, autocast) for mode, kind, autocast in row['types']}
    assert by_mode == dict(
        train=('torch.bfloat16', True),
        val=('torch.float32', False),
        test=('torch.float32', False),
    )


def test_resume_of_nncores_files_restores_no_random_state(rows):
    rows('trained')
    file = rows.out('trained', None) / 'run' / 'epoch_1.pth'
    row = kept(rows, 'resumed_random_states', file)
    assert row['states'][0] == row['states'][1]
