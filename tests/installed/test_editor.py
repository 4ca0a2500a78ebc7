"""What editors and type checkers see of nncore.engine where the package is installed."""

import ast
import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT
from torch.nn.utils import clip_grad_norm_

from nncore_compat import _stages, configs
from nncore_compat.hooks.lr_updater import POLICIES

from .language_server import LanguageServer

HERE = Path(__file__).parent
STUBS = ROOT / 'nncore-stubs'
# nncore 0.4.7 does not build on Python 3.13: what imports more of it than its engine is left out.
NNCORE = importlib.util.find_spec('nncore')
needs_nncore = pytest.mark.skipif(NNCORE is None, reason='nncore is not installed')


def check(folder, python, *args):
    """What basedpyright has to say, as data."""
    done = subprocess.run(
        [sys.executable, '-m', 'basedpyright', '--outputjson', *args],
        cwd=folder,
        # Of the packages it is asked about, it looks for the interpreter here.
        env={**os.environ, 'PATH': os.pathsep.join((str(python.parent), os.environ['PATH']))},
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout)


def remarks(report):
    return [
        (Path(one['file']).name, one['range']['start']['line'] + 1, one['severity'], one['message'])
        for one in report['generalDiagnostics']
    ]


@pytest.fixture(scope='module')
def report(full, tmp_path_factory):
    """On the examples and snippets.py, with the settings of pyproject.toml, in one go."""
    folder = tmp_path_factory.mktemp('scripts')
    ignored = shutil.ignore_patterns('__pycache__', *([] if NNCORE else ['project']))
    shutil.copytree(ROOT / 'examples', folder / 'examples', ignore=ignored)
    shutil.copy(HERE / 'snippets.py', folder / 'examples')
    shutil.copy(ROOT / 'pyproject.toml', folder)
    return check(folder, full)


def test_examples_are_free_of_errors(report):
    assert report['summary']['filesAnalyzed'] == 1 + len(
        [p for p in (ROOT / 'examples').rglob('*.py') if NNCORE or 'project' not in p.parts]
    )
    found = [one for one in remarks(report) if one[0] != 'snippets.py']
    if NNCORE is None:
        found = [one for one in found if 'could not be resolved from source' not in one[-1]]
    assert found == []


def test_mistakes_are_found_and_types_are_known(report):
    expected = {}
    for number, line in enumerate((HERE / 'snippets.py').read_text().splitlines(), 1):
        mark = re.search(r'  # (error:|is) (.+)$', line)
        if mark:
            expected[number] = mark[2] if mark[1] == 'is' else f'error: {mark[2]}'
    found = {}
    for one in report['generalDiagnostics']:
        number = one['range']['start']['line'] + 1
        if Path(one['file']).name != 'snippets.py' or one['severity'] == 'warning':
            continue
        kind = re.search(r' is "(.*)"$', one['message'])
        if one['severity'] == 'error':
            found[number] = f'error: {one["rule"]}'
        elif kind:
            found[number] = kind[1]
    assert found == expected
    assert len(expected) > 35


def test_every_public_name_has_a_type_and_words(full, tmp_path):
    report = check(tmp_path, full, '--verifytypes', 'nncore_compat', '--ignoreexternal')
    found = report['typeCompleteness']
    unknown = [s['name'] for s in found['symbols'] if s['isExported'] and not s['isTypeKnown']]
    assert unknown == []
    assert found['completenessScore'] == 1
    assert found['exportedSymbolCounts']['withKnownType'] > 300
    assert found['missingFunctionDocStringCount'] == found['missingClassDocStringCount'] == 0


def test_hover_and_completion(full, tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(
        'from nncore.engine import Engine, Hook, comm, hooks\n'
        'from nncore_compat.configs import Stage\n'
        'class MyHook(Hook):\n'
        '    def after_train_iter(self, engine):\n'
        '        engine.iter_in_epoch\n'
        '        engine.\n'
        'engine = Engine(None, None)\n'
        'engine.launch\n'
        'comm.get_rank\n'
        'hooks.EvalHook\n'
        'STAGE: Stage = {"epochs": 1, "warmup": {"\n'
        'Stage(\n'
    )
    server = LanguageServer(tmp_path, full)
    try:
        server.open(script)
        engine = server.hover('import Engine')
        assert 'stages: AnyStage | Sequence[AnyStage] | None = None' in engine
        assert 'Train, validate and test a model in stages' in engine
        assert 'def launch(' in server.hover('engine.launch')
        assert 'Run all stages' in server.hover('engine.launch')
        assert 'when the losses of a training' in server.hover('def after_train_iter')
        assert 'engine: Engine' in server.hover('after_train_iter(self, engine')
        assert 'group: ProcessGroup | None = None) -> int' in server.hover('comm.get_rank')
        assert "Return this process's rank" in server.hover('comm.get_rank')
        assert 'iteration within its epoch' in server.hover('engine.iter_in_epoch')
        assert 'test data set has a method' in server.hover('hooks.EvalHook')
        offered = server.complete('        engine.iter_in_epoch\n        engine.')
        assert {'buffer', 'logger', 'work_dir', 'iter', 'losses', 'optimizer'} <= set(offered)
        keys = {f'"{key}"' for key in configs.Warmup.__annotations__}
        assert set(server.complete('"warmup": {"')) == keys
        assert {'epochs=', 'optimizer=', 'grad_clip='} <= set(server.complete('Stage(\n'[:-1]))
    finally:
        server.close()


USER = """
from nncore.engine import Engine, Hook, comm
reveal_type(comm.get_rank())
def f(engine: Engine) -> None:
    reveal_type(engine.launch(eval=True))
    engine.launh()
"""
MORE = """
import nncore
from nncore.nn import MODELS
reveal_type(nncore.Config)
@MODELS.register()
class Net: ...
reveal_type(Net())
"""


def test_mypy(environment, tmp_path):
    """Without torch, which would only take time; with nncore beside the stubs, and without."""
    places = [environment()]
    if NNCORE:
        places.append(environment(Path(NNCORE.origin).parent))
    outputs = []
    for python, site in places:
        (tmp_path / 'user.py').write_text(USER + (MORE if (site / 'nncore').exists() else ''))
        options = ['--config-file=', '--no-incremental', f'--python-executable={python}']
        done = subprocess.run(
            [sys.executable, '-m', 'mypy', *options, 'user.py'],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        outputs.append(done.stdout)
    for output in outputs:
        assert 'user.py:3: note: Revealed type is "int"' in output
        assert 'user.py:5: note: Revealed type is "dict[str, Any]"' in output
        assert 'user.py:6: error: "Engine" has no attribute "launh"' in output
        assert 'Found 1 error in 1 file' in output
    if NNCORE:
        assert '-> nncore.utils.config.Config' in outputs[1]
        assert 'Revealed type is "user.Net"' in outputs[1]


def test_without_nncore_scripts_are_not_in_error(environment, tmp_path):
    (tmp_path / 'user.py').write_text(USER)
    (tmp_path / 'pyrightconfig.json').write_text('{"typeCheckingMode": "basic"}')
    found = remarks(check(tmp_path, environment()[0]))
    assert {one[1]: one[2] for one in found} == {
        2: 'warning',
        3: 'information',
        5: 'information',
        6: 'error',
    }


def names_of(file):
    """The public names that a stub or a module defines, or that a stub hands on."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            found.add(node.target.id)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname for alias in node.names if alias.asname}
    return found


def test_each_public_module_has_a_stub_that_hands_it_on():
    package = ROOT / 'nncore_compat'
    modules = {
        path.relative_to(package).with_suffix('')
        for path in package.rglob('*.py')
        if not re.search(r'/_(?!_init_)', path.as_posix().removeprefix(ROOT.as_posix()))
    }
    ours_alone = {Path('configs'), Path('quirks')}
    stubs = {p.relative_to(STUBS / 'engine').with_suffix('') for p in STUBS.glob('engine/**/*.pyi')}
    assert stubs == modules - ours_alone
    for stub in stubs:
        source = '.'.join(part for part in ('nncore_compat', *stub.parts) if part != '__init__')
        text = (STUBS / 'engine' / stub).with_suffix('.pyi').read_text()
        assert text.splitlines()[-1] == f'from {source} import *'


@needs_nncore
@pytest.mark.parametrize('name', ['__init__', 'nn/builder', 'utils/registry'])
def test_stubs_of_nncore_have_its_names(name):
    real = Path(NNCORE.origin).parent / name
    source = real.with_suffix('.py').read_text()
    stub = (STUBS / name).with_suffix('.pyi')
    if name == '__init__':
        given = set(re.findall(r'^ *from \.(\w+) import \*', source, re.M))
        assert set(re.findall(r'^from \.(\w+) import \*', stub.read_text(), re.M)) == given
    else:
        assert names_of(stub) == names_of(real.with_suffix('.py'))


def test_configs_have_the_keys_that_are_checked():
    keys = {
        configs.Stage: _stages.STAGE_KEYS,
        configs.Validation: _stages.VALIDATION_KEYS,
        configs.Warmup: _stages.WARMUP_KEYS,
    }
    for config, accepted in keys.items():
        assert set(config.__annotations__) == set(accepted)
    policies = [inspect.signature(policy) for policy in POLICIES._items.values()]
    settings = {name for p in policies for name in p.parameters} - {'kwargs'}
    given = {*_stages.POLICY_INPUTS, 'type', 'policy'}
    assert set(configs.LrSchedule.__annotations__) | given == settings | given
    accepted = list(inspect.signature(clip_grad_norm_).parameters)
    assert list(configs.GradClip.__annotations__) == accepted[1:]
