"""What does not grow: collectives with the processes, memory with the iterations."""

import gc
import importlib.util
import tracemalloc
from pathlib import Path

import pytest
import torch
from tiny import Net, engine
from torch.utils.data import DataLoader

from nncore_compat import Buffer, Hook

SCRIPT = Path(__file__).resolve().parent.parent / 'benchmarks' / 'scale.py'


@pytest.fixture(scope='module')
def scale():
    spec = importlib.util.spec_from_file_location('scale', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_collectives_do_not_grow_with_the_processes(scale):
    """Counted by torch's profiler; nncore's own counts are in tests/parity."""
    two, four = scale.children('count_collectives', 'us', [[], []], [2, 4])
    assert two == four
    page = (SCRIPT.parents[1] / 'docs' / 'scale.md').read_text()
    assert f'| us, 2 processes | {" | ".join(two)} |' in page
    step, write, checkpoint, epoch, validation, begin, _ = two
    assert step == write == '1 allreduce'
    assert sum(int(part.split()[0]) for part in checkpoint.split(' + ')) < 15
    # Lightning makes its loop over validation batches ready once.
    assert epoch == '0 or 1 allreduce + 2 barrier'
    assert validation == '1 allgather + 1 barrier + 1 gather' and begin == '0'


def traced():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def test_a_full_buffer_does_not_grow():
    buffer, value = Buffer(max_size=100), torch.tensor(1.0)

    def update(times):
        for _ in range(times):
            buffer.update('loss', value, warning=False)
        buffer.mean('loss', window_size=10)
        return traced()

    tracemalloc.start()
    try:
        first = update(10**3)
        assert update(10**5) < first + 2**12
    finally:
        tracemalloc.stop()
    assert buffer.count('loss') == 100


def test_iterations_leave_nothing_behind(tmp_path):
    held = []

    class Held(Hook):
        def after_train_iter(self, engine):
            if engine.iter == 500:
                # Not before: what is imported on the way would be traced too.
                tracemalloc.start()
            elif engine.iter in (600, 2500):
                held.append(traced())

        def after_train_epoch(self, engine):
            tracemalloc.stop()

    class Same(list):
        def __len__(self):
            return 2501

        def __getitem__(self, index):
            return batch

    batch = {'x': torch.ones(2, 2), 'y': torch.ones(2, dtype=torch.long)}

    def without_out(output):
        return {key: value for key, value in output.items() if key != '_out'}

    loaders = {'train': DataLoader(Same(), None)}
    one = engine(tmp_path, Net(without_out), data_loaders=loaders)
    one.register_hook([Held(), Cleared()])
    # It clears the buffer, but pytest keeps what it logs.
    one.unregister_hook('EventWriterHook')
    one.launch()
    assert one.iter == 2501
    # An object of sixteen bytes per iteration would be seen.
    assert held[1] - held[0] < 1900 * 16


class Cleared(Hook):
    def after_train_iter(self, engine):
        if engine.iter % 100 == 99:
            engine.buffer.clear()
