"""ClosureHook: functions as hooks (what they are called on is compared in test_base)."""

import pytest

import nncore_compat as E


def test_one_function_and_several():
    calls = []
    one = E.ClosureHook('before_launch', lambda engine: calls.append(('one', engine)))
    one.before_launch('the engine')
    one.after_launch('the engine')
    names = ('after_stage', 'after_iter')
    two = E.ClosureHook(names, [lambda e: calls.append('a'), lambda e: calls.append('b')])
    two.after_iter(None)
    two.after_stage(None)
    assert calls == [('one', 'the engine'), 'b', 'a']


def test_an_unknown_event():
    with pytest.raises(ValueError, match=r"'after_trian_iter'.*Did you mean 'after_train_iter'"):
        E.ClosureHook('after_trian_iter', print)
    with pytest.raises(ValueError, match=r"'every_n_epochs'.*Accepted: 'before_launch', "):
        E.ClosureHook(['before_launch', 'every_n_epochs'], [print, print])


@pytest.mark.parametrize('func', [1, None, 'print'])
def test_no_function(func):
    with pytest.raises(TypeError, match=r"'after_iter'.*takes the engine"):
        E.ClosureHook('after_iter', func)


def test_no_list_of_functions():
    with pytest.raises(TypeError):
        E.ClosureHook('after_iter', [print])
    with pytest.raises(ValueError, match='1 events and 2 functions'):
        E.ClosureHook(['after_iter'], [print, print])
    with pytest.raises(ValueError, match='2 events and 1 functions'):
        E.ClosureHook(['after_iter', 'before_iter'], [print])
