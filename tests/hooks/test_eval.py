"""EvalHook: metrics and the best of them."""

import pytest

import nncore_compat as E
from nncore_compat import quirks

from .fake_engine import FakeEngine, loaders, sgd


def run(hook, metrics, epochs=6):
    """Returns the epochs (from 1) after which it evaluated, and the engine."""
    calls = []
    stages = [dict(epochs=epochs, optimizer=sgd, validation=True)]
    engine = FakeEngine(E.Buffer(), [hook], loaders(metrics=metrics), stages)
    evaluate = engine.evaluate
    engine.evaluate = lambda: (calls.append(engine.epoch), evaluate())[1]
    return calls, engine.run()


def test_buffer_and_log_are_nncores_with_the_quirk(reference, ours):
    theirs, mine = reference['evaluation'], ours('evaluation')
    assert len(theirs) == 7
    for name in theirs:
        assert mine[name] == theirs[name], name


@pytest.mark.parametrize(
    ('interval', 'documented', 'real'),
    [
        (1, [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]),
        (2, [2, 4, 6], [1, 3, 5]),
        (3, [3, 6], [2, 5]),
        (0, [], []),
    ],
)
def test_interval(interval, documented, real):
    metrics = [{'acc': 0}] * 6
    assert run(E.EvalHook(interval), metrics)[0] == documented
    quirks.enable('eval-interval')
    assert run(E.EvalHook(interval), metrics)[0] == real


def test_the_difference_is_logged_once_and_only_where_there_is_one():
    assert run(E.EvalHook(1), [{}] * 6)[1].lines == []
    assert run(E.EvalHook(2), None)[1].lines == []
    lines = run(E.EvalHook(2), [{}] * 6)[1].lines
    assert len(lines) == 1
    assert 'EvalHook(interval=2)' in lines[0]
    assert '--quirks eval-interval' in lines[0]
    quirks.enable('all')
    assert run(E.EvalHook(2), [{}] * 6)[1].lines == []


def test_evaluate_may_return_nothing():
    calls, engine = run(E.EvalHook(high_keys=['acc']), [None, {}], epochs=2)
    assert calls == [1, 2]
    assert not {'acc', 'best_acc'} & set(engine.buffer.keys())


def test_best_values_survive_in_the_state():
    hook = E.EvalHook(high_keys=['acc'], low_keys=['err'])
    run(hook, [{'acc': 0.5, 'err': 0.1}], epochs=1)
    other = E.EvalHook(high_keys=['acc', 'new'], low_keys=['err'])
    other.load_state_dict(hook.state_dict())
    _, engine = run(other, [{'acc': 0.25, 'err': 0.2, 'new': 1}], epochs=1)
    assert engine.buffer.latest('best_acc') == 0.5
    assert engine.buffer.latest('best_err') == 0.1
    assert engine.buffer.latest('best_new') == 1
