import importlib
import inspect
import subprocess
import sys

import documented
import original
import pytest

ENTRIES = documented.entries()
SOURCES = original.sources()

# What ours take beyond the documented parameters.
EXTRAS = {
    'engine.Engine': ['trainer'],
    'hooks.CheckpointHook': [
        'every_n_iters',
        'keep_last',
        'save_best',
        'best_mode',
        'on_error',
        'background',
    ],
    'engine.Engine.launch': ['resume'],
    'utils.load_checkpoint': ['warning'],
}

# What Engine cannot have: Lightning runs the loop over stages and epochs.
ABSENT = {'Engine': ['run_stage', 'train_epoch']}

needs_nncore = pytest.mark.skipif(not SOURCES, reason='nncore is not installed')


def ours(module, path=''):
    """Return our object at a path of nncore's."""
    found = importlib.import_module(module.replace('nncore.engine', 'nncore_compat', 1))
    for name in filter(None, path.split('.')):
        found = getattr(found, name)
    return found


def test_the_specification_is_whole():
    assert len(ENTRIES) == 52
    assert sum('.' in entry.path for entry in ENTRIES) == 14
    assert str(ENTRIES[1]) == 'engine.Engine.register_hook'
    assert str(ENTRIES[1].signature) == '(hook, before=None, overwrite=True, **kwargs)'


@pytest.mark.parametrize('entry', ENTRIES, ids=str)
def test_documented_signature(entry):
    found = list(inspect.signature(ours(entry.module, entry.path)).parameters.values())
    if '.' in entry.path:
        del found[0]
    wanted = entry.signature.parameters
    extras = [parameter for parameter in found if parameter.name not in wanted]
    plain = [p.replace(annotation=p.empty) for p in found if p.name in wanted]
    assert plain == list(wanted.values())
    assert [type(p.default) for p in plain] == [type(p.default) for p in wanted.values()]
    assert [p.name for p in extras] == EXTRAS.get(str(entry), [])
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in extras)


@needs_nncore
@pytest.mark.parametrize('module', SOURCES)
def test_every_name_is_at_the_same_path(module):
    names = original.exported(SOURCES[module])
    assert names
    missing = [name for name in sorted(names) if not hasattr(ours(module), name)]
    assert missing == []


@needs_nncore
def test_the_packages_list_the_same_names_in_the_same_order():
    for module in ('nncore.engine', 'nncore.engine.hooks'):
        theirs = next(
            original.ast.literal_eval(node.value)
            for node in SOURCES[module].body
            if isinstance(node, original.ast.Assign)
        )
        assert ours(module).__all__[: len(theirs)] == theirs


@needs_nncore
@pytest.mark.parametrize(
    ('module', 'cls'),
    [
        pytest.param(module, cls, id=f'{module.removeprefix("nncore.engine.")}.{cls.name}')
        for module, tree in SOURCES.items()
        for cls in original.classes(tree)
    ],
)
def test_every_public_member_is_there(module, cls):
    mine = ours(module, cls.name)
    missing = [name for name in sorted(original.members(cls)) if not hasattr(mine, name)]
    assert missing == ABSENT.get(cls.name, [])


@needs_nncore
@pytest.mark.parametrize(
    ('module', 'path', 'function'),
    [
        pytest.param(module, f'{owner}{function.name}', function, id=f'{owner}{function.name}')
        for module, tree in SOURCES.items()
        for owner, body in [('', tree), *((f'{c.name}.', c) for c in original.classes(tree))]
        for function in original.functions(body)
        if function.name not in ABSENT.get(owner[:-1], [])
    ],
)
def test_every_parameter_of_the_installed_version_is_accepted(module, path, function):
    mine = ours(module, path)
    if isinstance(mine, property):
        mine = mine.fget
    parameters = inspect.signature(mine).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    wanted = [argument.arg for argument in function.args.args]
    assert [name for name in wanted if name not in parameters] == []


def test_every_event_is_a_method_of_hook():
    base = ours('nncore.engine.hooks.base')
    assert len(base.HOOK_NAMES) == 16
    assert all(callable(getattr(base.Hook, name)) for name in base.HOOK_NAMES)


@pytest.mark.parametrize(
    'module',
    ['lightning', 'wandb', 'tensorboard', 'torch.utils.tensorboard', 'torchvision', 'nncore'],
)
def test_importing_takes_nothing_that_is_not_needed_yet(module, loaded_modules):
    assert 'nncore_compat.hooks.writer' in loaded_modules
    assert module not in loaded_modules


@pytest.fixture(scope='module')
def loaded_modules():
    code = 'import nncore_compat, sys; nncore_compat.Engine; print(*sys.modules)'
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, timeout=300
    )
    return set(done.stdout.split())
