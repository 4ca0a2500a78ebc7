"""Batches that are fetched as torch's loaders give them, and without a row in a profile."""

import warnings

import pytest
import torch
from tiny import engine
from torch.utils.data import DataLoader, IterableDataset, dataloader

from nncore_compat._fetching import fetcher

NUMBERS = list(range(10))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(NUMBERS)

    def __len__(self):
        return 4


def drain(loader):
    iterator = iter(loader)
    fetch, found = fetcher(iterator), []
    with pytest.raises(StopIteration):
        while True:
            found.append(fetch())
    return found, getattr(iterator, '_num_yielded', None)


@pytest.mark.parametrize(
    'kwargs', [{}, {'num_workers': 2}, {'batch_size': None}, {'shuffle': True}]
)
def test_batches_are_those_of_the_loader(kwargs, rows):
    def loader():
        seeded = torch.Generator().manual_seed(3)
        return DataLoader(NUMBERS, **{'batch_size': 3, 'generator': seeded, **kwargs})

    found, count = drain(loader())
    assert rows == []
    expected = list(loader())
    assert count == len(expected) == len(rows) - 1
    assert list(map(str, found)) == list(map(str, expected))


def test_a_wrong_length_is_told():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        loader = DataLoader(Stream(), 2)
        assert len(loader) == 2
        found, _ = drain(loader)
    assert len(found) == 5
    assert any('was reported to be' in str(one.message) for one in seen)


def test_whatever_else_can_be_iterated():
    assert drain(NUMBERS)[0] == NUMBERS
    assert drain(iter(NUMBERS))[0] == NUMBERS


def test_a_patched_loader_is_asked(monkeypatch):
    calls = []
    stock = dataloader._BaseDataLoaderIter.__next__
    monkeypatch.setattr(
        dataloader._BaseDataLoaderIter,
        '__next__',
        lambda self: calls.append(1) or stock(self),
    )
    drain(DataLoader(NUMBERS, 5))
    assert len(calls) == 3


def test_a_profile_of_a_run_has_the_rows(tmp_path):
    one = engine(tmp_path)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        one.launch()
    names = [event.name for event in seen.events()]
    assert sum(name.startswith('enumerate(DataLoader)') for name in names) == 4
    assert names.count('Optimizer.step#SGD.step') == 3
