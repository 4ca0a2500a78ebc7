"""Every script leaves the same behind under nncore 0.4.7 and under nncore_compat."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from parity.compare import compare_runs
from parity.sides import SCRIPTS, command, environment, run_both

NAMES = sorted(path.name for path in SCRIPTS.glob('[!_]*.py'))


def check(reference, ours, expected=0):
    """Compare two (output folder, exit status) pairs."""
    assert reference[1] == expected, f'the reference failed: see {reference[0]}.stderr'
    assert ours[1] == expected, Path(f'{ours[0]}.stderr').read_text()[-3000:]
    differences = compare_runs(reference[0], ours[0])
    assert not differences, '\n'.join(differences)


def test_scripts_are_plain_nncore_scripts():
    assert len(NAMES) >= 40
    for path in SCRIPTS.glob('*.py'):
        assert 'nncore_compat' not in path.read_text(), path


@pytest.mark.parametrize('name', NAMES)
def test_script(name, sides, tmp_path):
    check(*run_both(*sides, name, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_script_in_the_stock_loop(name, sides, tmp_path):
    check(*run_both(*sides, name, tmp_path, stock=True))


@pytest.mark.parametrize('name', ['defaults.py', 'images.py', 'workers.py'])
def test_script_that_meets_no_quirk(name, sides, tmp_path):
    """What documentation and nncore agree on is the same with all quirks off."""
    reference, ours = run_both(*sides, name, tmp_path, quirks='none')
    check(reference, ours)
    assert 'have changed this run: none' in Path(f'{ours[0]}.stderr').read_text()


def test_checkpoints_travel_both_ways(sides, tmp_path):
    """Files of either side are resumed on either side, from every epoch, to the same end."""
    trained = run_both(*sides, 'two_stages.py', tmp_path / 'trained')
    runs = []
    for name, folders in (('own', (0, 1)), ('other', (1, 0))):
        for i, (side, source) in enumerate(zip(sides, folders, strict=True)):
            side.start('_resume_from.py', tmp_path / name / str(i), [trained[source][0] / 'whole'])
        runs += [(tmp_path / name / str(i), side.wait()) for i, side in enumerate(sides)]
    for run in runs[1:]:
        check(runs[0], run)


def test_a_script_that_handles_termination(sides, tmp_path):
    """A scheduler's SIGTERM is the script's own affair, where it says so."""
    check(*run_both(*sides, '_terminated.py', tmp_path))


@pytest.mark.parametrize('kind, code', [('error', 1), ('interrupt', -2)])
def test_uncaught_errors_end_the_command(kind, code, reference_installed, tmp_path):
    """The real command lines: status, last words of the traceback and the files left behind."""

    def run(side):
        folder = tmp_path / side
        folder.mkdir()
        reference = side == 'reference'
        argv = command(reference, SCRIPTS / '_uncaught.py', folder, kind)
        env = environment(reference)
        done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True)
        Path(f'{folder}.stdout').write_text(done.stdout)
        lines = done.stderr.splitlines()
        # Our last line is a note on the error: where in the run it was raised.
        ends = [line for line in lines if not line.startswith('(ClosureHook.after_train_iter ')]
        words = [line for line in lines if line.startswith('Traceback')] + ends[-1:]
        Path(f'{folder}.stderr').write_text('\n'.join(words))
        return folder, done.returncode

    with ThreadPoolExecutor() as pool:
        check(*pool.map(run, ('reference', 'ours')), code)
