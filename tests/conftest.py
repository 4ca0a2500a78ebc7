"""The two sides that tests compare: nncore 0.4.7 itself, and nncore_compat."""

import gc
import importlib.util
import os
import sys

import pytest
import torch
from parity.sides import Side

# sums depend on the number of threads, and the reference is given one
torch.set_num_threads(1)


def pytest_configure(config):
    """Let xdist hand out files in the order below, not those with most tests first."""
    if hasattr(config.option, 'loadscopereorder'):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(config, items):
    """For xdist, begin with the files that take longest: none is to be left for one worker."""
    # Neither does the collector look at all that was imported, nor does a fork copy it for that.
    gc.collect()
    gc.freeze()
    if hasattr(config, 'workerinput'):
        items.sort(key=lambda item: item.path.parent.name not in ('parity', 'verify'))


@pytest.fixture(autouse=True)
def settings_are_taken_back():
    """Let no test leave to later ones what it has asked for as a command line does."""
    before = settings()
    yield
    for name in settings().keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def settings():
    return {name: value for name, value in os.environ.items() if name.startswith('NNCORE_COMPAT')}


@pytest.fixture(scope='session')
def reference_installed():
    """Skip where nncore cannot be installed; anywhere else its absence is an error."""
    if importlib.util.find_spec('nncore') is None:
        if sys.version_info >= (3, 13):
            pytest.skip('nncore 0.4.7 does not build on Python 3.13 and later')
        pytest.fail("nncore is missing: pip install 'nncore-compat[test]'")


@pytest.fixture(scope='session')
def sides(reference_installed, tmp_path_factory):
    """A live process of the reference and one of ours, with every quirk switched on."""
    folder = tmp_path_factory.mktemp('sides')
    both = Side(True, folder / 'reference.log'), Side(False, folder / 'ours.log')
    yield both
    for side in both:
        side.close()


@pytest.fixture
def rows(monkeypatch):
    """The rows that torch begins for a profile, by name."""
    found = []
    record = torch.autograd.profiler.record_function
    monkeypatch.setattr(
        torch.autograd.profiler,
        'record_function',
        lambda name, *args: found.append(name) or record(name, *args),
    )
    return found
