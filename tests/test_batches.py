"""Bringing loaders back to a batch, compared with the plain iteration that was never stopped."""

import functools
import gc
import io
import itertools
import json
import multiprocessing
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    WeightedRandomSampler,
    get_worker_info,
)

from nncore_compat import _batches, _crew, _loader_parts, _random

EPOCHS = 3


class Noisy(Dataset):
    """Augments with all three generators, and tells which worker did it with which seed."""

    def __init__(self, length=22):
        self.length = length
        self.loaded = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.loaded += 1
        info = get_worker_info()
        who = (info.id, info.seed) if info else None
        noise = random.gauss(0, 1), float(np.random.randn()), torch.rand(()).item()
        return index, noise, who


class Seeded(Noisy):
    """Has a generator of its own, as many data sets do, each worker a copy."""

    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(4)
        self.old = np.random.RandomState(5)

    def __getitem__(self, index):
        return *super().__getitem__(index), float(self.rng.random()), float(self.old.randn())


class Counting(Noisy):
    """Has a state."""

    count = 0

    def __getitem__(self, index):
        self.count += 1
        return *super().__getitem__(index), self.count

    def state_dict(self):
        return {'count': np.array([self.count])}

    def load_state_dict(self, state):
        self.count = int(state['count'][0])


class Stream(IterableDataset):
    def __iter__(self):
        info = get_worker_info()
        for index in range(info.id if info else 0, 22, info.num_workers if info else 1):
            yield index, random.random(), float(np.random.rand()), torch.rand(()).item()


class Scaled(Sampler):
    """A batch sampler that draws as it is made to iterate, and a scale for each batch."""

    def __init__(self):
        self.own = random.Random(6)

    def __iter__(self):
        order = torch.randperm(22).tolist()
        self.own.random()
        return self._batches(order)

    def _batches(self, order):
        for first in range(0, 22, 4):
            scale = random.choice('SML') + self.own.choice('SML')
            yield [(index, scale) for index in order[first : first + 4]]

    def __len__(self):
        return 6


def collate(samples):
    return [*samples, random.random()]


def generator():
    return torch.Generator().manual_seed(5)


def loader(dataset=None, **kwargs):
    options = dict(batch_size=None if 'batch_sampler' in kwargs else 4, collate_fn=collate)
    if 'batch_sampler' in kwargs:
        options['batch_size'] = 1
    return DataLoader(dataset or Noisy(), **{**options, **kwargs})


def single(sample):
    return sample


PLAIN = {
    'shuffled': lambda **kw: loader(shuffle=True, **kw),
    'generator': lambda **kw: loader(Noisy(20), shuffle=True, generator=generator(), **kw),
    'singly': lambda **kw: loader(shuffle=True, batch_size=None, collate_fn=single, **kw),
    'weighted': lambda **kw: loader(
        sampler=WeightedRandomSampler(torch.arange(22.0), 50), drop_last=True, **kw
    ),
    'distributed': lambda **kw: loader(
        Noisy(44), sampler=DistributedSampler(range(44), num_replicas=2, rank=1), **kw
    ),
    'scaled': lambda **kw: loader(batch_sampler=Scaled(), **kw),
    'seeded': lambda **kw: loader(Seeded(), shuffle=True, **kw),
}
WORKERS = {
    '0': {},
    '2': {'num_workers': 2},
    'persistent': {'num_workers': 2, 'persistent_workers': True},
}
OTHERS = {
    'state': lambda: loader(Counting(), shuffle=True),
    'stream': lambda: loader(Stream()),
    'stream_2': lambda: loader(Stream(), num_workers=2),
    'unordered': lambda: loader(shuffle=True, num_workers=1, in_order=False),
    'list': lambda: list(range(6)),
}
CASES = {
    **{
        f'{name}-{workers}': lambda make=make, kwargs=kwargs: make(**kwargs)
        for name, make in PLAIN.items()
        for workers, kwargs in WORKERS.items()
        if workers != '2' or name in ('shuffled', 'scaled', 'seeded')
    },
    **OTHERS,
}


def seed(value):
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def use(batch):
    """What is left of a batch after an iteration that draws numbers, as with dropout."""
    return repr(batch), random.gauss(0, 1), float(np.random.randn()), torch.rand(2).tolist()


def begin(loader, epoch):
    sampler = getattr(loader, 'sampler', None)
    if hasattr(sampler, 'set_epoch'):
        sampler.set_epoch(epoch)


def uninterrupted(make, iterate=iter, epochs=EPOCHS):
    seed(1)
    data, seen = make(), []
    for epoch in range(epochs):
        begin(data, epoch)
        seen.append([use(batch) for batch in iterate(data)])
        seen[-1].append(use('end'))
    return seen


def saved(data, done):
    """What a checkpoint has, read back from a file as a checkpoint is."""
    file = io.BytesIO()
    torch.save({'loader': _batches.state_of(data, done), 'random': _random.get_states()}, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def interrupted(make, epoch, done, epochs=EPOCHS):
    """Run until so many batches of an epoch are done; return what was seen, and what was saved."""
    seed(1)
    data, seen = make(), []
    for earlier in range(epoch):
        begin(data, earlier)
        seen.append([use(batch) for batch in _batches.batches(data)])
        seen[-1].append(use('end'))
    if done:
        begin(data, epoch)
        iterator = _batches.batches(data)
        seen.append([use(batch) for batch in itertools.islice(iterator, done)])
    else:
        seen.append([])
    return seen, saved(data, done)


def restored(make, checkpoint):
    """A loader of another run."""
    seed(2)
    data = make()
    _batches.restore(data, checkpoint['loader'])
    _random.set_states(checkpoint['random'])
    return data


def resumed(make, seen, checkpoint, epochs=EPOCHS, data=None):
    data = data or restored(make, checkpoint)
    seen = [list(epoch) for epoch in seen]
    for epoch in range(len(seen) - 1, epochs):
        begin(data, epoch)
        if len(seen) == epoch:
            seen.append([])
        seen[epoch] += [use(batch) for batch in _batches.batches(data)]
        seen[epoch].append(use('end'))
    return seen


@pytest.fixture(autouse=True)
def _no_worker_is_left_behind():
    yield
    gc.collect()  # An exception keeps what it has passed.
    until = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < until:
        time.sleep(0.05)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize('case', CASES)
def test_as_plain_iteration(case):
    assert uninterrupted(CASES[case], _batches.batches) == uninterrupted(CASES[case])


@pytest.mark.parametrize('case', CASES)
def test_goes_on_as_if_never_stopped(case):
    make = CASES[case]
    expected = uninterrupted(make)
    # The latter with persistent workers that were there before.
    for epoch, done in ((0, 1), (1, 0), (1, 3)):
        assert resumed(make, *interrupted(make, epoch, done)) == expected, (epoch, done)
    last = len(expected[2]) - 1
    for done in (last - 1, last):
        assert resumed(make, *interrupted(make, 2, done)) == expected, (2, done)


@pytest.mark.parametrize('case', ['shuffled-2', 'seeded-persistent', 'scaled-persistent'])
def test_stopped_again_and_again(case):
    make = CASES[case]
    seen, checkpoint = interrupted(make, 0, 1)
    data = None
    for epoch in range(EPOCHS):
        for _ in range(2):
            data = restored(make, checkpoint)
            # At once, before any batch; and after each of the first ones.
            assert saved(data, len(seen[epoch]) or None).keys() == checkpoint.keys()
            begin(data, epoch)
            iterator = _batches.batches(data)
            seen[epoch].append(use(next(iterator)))
            checkpoint = saved(data, len(seen[epoch]))
        seen[epoch] += [use(batch) for batch in iterator]
        seen[epoch].append(use('end'))
        checkpoint = saved(data, None)
        seen.append([])
    assert seen[:-1] == uninterrupted(make)


@pytest.mark.parametrize('workers', WORKERS)
def test_what_was_used_is_not_loaded_again(workers):
    def make():
        return loader(shuffle=True, **WORKERS[workers])

    _, checkpoint = interrupted(make, 1, 4)
    data = restored(make, checkpoint)
    assert len(list(_batches.batches(data))) == 2
    assert int(data.dataset.loaded) == 22 - 4 * 4
    # Of a finished epoch nothing is left, and no worker is started for that.
    _, checkpoint = interrupted(make, 1, 6)
    data = restored(make, checkpoint)
    assert list(_batches.batches(data)) == []
    assert int(data.dataset.loaded) == 0


def test_differs_without_any_of_it():
    make = CASES['shuffled-persistent']
    expected = uninterrupted(make)
    # Of the six batches, four are asked for ahead.
    seen, checkpoint = interrupted(make, 1, 1)
    assert resumed(make, seen, checkpoint) == expected

    def without(**changes):
        changed = {'loader': {**checkpoint['loader'], **changes}, 'random': checkpoint['random']}
        return resumed(make, seen, changed)

    crew = checkpoint['loader']['crew']
    start = checkpoint['loader']['start']
    other = {**start, 'random': checkpoint['random']}
    assert without(start=other) != expected
    assert without(crew={**crew, 'states': [None, None]}) != expected
    assert without(crew={**crew, 'states': crew['states'][::-1]}) != expected
    assert without(crew={**crew, 'born': torch.default_generator.get_state()}) != expected
    data = restored(make, checkpoint)
    seed(3)
    assert resumed(make, seen, checkpoint, data=data) != expected


def test_in_another_process_that_spawns(tmp_path):
    # The way that workers are started makes no difference to what they give.
    forking = CASES['seeded-persistent']
    expected = uninterrupted(forking, epochs=2)
    seen, checkpoint = interrupted(forking, 1, 3)
    torch.save((seen, checkpoint), tmp_path / 'state.pth')
    code = (
        'import json, sys, torch; import test_batches as t\n'
        'if __name__ == "__main__":\n'
        '    saved = torch.load(sys.argv[1], weights_only=True)\n'
        '    print(json.dumps(t.resumed(t.spawning, *saved, epochs=2)))\n'
    )
    (tmp_path / 'resume.py').write_text(code)
    command = [sys.executable, tmp_path / 'resume.py', tmp_path / 'state.pth']
    path = ':'.join(filter(None, [str(tmp_path), *sys.path]))
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={'PYTHONPATH': path}
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == json.loads(json.dumps(expected))


def spawning():
    return PLAIN['seeded'](multiprocessing_context='spawn', **WORKERS['persistent'])


def test_a_pass_that_was_given_up():
    """As by Precise-BN: what workers were told to make is made before the next epoch."""
    make = CASES['shuffled-persistent']

    def run(iterate, stop=False):
        seed(1)
        data = make()
        seen = [[use(batch) for batch in iterate(data)]]
        seen[0] += [use(batch) for batch in itertools.islice(iterate(data), 2)]
        if stop:
            data = restored(make, saved(data, None))
        seen.append([use(batch) for batch in iterate(data)])
        return seen

    assert run(_batches.batches, stop=True) == run(iter)


def test_a_loader_that_is_used_meanwhile():
    make = CASES['shuffled-2']
    seed(1)
    data = make()
    iterator = _batches.batches(data)
    seen = [[use(next(iterator)) for _ in range(2)]]
    with torch.random.fork_rng():
        list(_batches.batches(data))
    checkpoint = saved(data, 2)
    rest = [use(batch) for batch in iterator]
    assert resumed(make, seen, checkpoint, epochs=1)[0][2:-1] == rest


def test_a_generator_that_others_draw_from_too():
    def make():
        source = generator()
        order = RandomSampler(range(22), replacement=True, num_samples=70, generator=source)
        return loader(sampler=order, generator=source)

    def draw(data, iterator):
        return [(batch, torch.rand(2, generator=data.generator).tolist()) for batch in iterator]

    def run(stop):
        seed(1)
        data = make()
        iterator = _batches.batches(data)
        seen = draw(data, itertools.islice(iterator, 5))
        if stop:
            data = restored(make, saved(data, 5))
            iterator = _batches.batches(data)
        return seen + draw(data, iterator)

    assert run(stop=True) == run(stop=False)


class Own:
    """A loader with a state, as torchdata's: an epoch goes on where it was."""

    def __init__(self):
        self.epoch, self.at = 0, 0
        self.made = 0

    def __iter__(self):
        self.made += 1
        random.random()
        return self._rest()

    def _rest(self):
        while self.at < 6:
            self.at += 1
            yield self.epoch, self.at
        self.epoch, self.at = self.epoch + 1, 0

    def state_dict(self):
        return {'epoch': self.epoch, 'at': self.at}

    def load_state_dict(self, state):
        self.epoch, self.at = state['epoch'], state['at']


def test_a_loader_with_a_state_is_asked_for_it():
    expected = uninterrupted(Own)
    for epoch, done in ((0, 2), (1, None), (1, 4)):
        seen, checkpoint = interrupted(Own, epoch, done)
        assert 'sampling' not in checkpoint['loader']
        assert resumed(Own, seen, checkpoint) == expected
    fresh = Own()
    assert 'own' not in _batches.state_of(fresh) and fresh.made == 0


@pytest.fixture
def warnings(monkeypatch):
    """What is warned of, whatever loggers other tests have set up."""
    found = []
    monkeypatch.setattr(_loader_parts, 'log', lambda text, **_: found.append(text))
    return found


def test_other_numbers_are_gone_on_with(warnings):
    make = CASES['shuffled-2']
    seen, checkpoint = interrupted(make, 1, 3)
    whole = uninterrupted(make)

    def order(epoch):
        return [batch.partition('(')[2].split(', (')[0] for batch, *_ in epoch[:-1]]

    for workers in ({}, {'num_workers': 1}, {'num_workers': 3, 'persistent_workers': True}):
        got = resumed(functools.partial(PLAIN['shuffled'], **workers), seen, checkpoint)
        assert [order(epoch) for epoch in got[:2]] == [order(epoch) for epoch in whole[:2]]
        assert len(warnings) == 1 and 'not exactly' in warnings.pop(), workers
    got = resumed(lambda: loader(shuffle=True, batch_size=3, num_workers=2), seen, checkpoint)
    assert len(got[1]) == 9 and len(got[2]) == 9


@pytest.mark.parametrize('options', [{}, *WORKERS.values()])
def test_a_loader_that_knows_of_no_stop_begins_within_an_epoch(options):
    """As where the samples are shared out among another number of processes."""
    loader = DataLoader(range(10), 2, **options)
    _batches.restore(loader, {**_batches.state_of(loader), 'done': 3})
    found = [[batch.tolist() for batch in _batches.batches(loader)] for _ in range(2)]
    assert found == [[[6, 7], [8, 9]], [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]]


def test_workers_that_somebody_else_has_started(warnings):
    make = CASES['shuffled-persistent']
    data = make()
    list(data)
    list(_batches.batches(data))
    checkpoint = saved(data, None)
    assert len(list(_batches.batches(restored(make, checkpoint)))) == 6
    assert len(warnings) == 1 and 'random states of its workers are not known' in warnings[0]


class Failing(Noisy):
    def __getitem__(self, index):
        if index == 21:
            raise ValueError('no such picture')
        return super().__getitem__(index)


@pytest.mark.parametrize('workers', ['0', '2'])
def test_errors_of_the_data_set(workers):
    data = loader(Failing(), **WORKERS[workers])
    iterator = _batches.batches(data)
    assert len([next(iterator) for _ in range(5)]) == 5
    with pytest.raises(ValueError, match='no such picture'):
        next(iterator)
    assert _batches.state_of(data, 5)['done'] == 5
    assert list(iterator) == []


def test_parts_are_lent_only():
    data = CASES['shuffled-persistent']()
    before = dict(vars(data))
    iterator = _batches.batches(data)
    assert len(iterator) == len(data) == 6
    after = {**vars(data), '_iterator': None}
    assert {name: after[name] for name in before} == before
    # What is known of it goes with it.
    number = id(data)
    assert number in _batches._records
    del data, iterator, before, after
    assert number not in _batches._records


def test_torch_has_the_private_names():
    iterator = iter(CASES['shuffled-2']())
    source = Path(_crew.__file__).read_text()
    for name in ('_sampler_iter', '_worker_queue_idx_cycle', '_try_put_index'):
        assert hasattr(iterator, name)
        assert name in source
    assert hasattr(CASES['shuffled-0'](), '_iterator') and DataLoader._get_iterator
