"""A run that is killed again and again ends exactly as one that is left alone."""

import json
import subprocess
import sys

import pytest
import tiny

from nncore_compat.hooks import checkpoint
from resume import TESTS, environment


def kill(folder, *options, timeout):
    """Run the command line of the kill test; return what it has seen."""
    done = subprocess.run(
        [sys.executable, '-m', 'resume.kills', '--folder', str(folder), *options],
        cwd=TESTS,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.stdout, done.stderr
    seen = json.loads(done.stdout)
    # It says itself whether all is well, for those who run it by hand.
    bad = [key for key in ('damaged files', 'leftovers', 'problems', 'differences') if seen[key]]
    assert done.returncode == int(bool(bad)), done.stderr
    return seen, {key: seen[key] for key in bad}


class Killed(BaseException):
    """Ends a run at once."""


def test_a_file_that_was_about_to_be_removed(tmp_path, monkeypatch):
    """A kill between the new file and the removal of the old one leaves none behind for good."""

    def build():
        saving = {'type': 'CheckpointHook', 'every_n_iters': 1, 'keep_last': 2}
        return tiny.engine(tmp_path, stages=tiny.stage(epochs=3), hooks=[saving])

    def killed(path):
        raise Killed(path)

    with monkeypatch.context() as patch, pytest.raises(Killed, match='iter_2.pth'):
        removed = checkpoint._remove
        patch.setattr(checkpoint, '_remove', lambda p: (killed if 'iter_2' in p else removed)(p))
        build().launch()
    there = sorted(path.name for path in tmp_path.glob('*.pth'))
    assert there == ['epoch_1.pth', 'iter_2.pth', 'iter_4.pth']
    build().launch(resume='auto')
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['epoch_3.pth', 'iter_8.pth']


@pytest.mark.slow
def test_some_kills(tmp_path):
    seen, bad = kill(tmp_path, '--kills=8', '--real=1', '--spoil=0.7', timeout=300)
    assert not bad
    # Moments are random: the run may be over before the last of them.
    assert 5 <= seen['kills'] <= 8
    assert seen['starts'] == seen['kills'] + 1
    assert seen['damaged by hand'] > 0
    assert seen['hits'].keys() & {'training', 'writing'}


@pytest.mark.whole_matrix
def test_a_hundred_kills(tmp_path):
    seen, bad = kill(tmp_path, '--kills=100', timeout=3600)
    assert not bad
    assert seen['kills'] == 100
