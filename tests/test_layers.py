"""The direction of imports inside the package, read from its source."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = 'nncore_compat'
LIGHTNING = ('lightning', 'lightning_fabric', 'pytorch_lightning')

# What a layer never reaches at run time, not even through another module.
NEVER = {
    'comm': ('buffer', 'builder', 'utils', 'hooks', 'engine', '_lightning', '_runner'),
    'buffer': ('builder', 'utils', 'hooks', 'engine', '_lightning', '_runner'),
    'builder': ('hooks', 'engine', '_lightning', '_runner'),
    'utils': ('hooks', 'engine', '_lightning', '_runner'),
    'hooks': ('engine', '_lightning', '_runner'),
    '_lightning': ('engine', '_runner'),
    'engine': ('_runner',),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


SOURCES = {module_name(path): path for path in sorted((ROOT / PACKAGE).rglob('*.py'))}
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in SOURCES.items()}


def run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below a node that is executed, which `if TYPE_CHECKING:` is not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and dotted(child.test).endswith('TYPE_CHECKING'):
            for other in child.orelse:
                yield other
                yield from run_time(other)
        else:
            yield child
            yield from run_time(child)


def dotted(node: ast.AST) -> str:
    """'a.b.c' of an expression; calls and subscripts on the way are left out."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f'{dotted(node.value)}.{node.attr}'
    if isinstance(node, ast.Call):
        return dotted(node.func)
    if isinstance(node, ast.Subscript):
        return dotted(node.value)
    return ''


def imports(tree: ast.AST, name: str = '', is_package: bool = False) -> set[str]:
    """The dotted names that a module imports at run time, at its top or inside a function."""
    found = set()
    for node in run_time(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parts = name.split('.')
                up = len(parts) - node.level + is_package
                base = '.'.join([*parts[:up], *filter(None, [base])])
            found.update(f'{base}.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.Call) and dotted(node.func).endswith('import_module'):
            argument = node.args[0] if node.args else None
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                found.add(argument.value)
    return found


IMPORTS = {
    name: imports(tree, name, SOURCES[name].name == '__init__.py') for name, tree in TREES.items()
}


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + '.') for package in packages)


def own_module(name: str) -> str | None:
    """The module of ours that holds an imported name."""
    while name and name not in TREES:
        name = name.rpartition('.')[0]
    return name or None


def reachable(start: str) -> dict[str, str]:
    """Every module of ours that `start` needs, with the chain of imports that leads there."""
    chains = {start: start}
    queue = [start]
    while queue:
        name = queue.pop(0)
        for target in sorted(filter(None, map(own_module, IMPORTS[name]))):
            # a name taken from the package itself says nothing about layers
            if target not in chains and target != PACKAGE:
                chains[target] = f'{chains[name]} -> {target}'
                queue.append(target)
    return chains


def private_accesses(tree: ast.AST) -> Iterator[str]:
    """Uses of private names of Lightning's trainer, strategies, loops and modules."""
    hosts = re.compile(r'(^|[._])(trainer|strategy|fit_loop|epoch_loop|val_loop|\w*_loop)(\.|$)')
    for node in ast.walk(tree):
        name, owner = '', ''
        if isinstance(node, ast.Attribute):
            name, owner = node.attr, dotted(node.value)
        elif isinstance(node, ast.Call) and dotted(node.func) in ('getattr', 'setattr', 'hasattr'):
            key = node.args[1] if len(node.args) > 1 else None
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                name, owner = key.value, dotted(node.args[0])
        if private(name) and hosts.search(owner):
            yield f'{owner}.{name} (line {node.lineno})'
    for full in imports(tree):
        if within(full, LIGHTNING) and any(private(part) for part in full.split('.')):
            yield full


def private(name: str) -> bool:
    return name.startswith('_') and not name.startswith('__')


def test_the_checks_see_what_they_look_for():
    bad = ast.parse(
        'from ..engine import Engine\n'
        'from . import base\n'
        'def f():\n    import lightning.pytorch as pl\n'
        'import_module("nncore.nn")\n'
        'if TYPE_CHECKING:\n    from .writer import Writer\n'
    )
    assert imports(bad, f'{PACKAGE}.hooks.eval') == {
        'nncore_compat.engine.Engine',
        'nncore_compat.hooks.base',
        'lightning.pytorch',
        'nncore.nn',
    }
    assert imports(ast.parse('from .base import Hook'), f'{PACKAGE}.hooks', True) == {
        'nncore_compat.hooks.base.Hook'
    }
    for line in (
        'self.trainer.strategy._lightning_optimizers = []',
        'trainer.fit_loop.epoch_loop._batches_that_stepped += 1',
        'loop = self._fit_loop()._iterator',
        'setattr(trainer, "_results", None)',
        'from lightning.pytorch.trainer.call import _call_callback_hooks',
    ):
        assert list(private_accesses(ast.parse(line))), line
    for line in ('self._trainer.fit(module)', 'engine._call("x")', 'trainer.__class__'):
        assert not list(private_accesses(ast.parse(line))), line


@pytest.mark.parametrize('name', TREES)
def test_only_lightning_side_imports_lightning(name):
    if not within(name, (f'{PACKAGE}._lightning',)):
        assert [target for target in IMPORTS[name] if within(target, LIGHTNING)] == []


@pytest.mark.parametrize('name', TREES)
def test_real_nncore_is_never_imported(name):
    # _alias is the one that stands in for it, and imports it by names it was given
    assert [target for target in IMPORTS[name] if within(target, ('nncore',))] == []


@pytest.mark.parametrize('name', TREES)
def test_private_lightning_in_one_place(name):
    if name not in (f'{PACKAGE}._lightning.private', f'{PACKAGE}._lightning.lean'):
        assert list(private_accesses(TREES[name])) == []


@pytest.mark.parametrize('layer', NEVER)
def test_direction_of_imports(layer):
    modules = [name for name in TREES if within(name, (f'{PACKAGE}.{layer}',))]
    assert modules, f'no module {layer}'
    forbidden = tuple(f'{PACKAGE}.{name}' for name in NEVER[layer])
    for name in modules:
        chains = reachable(name)
        assert [chain for target, chain in chains.items() if within(target, forbidden)] == []


def test_importing_the_package_is_light():
    """By itself next to nothing, a name of the API little more than torch, Lightning not yet."""
    code = """
import sys
def added():
    return ' '.join(sorted(set(sys.modules) - before))
before = set(sys.modules)
import nncore_compat
print(added())
import torch
before = set(sys.modules)
from nncore_compat import Engine, Hook, comm
nncore_compat.engine
print(added())
"""
    run = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    bare, used = (line.split() for line in run.stdout.splitlines())
    assert foreign(bare) == set() and not within_any(bare, 'torch')
    # What numpy makes of its own, where torch has not done so already.
    assert {name for name in foreign(used) if not re.match('numpy|_?cython', name)} == set()
    assert f'{PACKAGE}.engine' in used
    for name in ('_dynamo', 'distributed.fsdp', 'distributed.tensor', 'onnx', 'utils.tensorboard'):
        assert not within_any(used, f'torch.{name}')


def foreign(modules: list[str]) -> set[str]:
    """The packages among modules that are neither ours nor Python's, and not torch."""
    tops = {name.partition('.')[0] for name in modules}
    return tops - {PACKAGE, 'torch', *sys.stdlib_module_names}


def within_any(modules: list[str], package: str) -> bool:
    return any(within(name, (package,)) for name in modules)


def test_any_module_may_be_imported_first():
    # Forked where torch, which takes most of the time, has been imported and nothing of ours.
    code = f"""
import importlib, os, sys, torch
assert '{PACKAGE}' not in sys.modules
for name in ('hooks', 'hooks.checkpoint', 'engine', 'utils'):
    child = os.fork()
    if not child:
        importlib.import_module('{PACKAGE}.' + name)
        importlib.import_module('{PACKAGE}').Engine
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f'{{name}} cannot be imported first')
print('all')
"""
    run = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, 'all\n'), run.stderr


def test_no_file_names_a_machine():
    place = re.compile(r'(?<![\w./)}>\]-])/(?:home|root|Users|mnt|opt|tmp|var|work)/\w+')
    assert place.search("open('/home" + "/me/x')") and not place.search('a/home/me')
    files = [
        path
        for pattern in ('*.*', '.ci/*', 'docs/*', 'examples/*', 'nncore_compat/**/*', 'tests/**/*')
        for path in ROOT.glob(pattern)
        if path.is_file()
        and path.suffix in ('', '.cfg', '.json', '.md', '.py', '.toml', '.txt')
        # That of a second work tree is a file.
        and path.name != '.git'
    ]
    assert ROOT / '.ci' / 'run' in files and len(files) > 50
    found = [
        f'{path.relative_to(ROOT)}: {match.group()}'
        for path in files
        for match in place.finditer(path.read_text())
    ]
    assert found == []
