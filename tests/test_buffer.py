import logging
import tracemalloc

import pytest
from oracle import both

from nncore_compat import Buffer

OPERATIONS = """
import io, random
from contextlib import redirect_stdout
import numpy as np
import torch

random.seed(3)
torch.manual_seed(3)
KINDS = {
    'float': lambda: random.uniform(-1e4, 1e4),
    'int': lambda: random.randrange(-2**40, 2**40),
    'tiny': lambda: random.random() * 1e-30,
    'numpy': lambda: np.float64(random.random()),
    'tensor_loss': lambda: torch.randn(()),
    'double': lambda: torch.randn((), dtype=torch.float64),
    'half': lambda: torch.randn(()).half(),
    'bfloat': lambda: torch.randn(()).bfloat16(),
    'long': lambda: torch.randint(10**9, ()),
    'dict': lambda: {'a': random.random(), 'b': torch.randn(())},
    '_private': lambda: random.random(),
    '_avg_factor': lambda: random.randrange(1, 9),
}
result = []
out = io.StringIO()
with redirect_stdout(out):
    buffer = E.Buffer(max_size=20)
    for _ in range(27):
        for key, draw in KINDS.items():
            buffer.update(key, draw(), warning=key == 'tiny')
    for key in KINDS:
        result.append((key, buffer.count(key), buffer.latest(key)))
        for window in (None, 0, 1, 2, 7, 19, 20, 10**6):
            # nncore fails on all values of a full key and all factors, which are more
            for name in ('mean', 'median', 'sum', 'avg')[: 3 if window == 0 else 4]:
                value = getattr(buffer, name)(key, window_size=window)
                assert type(value) in (float, dict)
                result.append((key, window, name, value))
        result.append(buffer.avg(key, factor='_private', window_size=5))
    result.append(list(buffer.keys()))
    result.append([len(values) for values in buffer.values()])
    result.append([key for key, _ in buffer.items()])
    result.append([buffer.get('none'), buffer.get('none', 3), buffer.get('int')[0]])
    result.append([buffer.pop('none', None), len(buffer.pop('int')), list(buffer.keys())])
    result.append(buffer.max_size)
    once = E.Buffer()
    once.update('_avg_factor', 3)
    once.update('_avg_factor', 5)
    once.update('accuracy', 0.1)
    result.append(once.avg('accuracy'))
    once.clear()
    result.append(list(once.keys()))
result.append(out.getvalue())
"""


# A script may keep the lists, and change them; the longer ones are cut in another way.
LISTS = """
lists = []

def note(*seen):
    lists.append([(len(values), values[:2], values[-2:]) for values in seen])

for size in (3, 1500):
    buffer = E.Buffer(size)
    for number in range(size - 2):
        buffer.update('loss', number, warning=False)
    held = buffer.get('loss')
    for number in range(size + 30):
        buffer.update('loss', -number, warning=False)
        if number % 7 == 0:
            note(held, buffer.get('loss'))
    lists.append(held is buffer.get('loss'))
    del held
    for number in range(40):
        buffer.update('loss', number / 2, warning=False)
        lists.append((buffer.count('loss'), buffer.sum('loss'), buffer.mean('loss', 2)))
        lists.append(buffer.median('loss', window_size=0))
    views = buffer.values(), buffer.items(), buffer.keys()
    for number in range(40):
        buffer.update('loss', number / 4, warning=False)
        buffer.update('acc', number, warning=False)
        note(*views[0])
        note(*(values for _, values in views[1]))
    lists.append(list(views[2]))
    del views
    buffer.get('loss')[1:3] = [8, 9, 10, 11]
    for number in range(5):
        buffer.update('loss', number, warning=False)
        lists.append(buffer.count('loss'))
        note(buffer.get('loss'))
    del buffer.get('loss')[size // 2 :]
    for number in range(size):
        buffer.update('loss', number, warning=False)
    note(buffer.get('loss'), buffer._data['loss'])
    popped = buffer.pop('loss')
    buffer.update('loss', 1, warning=False)
    buffer.update('loss', 2, warning=False)
    note(popped, buffer.get('loss'))
result = result, lists
"""


@pytest.fixture(scope='module')
def sides():
    return both(OPERATIONS + LISTS)


def test_lists_are_the_ones_that_a_script_may_keep_and_change(sides):
    (_, real), (_, ours) = sides
    assert len(real) > 300
    assert ours == real


class Counted(list):
    """Counts the values that are moved when others before them go."""

    moved = 0

    def __delitem__(self, index):
        super().__delitem__(index)
        Counted.moved += len(self)

    def pop(self, index=-1):
        Counted.moved += len(self)
        return super().pop(index)


def test_an_update_of_a_full_buffer_moves_few_others():
    buffer = Buffer(max_size=100_000)
    buffer._data['loss'] = Counted(range(100_000))
    for number in range(20_000):
        buffer.update('loss', number, warning=False)
        # One that reads does not change that.
        buffer.latest('loss'), buffer.count('loss')
    assert buffer.mean('loss', window_size=2) == 19998.5
    assert 0 < Counted.moved < 70 * 20_000
    assert buffer.get('loss') == [*range(20_000, 100_000), *range(20_000)]


def test_many_updates_of_a_full_buffer_take_no_memory():
    buffer = Buffer(max_size=2000)
    values = [float(number) for number in range(1000)]

    def fill(times):
        for _ in range(times):
            for value in values:
                buffer.update('loss', value, warning=False)
        buffer.mean('loss', window_size=50)

    fill(3)
    tracemalloc.start()
    try:
        fill(200)
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()
    assert buffer.count('loss') == 2000


def test_every_operation_gives_the_bits_and_log_lines_of_nncore(sides):
    (real, _), (ours, _) = sides
    assert len(real) > 390
    assert real[-1].count('exceeds max size (20)') == 7
    assert ours == real


@pytest.fixture
def buffer():
    buffer = Buffer()
    for loss in (1.0, 2.0):
        buffer.update('loss', loss)
    return buffer


@pytest.mark.parametrize('name', ['get', 'keys', 'values', 'items', 'latest', 'count', 'max_size'])
def test_reading_changes_nothing(buffer, name):
    member = getattr(buffer, name)
    if callable(member):
        member(*(['loss'] if name in ('get', 'latest', 'count') else []))
    assert dict(buffer.items()) == {'loss': [1.0, 2.0]}


@pytest.mark.parametrize('name', ['latest', 'count', 'mean', 'median', 'sum', 'avg', 'pop'])
def test_a_missing_key_is_named_with_the_keys_there_are(buffer, name):
    with pytest.raises(KeyError, match="'los'.*got: 'loss'"):
        getattr(buffer, name)('los')


def test_a_missing_factor_is_explained(buffer):
    with pytest.raises(KeyError, match="model's output lacks '_avg_factor'.*from forward"):
        buffer.avg('loss')


def test_a_factor_that_came_only_sometimes_is_explained(buffer):
    buffer.update('loss', 3.0)
    buffer.update('_avg_factor', 4)
    buffer.update('_avg_factor', 4)
    with pytest.raises(ValueError, match="3 values of 'loss' with 2 of '_avg_factor'"):
        buffer.avg('loss')


def test_dicts_with_different_keys_are_an_error():
    buffer = Buffer()
    buffer.update('losses', {'a': 1.0})
    buffer.update('losses', {'b': 1.0})
    assert buffer.mean('losses', window_size=1) == {'b': 1.0}
    for name in ('mean', 'median', 'sum'):
        with pytest.raises(ValueError, match="'losses'.*different keys"):
            getattr(buffer, name)('losses')


@pytest.mark.parametrize('size', [0, -1])
def test_size_below_one(size):
    with pytest.raises(ValueError, match=f'positive integer, but got {size}'):
        Buffer(max_size=size)


@pytest.mark.parametrize('size', [None, '10', 1.5, True])
def test_size_not_a_number(size):
    with pytest.raises(TypeError, match='positive integer, but got'):
        Buffer(max_size=size)


def test_the_warning_goes_to_the_given_logger():
    logger = logging.Logger('apart')
    records = []
    logger.addFilter(lambda record: records.append(record))
    buffer = Buffer(max_size=1, logger=logger)
    buffer.update('loss', 1)
    buffer.update('loss', 2, warning=False)
    assert records == []
    buffer.update('loss', 3)
    assert [(r.levelname, r.getMessage()) for r in records] == [
        (
            'WARNING',
            "Number of 'loss' values in the buffer exceeds max size (1), "
            'removing the oldest element',
        )
    ]
    assert buffer.get('loss') == [3]
