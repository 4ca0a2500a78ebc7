"""`nncore.engine` beside a real nncore, without one, and from inside a script."""

from importlib.util import find_spec
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[1] / 'reference'

needs_nncore = pytest.mark.skipif(find_spec('nncore') is None, reason='nncore is not installed')

# A `sitecustomize` that takes nncore out of sight, as if it were not installed.
HIDE = """
    from importlib.machinery import PathFinder

    find_spec = PathFinder.find_spec

    def visible(name, path=None, target=None):
        if name != 'nncore' and not name.startswith('nncore.'):
            return find_spec(name, path, target)

    PathFinder.find_spec = visible
"""


def run(result):
    assert result.returncode == 0, result.stderr
    assert result.stderr == ''
    return result.stdout


@needs_nncore
def test_every_module_of_the_real_package_is_ours(write, python):
    write(
        {
            'main.py': """
            import sys
            import nncore
            assert not hasattr(nncore, 'engine')
            # The deepest first, so that parents are imported by the way.
            import nncore.engine.hooks.writer as writer
            import nncore_compat
            assert writer is nncore_compat.hooks.writer is sys.modules['nncore_compat.hooks.writer']

            import importlib, os
            folder = os.path.join(nncore.__path__[0], 'engine')
            seen = 0
            for base, _, files in os.walk(folder):
                for file in files:
                    if not file.endswith('.py'):
                        continue
                    tail = os.path.relpath(os.path.join(base, file), folder)
                    tail = tail[:-3].replace(os.sep, '.').removesuffix('__init__').rstrip('.')
                    name = f'nncore.engine.{tail}'.rstrip('.')
                    module = importlib.import_module(name)
                    ours = f'nncore_compat.{tail}'.rstrip('.')
                    assert module is importlib.import_module(ours) is sys.modules[name], name
                    assert module.__name__ == module.__spec__.name == ours, module.__spec__
                    assert module.__spec__.loader is module.__loader__
                    assert type(module.__loader__).__name__ == 'SourceFileLoader'
                    assert not module.__spec__._initializing
                    seen += 1
            assert seen == 18, seen
            print('ok')
        """
        }
    )
    assert run(python('-m', 'nncore_compat', 'main.py')) == 'ok\n'


@needs_nncore
def test_the_rest_of_the_real_package_is_untouched(write, python):
    write(
        {
            'main.py': """
            import pickle, pickletools, sys
            import nncore
            from nncore.engine import *
            from nncore.engine import Buffer
            from nncore.engine.buffer import Buffer as Same
            assert Buffer is Same is nncore.engine.Buffer
            assert nncore.engine is sys.modules['nncore.engine'] is sys.modules['nncore_compat']

            # What importing the real nncore.engine brings along.
            for name in ('nn', 'optim', 'dataset', 'parallel'):
                module = getattr(nncore, name)
                assert module is sys.modules[f'nncore.{name}'], name
                assert module.__file__.startswith(nncore.__path__[0]), name
            # In 0.4.7 this imports nncore.engine, which without us needs torchvision.
            nncore.get_logger('test').info('logged')
            assert not any(name.split('.')[0] == 'torchvision' for name in sys.modules)

            data = pickle.dumps(Buffer)
            assert b'nncore_compat.buffer' in data and pickle.loads(data) is Buffer
            # As a pickle of the real package names it.
            assert pickle.loads(b'cnncore.engine.buffer\\nBuffer\\n.') is Buffer

            try:
                from nncore.engine import Nothing
            except ImportError as error:
                print(error)
            try:
                import nncore.engine.nothing
            except ModuleNotFoundError as error:
                print(error, '|', error.name)
        """
        }
    )
    logged, name, module = run(python('-m', 'nncore_compat', 'main.py')).splitlines()
    assert logged.endswith('logged')
    assert name.startswith("cannot import name 'Nothing' from 'nncore_compat'")
    assert module == "No module named 'nncore.engine.nothing' | nncore.engine.nothing"


def test_without_nncore_only_the_engine_is_there(write, python, root):
    folder = write(
        {
            'hide/sitecustomize.py': HIDE,
            'main.py': """
            import nncore
            import sys

            def attempt(code):
                try:
                    exec(code, {})
                except Exception as error:
                    print(f'{type(error).__name__}|{getattr(error, "name", None)}|{error}')
                else:
                    print('no error')

            attempt('import nncore; nncore.Config')
            attempt('from nncore import Config')
            attempt('from nncore import nn')
            attempt('import nncore.nn')
            attempt('from nncore.nn import build_model')
            attempt('import nncore; nncore.__version__')
            assert not hasattr(nncore, 'engine') and not hasattr(nncore, 'Config')
            assert not hasattr(nncore, '__file__') and nncore.__name__ == 'nncore'
            assert 'torch' not in sys.modules

            from nncore import engine
            from nncore.engine.buffer import Buffer
            import nncore_compat
            assert engine is nncore_compat and Buffer is nncore_compat.buffer.Buffer
            attempt('import nncore.engine; nncore.engine.Buffer')
            attempt('import nncore.engine.nothing')
            attempt('import nncore; nncore.Config')
        """,
        }
    )
    lines = run(python('-m', 'nncore_compat', 'main.py', paths=(folder / 'hide', root)))
    attribute, *imports, dunder, engine, nothing, again = lines.splitlines()
    assert len(imports) == 4
    hint = (
        'part of nncore, which is not installed (nncore_compat replaces nncore.engine only): '
        "pip install 'nncore-compat[nncore]'"
    )
    assert attribute == again == f'AttributeError|Config|nncore.Config is {hint}'
    for line, name in zip(imports, ['Config', 'nn', 'nn', 'nn'], strict=True):
        # As plain Python names what is missing.
        expected = f'ModuleNotFoundError|nncore|nncore.{name} is {hint}'
        assert line == expected
    assert dunder == "AttributeError|__version__|module 'nncore' has no attribute '__version__'"
    assert engine == 'no error'
    assert nothing.endswith("|No module named 'nncore.engine.nothing'")


@needs_nncore
def test_install_replaces_a_real_engine(write, python):
    write(
        {
            'main.py': """
            import importlib.util, sys
            if importlib.util.find_spec('torchvision'):
                print('torchvision is really installed')
                raise SystemExit

            try:
                import nncore.engine
            except ImportError as error:
                print(error.name)
            assert 'nncore.engine.buffer' in sys.modules, 'left behind by the failed import'
            half = sys.modules['nncore.engine.buffer'].Buffer

            sys.path.append(sys.argv[1])
            import nncore.engine
            import nncore.engine.hooks.writer
            real = nncore.engine
            assert 'torchvision' in sys.modules and real.__file__.startswith(nncore.__path__[0])

            import nncore_compat
            for _ in range(2):
                nncore_compat.install()
                assert nncore.engine is sys.modules['nncore.engine'] is nncore_compat
                assert sum('nncore_compat' in type(f).__module__ for f in sys.meta_path) == 2
            from nncore.engine.hooks.writer import Writer
            assert Writer is nncore_compat.hooks.writer.Writer
            from nncore.engine import Buffer
            assert Buffer is nncore_compat.Buffer is not half
            for name, module in sys.modules.items():
                if name.startswith('nncore.engine'):
                    assert module.__name__.startswith('nncore_compat'), name
            print('ok')
        """
        }
    )
    lines = run(python('main.py', REFERENCE)).splitlines()
    assert lines in (['torchvision', 'ok'], ['torchvision is really installed'])


@needs_nncore
def test_install_after_an_import_that_failed(write, python):
    write(
        {
            'main.py': """
            import os, subprocess, sys
            sys.modules['torchvision'] = None
            try:
                from nncore.engine import Buffer
            except ImportError:
                import nncore_compat
                nncore_compat.install()
                from nncore.engine import Buffer
            assert Buffer is nncore_compat.Buffer
            import nncore
            assert nncore.engine is nncore_compat
            # Children follow, as those of the runner do.
            code = 'import nncore.engine, sys; print(nncore.engine.__name__)'
            subprocess.run([sys.executable, '-c', code], check=True)
        """
        }
    )
    assert run(python('main.py')) == 'nncore_compat\n'
