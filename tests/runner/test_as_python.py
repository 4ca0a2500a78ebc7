"""Everything that can be seen of a run, beside plain Python running the same file."""

import re
import sys
import zipfile

import pytest

FACTS = """
    '''A docstring.'''
    import atexit, pickle, sys
    import sibling

    class Point:
        pass

    class Noisy:
        def __del__(self):
            print('deleted')

    noisy = Noisy()
    atexit.register(print, 'registered first')
    atexit.register(print, 'registered second')

    print(sys.argv, sys.path[0], sibling.WHO, sys.stdin.read())
    print(sorted(globals()), vars(sys.modules['__main__']) is globals())
    print(__name__, __file__, __doc__, __package__, type(__builtins__), type(__loader__))
    print(__spec__ and (__spec__.name, __spec__.origin, __spec__.parent, __spec__.cached))
    print(globals().get('__annotations__'))
    print(__loader__.get_source(getattr(__loader__, 'name', '__main__'))[:20])
    print(type(pickle.loads(pickle.dumps(Point()))) is Point, Point.__module__)
    print('to stderr', file=sys.stderr)
    sys.exit(3)
"""
RAISES = """
    def outer():
        try:
            {}['key']
        except KeyError as error:
            raise ValueError('wrong') from error

    if __name__ == '__main__':
        outer()
"""
SPAWN = """
    import multiprocessing, sys

    print('run as', __name__, flush=True)

    class Point:
        pass

    def show(point):
        print(type(point) is Point, Point.__module__, sys.argv, sys.path[0], flush=True)

    if __name__ == '__main__':
        for method in ('fork', 'spawn', 'forkserver'):
            child = multiprocessing.get_context(method).Process(target=show, args=[Point()])
            child.start()
            child.join()
"""
FILES = {
    'spawn.py': SPAWN,
    'folder/spawn.py': SPAWN,
    'main.py': FACTS,
    'sibling.py': "WHO = f'sibling as {__name__}'",
    'sub/sibling.py': "WHO = 'of the folder of the link'",
    'folder/__main__.py': FACTS,
    'folder/sibling.py': "WHO = 'in the folder'",
    'empty/readme.txt': '',
    'pkg/__init__.py': '',
    'pkg/__main__.py': 'from .job import outer\nprint(__package__, __spec__.name)\nouter()',
    'pkg/job.py': RAISES,
    'message.py': "import sys; sys.exit('a message')",
    'raises.py': RAISES,
    'interrupted.py': "print('before', flush=True)\nraise KeyboardInterrupt",
    'wrong.py': 'x = (1,\n    def\n',
    'imports_wrong.py': 'import wrong',
    'asserting.py': "from __future__ import annotations\nx: undefined = 1\nassert False, 'no'",
    # The compiler must not take our own future imports for the script's.
    'no_future.py': 'x: undefined = 1',
    'hook.py': """
        import sys, traceback

        def hook(kind, value, trace):
            print(kind, value, [frame.name for frame in traceback.extract_tb(trace)])
            print([frame.name for frame in traceback.extract_tb(value.__traceback__)])

        sys.excepthook = hook
        1 / 0
    """,
    'thread.py': """
        import atexit, threading, time

        def late():
            time.sleep(0.2)
            print('thread done', flush=True)

        atexit.register(print, 'at exit')
        threading.Thread(target=late).start()
        raise RuntimeError
    """,
}
SCRIPTS = [
    ['main.py', 'a', '--quirks', 'x y', '-m', '--', '--help'],
    ['./sub/../main.py'],
    ['sub/link.py'],
    ['folder', 'a', '--version'],
    ['app.zip'],
    ['empty'],
    ['message.py'],
    ['raises.py'],
    ['interrupted.py'],
    ['wrong.py'],
    ['imports_wrong.py'],
    ['asserting.py'],
    ['no_future.py'],
    ['hook.py'],
    ['thread.py'],
    ['folder/spawn.py', 'x'],
    ['missing.py'],
]
MODULES = [
    ['main', '--', '-m', 'x'],
    ['spawn'],
    ['folder.spawn'],
    ['pkg'],
    ['pkg.job'],
    ['wrong'],
    ['missing'],
    ['pkg.missing'],
]


@pytest.fixture
def folder(write):
    folder = write(FILES)
    (folder / 'sub' / 'link.py').symlink_to('../main.py')
    with zipfile.ZipFile(folder / 'app.zip', 'w') as archive:
        for name in ('__main__.py', 'sibling.py'):
            archive.write(folder / 'folder' / name, name)
    return folder


def same(plain, ours):
    assert ours.returncode == plain.returncode
    assert ours.stdout == plain.stdout
    assert ours.stderr == plain.stderr


@pytest.mark.parametrize('args', SCRIPTS, ids=lambda args: args[0])
def test_script(folder, python, args):
    plain = python(*args, stdin='typed')
    same(plain, python('-m', 'nncore_compat', *args, stdin='typed'))


@pytest.mark.parametrize('args', MODULES, ids=lambda args: args[0])
def test_module(folder, python, args):
    plain = python('-m', *args)
    # Python's traceback of a module starts in its own files, ours in the user's.
    own_frames = r'  File "[^"\n]*(runpy|importlib)[^"\n]*", line .*\n(    .*\n)*'
    plain.stderr = re.sub(own_frames, '', plain.stderr)
    if args == ['wrong']:
        plain.stderr = plain.stderr.removeprefix('Traceback (most recent call last):\n')
    same(plain, python('-m', 'nncore_compat', '-m', *args))


@pytest.mark.parametrize(
    'args', [['main.py', 'x'], ['-m', 'main', 'x'], ['raises.py'], ['spawn.py']], ids=str
)
def test_console_script(folder, python, write, args):
    write({'bin/nncore-compat': 'from nncore_compat.__main__ import main\nmain()'})
    same(python(*args), python('bin/nncore-compat', *args))


@pytest.mark.skipif(sys.version_info < (3, 11), reason='-P is new in 3.11')
@pytest.mark.parametrize('args', [['safe.py'], ['-m', 'safe'], ['safe']], ids=str)
def test_safe_path(write, python, args):
    write(
        {
            'safe.py': 'import sys; print(sys.path)',
            'safe/__main__.py': 'import sys; print(sys.path)',
        }
    )
    # A module is not found in the folder then, by either.
    same(python('-P', *args), python('-P', '-m', 'nncore_compat', *args))


def test_unreadable_script_is_reported_as_python_does(python, write):
    write({'file.txt': ''})
    plain = python('file.txt/script.py')
    assert (plain.returncode, 'Not a directory' in plain.stderr) == (2, True)
    same(plain, python('-m', 'nncore_compat', 'file.txt/script.py'))
