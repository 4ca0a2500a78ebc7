"""The package as pip would install it, in environments of their own."""

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from paths import ROOT

# What is there beside what goes into a package, to see that it does not.
SOURCES = ('nncore_compat', 'nncore-stubs', 'examples', 'tests')
BUILD = """
import sys
from setuptools import build_meta
out = sys.argv[1]
build_meta.build_wheel(out)
build_meta.build_sdist(out)
"""


@pytest.fixture(scope='session')
def packages(tmp_path_factory):
    """The folder of a wheel and a source distribution, built from a copy of the sources."""
    source, out = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('dist')
    ignored = shutil.ignore_patterns('__pycache__', 'work_dirs', '.*')
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, source)
    done = subprocess.run(
        [sys.executable, '-c', BUILD, out],
        cwd=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return out


@pytest.fixture(scope='session')
def wheel(packages):
    """The wheel, opened."""
    (file,) = packages.glob('*.whl')
    with zipfile.ZipFile(file) as opened:
        yield opened


@pytest.fixture(scope='session')
def environment(wheel, tmp_path_factory):
    """Make an environment with the wheel in it; return its interpreter and its site-packages."""

    def make(*others, everything=False):
        folder = tmp_path_factory.mktemp('environment')
        venv.create(folder, symlinks=sys.platform != 'win32')
        names = dict(base=str(folder), platbase=str(folder))
        site, scripts = (Path(sysconfig.get_path(n, 'venv', names)) for n in ('purelib', 'scripts'))
        wheel.extractall(site)
        for other in others:
            shutil.copytree(other, site / other.name)
        if everything:
            folders = [path for path in sys.path if Path(path).name.endswith('-packages')]
            (site / 'others.pth').write_text('\n'.join(folders))
        return scripts / 'python', site

    return make


@pytest.fixture(scope='session')
def full(environment):
    """The interpreter of an environment that has all that the tests have."""
    return environment(everything=True)[0]
