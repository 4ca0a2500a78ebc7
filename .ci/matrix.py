"""Try other versions of Python, torch, Lightning and nncore, and note what was really tried.

    python .ci/matrix.py                  # all rows
    python .ci/matrix.py lightning-2.4.0  # some

Each row has a virtual environment of its own, in --envs. A row that differs from `.venv` in pure
Python packages alone stands on that one and takes seconds to make; the others download torch. The
interpreters (python3.10, ...) are looked for on PATH. docs/compatibility.json keeps what came out,
and README.md shows it.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / 'docs' / 'compatibility.json'

# What compares with nncore, bit for bit, and what depends on Lightning's internals.
PARITY = ['tests/parity/test_parity.py']
LIGHTNING = [
    'tests/test_private.py',
    'tests/test_lean.py',
    'tests/test_guest.py',
    'tests/test_engine_lightning.py',
]
EXACT = [*PARITY, 'tests/test_quirk_rows.py', *LIGHTNING, 'tests/hooks']
TESTS = {
    # Callbacks and resumed averages take Lightning 2.6.
    'core': [*EXACT, 'tests/callbacks', 'tests/resume/test_matrix.py'],
    'exact': EXACT,
    'parity': PARITY,
    'lightning': LIGHTNING,
}

# Name: the interpreter, the packages in place of those of constraints.txt, and the tests.
ROWS = {
    'python-3.10': ('3.10', {}, 'core'),
    'python-3.12': ('3.12', {}, 'core'),
    'python-3.13': ('3.13', {}, 'core'),
    'torch-2.4.1': (
        '3.11',
        {'torch': '2.4.1', 'lightning': '2.4.0', 'fsspec': '2025.12.0', 'packaging': '24.2'},
        'exact',
    ),
    'torch-2.9.1': ('3.11', {'torch': '2.9.1'}, 'core'),
    'lightning-2.4.0': (None, {'lightning': '2.4.0'}, 'exact'),
    'lightning-2.5.6': (None, {'lightning': '2.5.6'}, 'exact'),
    'lightning-2.6.0': (None, {'lightning': '2.6.0'}, 'exact'),
    'nncore-0.4.3': (None, {'nncore': '0.4.3'}, 'parity'),
    'nncore-0.4.4': (None, {'nncore': '0.4.4'}, 'parity'),
    'nncore-0.4.5': (None, {'nncore': '0.4.5'}, 'parity'),
    'nncore-0.4.6': (None, {'nncore': '0.4.6'}, 'parity'),
}

VERSIONS = """
import json, platform
from importlib import metadata

def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

names = 'torch', 'lightning', 'torchmetrics', 'nncore'
print(json.dumps({'python': platform.python_version(), **{name: version(name) for name in names}}))
"""


def run(*command, **kwargs):
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT, **kwargs)


def overlay(folder, packages):
    """An environment that has some packages, and for the rest those of `.venv`."""
    base = ROOT / '.venv'
    run(base / 'bin' / 'python', '-m', 'venv', '--without-pip', folder)
    (site,) = folder.glob('lib/python*/site-packages')
    (behind,) = base.glob('lib/python*/site-packages')
    (site / 'base.pth').write_text(f'{behind}\n')
    pins = [f'{name}=={version}' for name, version in packages.items()]
    if 'nncore' in packages:
        # Older ones are built with what setuptools had until then.
        tools = folder / 'build'
        run(base / 'bin' / 'python', '-m', 'venv', tools)
        pip = [tools / 'bin' / 'pip', '-q']
        run(*pip, 'install', 'setuptools<80', 'wheel')
        run(*pip, 'wheel', '--no-deps', '--no-build-isolation', '-w', tools / 'wheels', *pins)
        pins = list((tools / 'wheels').glob('*.whl'))
    run(base / 'bin' / 'python', '-m', 'pip', '-q', 'install', '--no-deps', '-t', site, *pins)


def whole(folder, python, packages):
    """An environment with everything."""
    run(python, '-m', 'venv', folder)
    pip = [folder / 'bin' / 'pip', '-q', 'install']
    pinned = []
    for line in (ROOT / 'constraints.txt').read_text().splitlines():
        name = re.split('[=#]', line)[0]
        if name not in packages and not (name == 'pytorch-lightning' and 'lightning' in packages):
            pinned.append(line)
    constraints = folder / 'constraints.txt'
    constraints.write_text('\n'.join(pinned) + '\n')
    torch = packages.get('torch')
    if torch:
        run(*pip, f'torch=={torch}')
    pins = [f'{name}=={version}' for name, version in packages.items()]
    run(*pip, '-c', constraints, '-e', '.[test]', *pins)


def try_row(name, envs, selection=None):
    """What came out of a row."""
    version, packages, usual = ROWS[name]
    selection = selection or usual
    folder = envs / name
    if not (folder / 'made').exists():
        shutil.rmtree(folder, ignore_errors=True)
        if version is None:
            overlay(folder, packages)
        else:
            python = shutil.which(f'python{version}')
            if python is None:
                sys.exit(f'{name}: there is no python{version} on PATH')
            whole(folder, python, packages)
        (folder / 'made').touch()
    python = folder / 'bin' / 'python'
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    found = json.loads(subprocess.check_output([python, '-c', VERSIONS], env=env))
    begun = time.monotonic()
    # The slow ones too: they are those of Lightning's own loop.
    chosen = ['-m', 'not whole_matrix', *TESTS[selection]]
    command = [python, '-m', 'pytest', '-q', '-n', '2', '--dist', 'loadfile', *chosen]
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    print(done.stdout[-6000:] if done.returncode else done.stdout[-300:])
    counts = {
        word: int(n)
        for n, word in re.findall(r'(\d+) (passed|failed|skipped|error)', done.stdout[-300:])
    }
    print(f'{name}: {counts} in {time.monotonic() - begun:.0f} s', flush=True)
    return {**found, 'tests': selection, **counts}, done.returncode == 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('rows', nargs='*', metavar='ROW', help=', '.join(ROWS))
    parser.add_argument('--envs', type=Path, default=ROOT / 'build' / 'matrix')
    parser.add_argument('--tests', choices=TESTS, help='which tests, in place of those of a row')
    parser.add_argument('--note', action='store_true', help='note what came out in the docs')
    args = parser.parse_args()
    unknown = [name for name in args.rows if name not in ROWS]
    if unknown:
        parser.error(f'unknown rows {unknown}; accepted: {", ".join(ROWS)}')
    args.envs.mkdir(parents=True, exist_ok=True)
    good = True
    for name in args.rows or ROWS:
        row, passed = try_row(name, args.envs.resolve(), args.tests)
        good &= passed
        if args.note:
            known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            known[name] = row
            ordered = {key: known[key] for key in ROWS if key in known}
            RESULTS.write_text(json.dumps(ordered, indent=1) + '\n')
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
