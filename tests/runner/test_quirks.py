import logging
from types import SimpleNamespace

import pytest

from nncore_compat import quirks


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setenv(quirks.ENV, '')
    monkeypatch.setattr(quirks, '_active', None)


def fake():
    return SimpleNamespace(
        logger=logging.getLogger('test'), _quirks_met=(), _quirks_of_launch=(), _quirks_ahead=()
    )


def actives():
    return [name for name in quirks.QUIRKS if quirks.active(name)]


@pytest.mark.parametrize(
    ('spec', 'expected'),
    [
        ('', []),
        ('none', []),
        ('all', list(quirks.QUIRKS)),
        ('eval-interval', ['eval-interval']),
        (' single-loader , hook-defaults', ['hook-defaults', 'single-loader']),
    ],
)
def test_the_same_by_call_and_by_environment(monkeypatch, spec, expected):
    monkeypatch.setenv(quirks.ENV, spec)
    assert actives() == expected
    quirks.enable('eval-interval')
    quirks.enable(spec)
    assert actives() == expected


def test_unknown_names_are_refused_and_change_nothing(monkeypatch):
    quirks.enable('eval-interval')
    with pytest.raises(ValueError, match=r"'single_loader'.*mean 'single-loader'.*'all'.*hook-def"):
        quirks.enable('hook-defaults,single_loader')
    assert actives() == ['eval-interval']

    monkeypatch.setattr(quirks, '_active', None)
    monkeypatch.setenv(quirks.ENV, 'nothing-like-it')
    with pytest.raises(ValueError, match=r"'nothing-like-it' .*NNCORE_COMPAT_QUIRKS.*Accepted"):
        quirks.active('eval-interval')


def test_met_says_it_once_unless_the_quirk_is_on(caplog):
    engine, other = fake(), fake()
    caplog.set_level(logging.INFO)
    quirks.enable('single-loader')
    quirks.met('single-loader', engine, 'not said')
    for _ in range(2):
        quirks.met('eval-interval', engine, 'evaluating after epoch 2')
    quirks.met('hook-defaults', other, 'calling before_epoch')
    quirks.met('hook-defaults', engine, 'calling after_epoch')
    assert [record.levelname for record in caplog.records] == ['INFO'] * 3
    first, second, third = caplog.messages
    assert first.startswith('evaluating after epoch 2')
    assert '--quirks eval-interval' in first and quirks.QUIRKS['eval-interval'] in first
    assert second.startswith('calling before_epoch') and '--quirks hook-defaults' in second
    assert third.startswith('calling after_epoch')
    assert engine._quirks_met == ('eval-interval', 'hook-defaults')
    assert other._quirks_met == ('hook-defaults',)


def test_the_end_of_a_run_names_what_it_has_met(caplog, capsys):
    engine = fake()
    caplog.set_level(logging.INFO)
    quirks.enable('none')
    quirks.sum_up(engine)
    quirks.met('eval-interval', engine, 'evaluating after epoch 2')
    quirks.met('hook-defaults', engine, 'calling before_epoch')
    quirks.sum_up(engine)
    assert capsys.readouterr().err.endswith('would have changed this run: none\n')
    assert caplog.messages[-1].endswith(': eval-interval, hook-defaults')
    # Nothing was mended: there is nothing to say, as in nncore.
    del caplog.records[:]
    quirks.enable('all')
    quirks.sum_up(engine)
    assert not caplog.records and not capsys.readouterr().err
