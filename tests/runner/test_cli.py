import os
import sys

import pytest

from nncore_compat import __version__
from nncore_compat.quirks import QUIRKS

SHOW = """
    import os, sys
    from nncore_compat import quirks
    print(sys.argv[1:], [name for name in quirks.QUIRKS if quirks.active(name)])
    print(os.environ['NNCORE_COMPAT_QUIRKS'])
"""


def test_help_lists_the_quirks_and_does_not_wait_for_torch(python):
    result = python('-X', 'importtime', '-m', 'nncore_compat', '--help')
    assert result.returncode == 0
    assert '--quirks' in result.stdout and '-m module' in result.stdout
    text = ' '.join(result.stdout.split())
    for name, effect in QUIRKS.items():
        assert f'{name} {effect}' in text
    assert imported(python, result) == set()


def test_help_on_converting_imports_no_more(python):
    result = python('-X', 'importtime', '-m', 'nncore_compat', 'convert', '--help')
    assert result.returncode == 0 and '--to' in result.stdout
    assert imported(python, result) == set()


def test_version(python):
    result = python('-X', 'importtime', '-m', 'nncore_compat', '--version')
    assert (result.returncode, result.stdout) == (0, f'nncore-compat {__version__}\n')
    assert imported(python, result) == set()


def test_nothing_is_imported_before_the_script_starts(python, write):
    # The script may still have to set variables that torch and numpy read as they are imported.
    write({'main.py': "import sys; print(sorted({'torch', 'numpy', 'nncore'} & set(sys.modules)))"})
    assert python('-m', 'nncore_compat', 'main.py').stdout == '[]\n'


def imported(python, result):
    """The packages that a command has imported, but Python's own, ours, and those of its site."""

    def tops(importtime):
        lines = [line for line in importtime.splitlines() if line.startswith('import time:')]
        assert len(lines) > 10
        return {line.rpartition('|')[2].strip().partition('.')[0] for line in lines}

    site = tops(python('-X', 'importtime', '-c', 'pass').stderr)
    return tops(result.stderr) - site - {'nncore_compat', *sys.stdlib_module_names}


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        ([], ['no script', '-m module']),
        (['-m'], ['-m needs the name']),
        (['--unknown', 'main.py'], ['--unknown']),
        (['--quirk', 'all', 'main.py'], ['--quirk']),
        (['--quirks'], ['--quirks', 'expected one argument']),
        (['--quirks', 'eval-intervall', 'main.py'], ["mean 'eval-interval'?", *QUIRKS, 'none']),
        (['--quirks=single-loader,nothing', 'main.py'], ["'nothing'", *QUIRKS]),
        (['--trainer', 'profiler', 'main.py'], ["KEY=VALUE, but got 'profiler'"]),
        (['--resume'], ['--resume', 'expected one argument']),
        (['--resume', 'nothing.pth', 'main.py'], ['there is no', 'nothing.pth', "'auto'"]),
        (['--plot-lr', 'lr.bmp', 'main.py'], ["'lr.bmp' must end with one of .png, .svg"]),
        (['--plot-lr', 'no/lr.png', 'main.py'], ['--plot-lr: there is no folder']),
        (['--devices', '2', '--strategy', 'dpp', 'main.py'], ["strategy='dpp'", 'ddp_spawn']),
    ],
    ids=str,
)
def test_wrong_options(python, write, args, words):
    write({'main.py': "print('ran')"})
    result = python('-m', 'nncore_compat', *args)
    assert (result.returncode, result.stdout) == (2, '')
    assert result.stderr.startswith('usage: python -m nncore_compat [options] (script.py | -m')
    assert all(word in result.stderr for word in words), result.stderr
    assert 'Traceback' not in result.stderr


def test_wrong_quirk_in_the_environment_ends_the_run_before_it_starts(python, write):
    write({'main.py': "print('ran')"})
    result = python('-m', 'nncore_compat', 'main.py', NNCORE_COMPAT_QUIRKS='hook-default')
    assert (result.returncode, result.stdout) == (2, '')
    assert 'NNCORE_COMPAT_QUIRKS' in result.stderr and "'hook-defaults'?" in result.stderr


@pytest.mark.parametrize(
    ('options', 'env', 'expected'),
    [
        ([], {}, []),
        ([], {'NNCORE_COMPAT_QUIRKS': 'eval-interval'}, ['eval-interval']),
        (['--quirks', 'none'], {'NNCORE_COMPAT_QUIRKS': 'all'}, []),
        (['--quirks', 'all'], {}, list(QUIRKS)),
        (['--quirks=single-loader,hook-defaults'], {}, ['hook-defaults', 'single-loader']),
    ],
    ids=str,
)
@pytest.mark.parametrize('target', [['main.py'], ['-m', 'main']], ids=str)
def test_quirks_reach_the_script(python, write, target, options, env, expected):
    write({'main.py': SHOW})
    result = python('-m', 'nncore_compat', *options, *target, '--quirks', '-m', **env)
    shown, _, variable = result.stdout.partition(os.linesep)
    assert shown == f"['--quirks', '-m'] {expected}", result.stderr
    # What a child process would make of it.
    child = python('-c', SHOW.replace('    ', ''), NNCORE_COMPAT_QUIRKS=variable.strip())
    assert child.stdout.splitlines()[0] == f'[] {expected}'


RESUME = """
    import os, subprocess, sys
    print(os.environ.get('NNCORE_COMPAT_RESUME'))
    if 'child' not in sys.argv:
        os.chdir('/')
        subprocess.run([sys.executable, os.path.abspath(__file__), 'child'], check=True)
"""


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (None, 'None'),
        ('auto', 'auto'),
        ('here.pth', '{folder}/here.pth'),
        ('https://host/file.pth', 'https://host/file.pth'),
    ],
)
def test_what_to_resume_from_reaches_the_script_and_its_children(python, write, given, expected):
    folder = write({'main.py': RESUME, 'here.pth': ''})
    options = [] if given is None else ['--resume', given]
    result = python('-m', 'nncore_compat', *options, 'main.py')
    assert result.stdout.splitlines() == [expected.format(folder=folder)] * 2, result.stderr
