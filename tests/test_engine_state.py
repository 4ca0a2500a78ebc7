"""What a caller gets when it reads an engine, and whether it can change the engine with it."""

import copy

from oracle import both
from tiny import engine

from nncore_compat import Hook

READS = """
import tempfile
import torch
from torch.utils.data import DataLoader, Dataset

class Data(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.ones(2)

class Net(torch.nn.Module):
    given = []

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(2, 1)

    def forward(self, data, mode, **kwargs):
        self.given.append(repr(kwargs))
        return dict(loss=self.fc(data).mean(), _avg_factor=2)

COUNTERS = ['mode', 'stage', 'epoch', 'iter', 'start_iter', 'max_stages', 'max_epochs', 'max_iters']
DERIVED = ['epoch_in_stage', 'iter_in_stage', 'iter_in_epoch']
OBJECTS = ['stages', 'amp_cfg', 'meta', 'data_loaders', 'hooks', 'losses', 'buffer', 'model']

class Look(E.Hook):
    def after_train_iter(self, engine):
        for name in COUNTERS + DERIVED:
            result.append((name, getattr(engine, name)))
            try:
                setattr(engine, name, 7)
            except AttributeError:
                result.append('read only')
        for name in OBJECTS:
            # The very object, which a script may change.
            assert getattr(engine, name) is getattr(engine, name)
        assert engine.cur_stage is engine.stages[engine.stage]
        kwargs = engine.kwargs
        assert kwargs is not engine.kwargs
        kwargs['added'] = 1
        kwargs['cfg']['added'] = 2
        kwargs['cfg']['names'].append('added')
        kwargs['pair'][0].append('added')
        kwargs['names'].add('added')
        result.append(repr(engine.kwargs))

result = []
stages = [dict(epochs=1, optimizer=dict(type='SGD', lr=0.1)) for _ in range(2)]
work_dir = tempfile.mkdtemp()
engine = E.Engine(Net(), dict(train=DataLoader(Data(), 2)), stages=stages, hooks=[Look()],
                  work_dir=work_dir, meta=dict(a=1))
engine.unregister_hook('EventWriterHook')
engine.launch(cfg=dict(a=1, names=['b']), pair=([1], 2), names={'c'})
result.append(engine.model.given)
"""


def test_a_caller_changes_what_it_changes_in_nncore():
    real, ours = both(READS)
    assert len(real) == 4 * (2 * 11 + 1) + 1
    assert ours == real
    assert not any('added' in given for given in real[-1])


def test_nothing_is_copied_when_an_engine_is_read(tmp_path, monkeypatch):
    """In nncore each look at a counter is a deep copy."""
    calls = []
    deepcopy = copy.deepcopy

    def counted(*args):
        calls.append(args)
        return deepcopy(*args)

    class Look(Hook):
        def before_train_iter(self, engine):
            assert (engine.epoch, engine.stage, engine.mode) == (0, 0, 'train')
            monkeypatch.setattr(copy, 'deepcopy', counted)

        def after_train_iter(self, engine):
            seen.append((engine.iter, len(calls)))

    seen = []
    engine(tmp_path, hooks=[Look()]).launch()
    assert seen == [(0, 0), (1, 0), (2, 0)]
