"""EmptyCacheHook: when the cache is emptied."""

import pytest
import torch

import nncore_compat as E


def test_events_are_nncores(reference, ours):
    assert ours('caches') == reference['caches']


def test_nothing_happens_without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: pytest.fail('called'))
    E.EmptyCacheHook(['after_iter']).after_iter(None)


def test_a_single_name(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: calls.append(1))
    E.EmptyCacheHook('after_val_epoch').after_val_epoch(None)
    assert calls == [1]


def test_an_unknown_event():
    with pytest.raises(ValueError, match=r"'after_step' \(EmptyCacheHook\.names\).*'after_stage'"):
        E.EmptyCacheHook(['after_step'])
