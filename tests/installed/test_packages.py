"""What the wheel and the source distribution hold."""

import tarfile

from paths import ROOT


def package_files():
    """What is to be installed: all files of both packages."""
    return {
        path.relative_to(ROOT).as_posix()
        for name in ('nncore_compat', 'nncore-stubs')
        for path in (ROOT / name).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


def test_wheel(wheel):
    names = set(wheel.namelist())
    assert {'nncore_compat/py.typed', 'nncore_compat/_site/sitecustomize.py'} <= names
    assert wheel.read('nncore-stubs/py.typed') == b'partial\n'
    kinds = {name.rsplit('.')[-1] for name in package_files()}
    assert kinds == {'html', 'py', 'pyi', 'typed'}
    described = {name for name in names if '.dist-info/' in name}
    assert names - described == package_files()
    assert {name.partition('.dist-info/')[2] for name in described} == {
        'METADATA',
        'RECORD',
        'WHEEL',
        'entry_points.txt',
        'licenses/LICENSE',
        'top_level.txt',
    }


def test_source_distribution(packages):
    (file,) = packages.glob('*.tar.gz')
    with tarfile.open(file) as opened:
        names = {member.name.partition('/')[2] for member in opened if member.isfile()}
    described = {name for name in names if name.startswith('nncore_compat.egg-info/')}
    top = {'LICENSE', 'MANIFEST.in', 'PKG-INFO', 'README.md', 'pyproject.toml', 'setup.cfg'}
    assert names - described == package_files() | top
