"""Processes that a script starts find the same `nncore.engine`."""

import ast
import os
from pathlib import Path

import pytest

SITE = 'nncore_compat/_site'

LOADERS = """
    import sys
    import nncore.engine
    from nncore.engine import Buffer
    from torch.utils.data import DataLoader, Dataset

    print(f'run as {__name__}', flush=True)

    class Numbers(Dataset):
        def __init__(self, buffer):
            self.buffer = buffer

        def __len__(self):
            return 1

        def __getitem__(self, index):
            import nncore.engine
            same = Buffer is nncore.engine.buffer.Buffer is type(self.buffer)
            return nncore.engine.__name__, same, self.buffer.latest('x'), sys.argv[1:]

    if __name__ == '__main__':
        buffer = Buffer()
        buffer.update('x', 7)
        for method in ('fork', 'spawn', 'forkserver'):
            loader = DataLoader(
                Numbers(buffer), num_workers=1, multiprocessing_context=method, collate_fn=list
            )
            print(method, *loader, flush=True)
"""
STATE = """
    import builtins, os, sys
    import sitecustomize
    print([
        sorted({'torch', 'nncore_compat'} & set(sys.modules)),
        [type(f).__name__ for f in sys.meta_path if 'nncore' in type(f).__module__],
        getattr(builtins, 'chained', 0),
        getattr(sitecustomize, '__file__', None),
        sys.path,
        os.environ.get('PYTHONPATH'),
    ])
"""
PARENT = """
    import subprocess, sys
    subprocess.run([sys.executable, *sys.argv[1:]], check=True)
"""
CHAINED = 'import builtins; builtins.chained = getattr(builtins, "chained", 0) + 1'


def test_loader_workers(write, python):
    write({'main.py': LOADERS})
    result = python('-m', 'nncore_compat', 'main.py', '--epochs')
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        'run as __main__',
        "fork [('nncore_compat', True, 7, ['--epochs'])]",
        'run as __mp_main__',
        "spawn [('nncore_compat', True, 7, ['--epochs'])]",
        'run as __mp_main__',
        "forkserver [('nncore_compat', True, 7, ['--epochs'])]",
    ]


@pytest.mark.parametrize('depth', ['child', 'grandchild'])
def test_subprocesses_differ_from_plain_ones_only_by_the_alias(write, python, root, depth):
    folder = write({'state.py': STATE, 'parent.py': PARENT, 'chain/sitecustomize.py': CHAINED})
    args = ['parent.py', 'state.py']
    if depth == 'grandchild':
        args = ['parent.py', 'parent.py', 'state.py']
    paths = (folder / 'chain', root)
    plain = ast.literal_eval(python(*args, paths=paths).stdout)
    loaded, finders, chained, file, path, variable = plain
    assert (loaded, finders, chained, Path(file).parent) == ([], [], 1, folder / 'chain')

    result = python('-m', 'nncore_compat', *args, paths=paths)
    assert result.stderr == ''
    finders = ['_AliasFinder', '_AbsentFinder']
    variable = f'{root / SITE}{os.pathsep}{variable}'
    assert ast.literal_eval(result.stdout) == [[], finders, 1, file, path, variable]


def test_without_the_variable_the_folder_does_nothing(write, python, root):
    folder = write({'state.py': STATE, 'chain/sitecustomize.py': CHAINED})
    paths = (folder / 'chain', root)
    *plain, variable = ast.literal_eval(python('state.py', paths=paths).stdout)
    shown = ast.literal_eval(python('state.py', paths=(root / SITE, *paths)).stdout)
    assert shown == [*plain, f'{root / SITE}{os.pathsep}{variable}']


def test_an_error_in_the_other_sitecustomize_is_shown_as_ever(write, python, root):
    folder = write({'chain/sitecustomize.py': '1 / 0', 'main.py': "print('ran')"})
    paths = (folder / 'chain', root)
    plain = python('main.py', paths=paths)
    assert 'ZeroDivisionError' in plain.stderr
    shown = python('main.py', paths=(root / SITE, *paths), NNCORE_COMPAT_ALIAS='1')
    assert (shown.stdout, shown.stderr) == (plain.stdout, plain.stderr)


def test_isolated_children_run_without_it(write, python):
    write(
        {
            'state.py': STATE.replace('import sitecustomize', 'sitecustomize = None'),
            'parent.py': PARENT,
        }
    )
    result = python('-m', 'nncore_compat', 'parent.py', '-I', 'state.py')
    assert ast.literal_eval(result.stdout)[:3] == [[], [], 0], result.stderr


def test_children_have_the_copy_that_the_parent_runs(write, python, root):
    # The parent has it from its current folder only, where a child does not look.
    folder = write(
        {
            'job/shown.py': """
                from importlib.util import find_spec

                def show():
                    print(find_spec('nncore_compat').origin, flush=True)

                if __name__ == '__main__':
                    show()
            """,
            'job/main.py': """
                import multiprocessing, subprocess, sys
                from shown import show

                if __name__ == '__main__':
                    show()
                    for method in ('spawn', 'forkserver'):
                        child = multiprocessing.get_context(method).Process(target=show)
                        child.start()
                        child.join()
                    subprocess.run([sys.executable, sys.argv[1]], check=True)
            """,
        }
    )
    args = (folder / 'job' / 'main.py', folder / 'job' / 'shown.py')
    result = python('-m', 'nncore_compat', *args, cwd=root, paths=())
    assert result.stderr == ''
    assert result.stdout.splitlines() == [str(root / 'nncore_compat' / '__init__.py')] * 4
