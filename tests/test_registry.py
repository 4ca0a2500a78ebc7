import copy
import pickle

import pytest
import torch
from oracle import both

from nncore_compat._registry import Registry, build_known, build_object

SCRIPT = """
if E.__name__ == 'nncore.engine':
    from nncore import Registry, build_object
else:
    from nncore_compat._registry import Registry, build_object
import torch

result = []

def note(func, *args, **kwargs):
    try:
        value = func(*args, **kwargs)
        value = repr(value)
    except Exception as error:
        value = type(error).__name__
    result.append(value)

class Thing:
    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs
    def __repr__(self):
        return f'{type(self).__name__}{self.args}{self.kwargs}'

top = Registry('top')
left = Registry('left', parent=top)
right = Registry('right', parent=[top])
other = Registry('other', children=[left, right])
lone = Registry('lone', children=left)

@top.register()
class A(Thing): pass

@left.register(name='bee', group='letters')
class B(Thing): pass

@right.register(group=['letters', 'last'])
class C(Thing): pass

left.register(A, name=['A1', 'A2'], group='many')
note(left.register, B, name='bee')
note(left.set_group, 'nope', 'x')
left.set_group('A1', ['letters', 'more'])
for registry in (top, left, right, other, lone):
    note(len, registry)
    note(repr, registry)
    note(registry.keys)
    note(lambda: registry.name)
    note(lambda: list(registry.groups()))
    note(registry.group, 'letters')
    note(registry.group, 'none', 7)
    for key in ('A', 'bee', 'C', 'A2', 'nope'):
        note(lambda: key in registry)
        note(registry.get, key)
        note(registry.get, key, 'default')
        note(registry.build, key)
        note(registry.build, {'type': key, 'x': 1}, x=2, y=3)
        note(registry.build, {'type': key}, default='default', args=(1, 2))
note(getattr, top, 'A')
note(getattr, left, 'nope')
note(lambda: hasattr(right, 'C'))
note(lambda: [left.pop('A1').__name__, left.keys()])
note(left.pop, 'nope')

registry = left
for cfg in (None, 5, 'bee', ['bee', {'type': 'bee', 'n': 1}, None, 5], ('bee',), [], {'x': 1}):
    note(build_object, cfg, left)
    note(build_object, cfg, [right, left], default='default', args=[3], k=4)
cfg = {'type': 'bee', 'nested': {'deep': [1]}}
note(build_object, cfg, left, more=1)
note(lambda: cfg)
note(build_object, {'type': 'SGD', 'lr': 0.5}, [left, torch.optim], params=[torch.zeros(1)])
note(build_object, 'Nope', [left, torch.optim])
"""


def test_registry_and_build_object_do_what_nncores_do():
    real, ours = both(SCRIPT)
    assert len(real) > 200
    assert ours == real


def test_names_of_children_are_attributes_too():
    top = Registry('top')
    Registry('child', parent=top).register(int, name='Number')
    assert top.Number is int
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = top.Nothing


def test_pop_finds_children_and_respects_the_default():
    top = Registry('top')
    child = Registry('child', parent=top)
    child.register(int, name='Number')
    assert top.pop('Number') is int
    assert 'Number' not in child
    assert top.pop('Number', 3) == 3
    with pytest.raises(KeyError, match='Number is not registered in top'):
        top.pop('Number')


def test_registering_with_a_bare_decorator_keeps_the_class():
    registry = Registry('r')

    @registry.register
    class Thing:
        pass

    assert registry.get('Thing') is Thing


def test_copies_and_pickles():
    registry = Registry('r')
    registry.register(int)
    assert copy.deepcopy(registry).keys() == ['int']
    assert pickle.loads(pickle.dumps(registry)).get('int') is int


def test_an_unknown_name_says_where_and_what_is_near():
    registry = Registry('optimizer')
    registry.register(int, name='Mine')
    with pytest.raises(ValueError) as error:
        build_known({'type': 'SDG'}, [registry, torch.optim], 'optimizer', 'stages[1].optimizer')
    assert str(error.value) == (
        "unknown optimizer 'SDG' (stages[1].optimizer.type): did you mean 'SGD'? "
        'Accepted: Mine, any class of torch.optim'
    )


@pytest.mark.parametrize('name', ['lr_scheduler', '', 'Zzzz'])
def test_what_is_no_class_is_unknown(name):
    with pytest.raises(ValueError, match='unknown optimizer'):
        build_known(name, [torch.optim], 'optimizer')


def test_the_place_in_a_list_is_named():
    with pytest.raises(ValueError, match=r'\(model\[1\]\.type\)'):
        build_known(['Identity', 'Identify'], [torch.nn], 'model', 'model')


def test_a_config_without_type():
    with pytest.raises(KeyError, match=r"stages\[0\]\.optimizer has no 'type': \{'lr': 1\}"):
        build_known({'lr': 1}, [torch.optim], 'optimizer', 'stages[0].optimizer')


def test_a_type_that_is_no_name():
    with pytest.raises(TypeError, match=r'must be a name, but got .*SGD.*\(here\.type\)'):
        build_known({'type': torch.optim.SGD}, [torch.optim], 'optimizer', 'here')


def test_known_builds_the_same_as_build_object():
    cfg = {'type': 'Linear', 'in_features': 2, 'out_features': 3}
    known = build_known(cfg, [torch.nn], 'model', bias=False)
    plain = build_object(cfg, [torch.nn], bias=False)
    assert repr(known) == repr(plain) == repr(torch.nn.Linear(2, 3, bias=False))
    assert cfg == {'type': 'Linear', 'in_features': 2, 'out_features': 3}
