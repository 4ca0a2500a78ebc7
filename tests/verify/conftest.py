import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest
from paths import python_path

from nncore_compat import quirks
from nncore_compat._verify import children, command

ZYGOTE = Path(__file__).with_name('zygote.py')
SCRIPTS = Path(__file__).with_name('scripts')
PACKAGES = Path(find_spec('nncore_compat').origin).parents[1]
# Seconds after which a script counts as hanging.
LIMIT = 120


class Zygote:
    """The process from which the others are forked."""

    def __init__(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith('NNCORE_COMPAT')}
        env.update(OMP_NUM_THREADS='1', PYTHONPATH=python_path(PACKAGES), PYTHONHASHSEED='0')
        self._process = subprocess.Popen(
            [sys.executable, ZYGOTE], env=env, stdin=-1, stdout=-1, text=True, bufsize=1
        )
        self.ended = {}

    def start(self, file, env, out, err):
        job = dict(file=file, env=env, out=out.name, err=err.name, cwd=os.getcwd())
        self._process.stdin.write(json.dumps(job) + '\n')
        pid, code = self.read()
        assert code is None
        return Fork(self, pid)

    def read(self, timeout=LIMIT):
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        if not ready:
            return None
        pid, code = json.loads(self._process.stdout.readline())
        if code is not None:
            self.ended[pid] = code
        return pid, code

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class Fork:
    """As much of `subprocess.Popen` as is needed."""

    def __init__(self, zygote, pid):
        self._zygote = zygote
        self.pid = pid

    @property
    def returncode(self):
        return self._zygote.ended.get(self.pid)

    def poll(self):
        if self.returncode is None:
            self._zygote.read(0)
        return self.returncode

    def wait(self):
        while self.returncode is None:
            assert self._zygote.read(), 'it does not end'
        return self.returncode

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


@pytest.fixture(scope='session')
def zygote(reference_installed):
    one = Zygote()
    yield one
    one.close()


class Verified:
    """What the command said: exit code, standard output and errors."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __contains__(self, text):
        return text in self.out


@pytest.fixture
def verify(zygote, monkeypatch, capsys, tmp_path):
    """Run the command in the test's folder: verify('script.py', ..., n=20, quirks='none')."""
    monkeypatch.setattr(children, 'start', zygote.start)
    monkeypatch.setattr(quirks, '_active', None)
    monkeypatch.chdir(tmp_path)

    def run(*target, n=20, spec='none'):
        monkeypatch.setenv(quirks.ENV, spec)
        quirks.enable(spec)
        capsys.readouterr()
        code = command.run(n, [str(one) for one in target])
        said = capsys.readouterr()
        return Verified(code, said.out, said.err)

    return run


@pytest.fixture
def script(tmp_path):
    """Write a script that begins with what is in scripts/lab.py: script(source, name=...)."""

    def write(source, name='main.py'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        head = (
            'import sys\nsys.path.insert(0, {!r})\nfrom lab import *\nfrom nncore.engine import *\n'
        )
        path.write_text(head.format(str(SCRIPTS)) + textwrap.dedent(source), encoding='utf-8')
        return name

    return write
