"""Hooks in a Trainer that a Lightning user has made, beside real nncore and Lightning itself."""

import copy
import json

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from oracle import run
from tiny import Net, Points, engine, stage
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import nncore_compat
from nncore_compat import CheckpointHook, ClosureHook, Hook, as_callback
from nncore_compat.hooks.base import HOOK_NAMES

# What a hook sees at each event, spelled so that it runs in both worlds.
TRACE = """
SEEN = []
ASKED = [
    'every_n_epochs', 'every_n_iters', 'every_n_epochs_in_stage', 'every_n_iters_in_stage',
    'every_n_iters_in_epoch',
]
LIMITS = [
    'first_epoch_in_stage', 'first_iter_in_stage', 'first_iter_in_epoch', 'last_epoch_in_stage',
    'last_iter_in_stage', 'last_iter_in_epoch', 'last_stage', 'last_epoch', 'last_iter',
]
COUNTERS = [
    'stage', 'epoch', 'iter', 'start_iter', 'epoch_in_stage', 'iter_in_stage', 'iter_in_epoch',
    'max_stages', 'max_epochs', 'max_iters',
]

def record(event):
    def method(self, engine):
        row = {name: getattr(engine, name) for name in COUNTERS}
        row.update((name, getattr(self, name)(engine, 2)) for name in ASKED)
        if event != 'after_launch':
            row.update((name, getattr(self, name)(engine)) for name in LIMITS)
        row['mode'] = getattr(engine, 'mode', None)
        row['values'] = {
            k: engine.buffer.count(k) for k in engine.buffer.keys() if not k.endswith('_time')
        }
        if hasattr(engine, 'data_loader'):
            row['length'] = len(engine.data_loader)
        if event != 'before_launch':
            row['lr'] = [group['lr'] for group in engine.optimizer.param_groups]
        # Lightning has stepped before the first hook is called, nncore does so between the two.
        if [self.name, event] != ['head', 'after_train_iter']:
            row['weight'] = engine.model.fc.weight.tolist()
        if event.endswith(('epoch', 'iter')):
            row['training'] = engine.model.training
        SEEN.append([self.name, event, row])
    return method

Trace = type('Trace', (E.Hook,), {
    event: record(event)
    for event in [w + '_' + e for w in ('before', 'after') for e in (
        'launch', 'stage', 'train_epoch', 'val_epoch', 'train_iter', 'val_iter')]
})
"""
REAL = (
    TRACE
    + """
import json, torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

class Points(Dataset):
    def __init__(self, size):
        generator = torch.Generator().manual_seed(size)
        self.x = torch.randn(size, 2, generator=generator)
        self.y = (self.x.sum(1) > 0).long()
    def __len__(self):
        return len(self.x)
    def __getitem__(self, index):
        return {'x': self.x[index], 'y': self.y[index]}
    def evaluate(self, outputs, logger=None, **kwargs):
        return {'acc': (torch.cat(outputs) == self.y).float().mean().item(), **kwargs}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(2, 2)
    def forward(self, data, mode, **kwargs):
        logits = self.fc(data['x'])
        loss = nn.functional.cross_entropy(logits, data['y'])
        return {'loss': loss, '_avg_factor': len(data['y']), '_out': logits.argmax(1)}

engine = E.Engine(
    Net(),
    {'train': DataLoader(Points(10), 4), 'val': DataLoader(Points(6), 4)},
    stages={'epochs': 3, 'optimizer': {'type': 'SGD', 'lr': 0.1}, 'validation': {'interval': 1}},
    hooks=[
        Trace('tail'),
        {'type': 'EvalHook', 'high_keys': ['acc']},
        {'type': 'EventWriterHook', 'interval': 2, 'writers': ['JSONWriter']},
    ],
    work_dir='run',
)
engine.register_hook(Trace('head'), before='TimerHook')
engine.launch()
checkpoint = torch.load('run/epoch_2.pth')
result = {
    'seen': SEEN,
    'metrics': [json.loads(line) for line in open('run/metrics.json')],
    'meta': {key: checkpoint['meta'][key] for key in ('epoch', 'iter')},
    'weights': {key: value.tolist() for key, value in checkpoint['state_dict'].items()},
}
"""
)


class Module(LightningModule):
    """The same model as a Lightning user writes it."""

    def __init__(self, manual=False):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(2, 2)
        self.automatic_optimization = not manual

    def training_step(self, batch, batch_idx):
        logits = self.fc(batch['x'])
        loss = nn.functional.cross_entropy(logits, batch['y'])
        if not self.automatic_optimization:
            self.optimizers().zero_grad()
            self.manual_backward(loss)
            self.optimizers().step()
        return {'loss': loss, '_out': logits.argmax(1)}

    def validation_step(self, batch, batch_idx):
        output = Net.forward(self, batch, mode='val')
        # The number of samples is seen from the batch.
        return {key: value for key, value in output.items() if key != '_avg_factor'}

    def change(self, output):
        return output

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder, *callbacks, **kwargs):
    options = {'max_epochs': 2, 'logger': False, 'enable_checkpointing': False, **kwargs}
    return Trainer(
        accelerator='cpu',
        default_root_dir=str(folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )


def data():
    return DataLoader(Points(), 4), DataLoader(Points(6), 4)


class Log(Hook):
    """Writes down the calls of some events."""

    def __init__(self, calls, name='Log'):
        super().__init__(name)
        self.calls = calls


for _name in HOOK_NAMES:
    if _name.count('_') == 2 or 'launch' in _name or 'stage' in _name:
        setattr(Log, _name, lambda self, e, _name=_name: self.calls.append((self.name, _name)))


def masked(rows):
    return [{k: v for k, v in row.items() if k not in ('time', 'data_time')} for row in rows]


@pytest.mark.parametrize('manual', [False, True])
def test_hooks_see_what_they_see_in_nncore(tmp_path, manual, real_run):
    space = {'E': nncore_compat, '__name__': __name__}
    exec(TRACE, space)
    hooks = [
        space['Trace']('head'),
        'TimerHook',
        'CheckpointHook',
        {'type': 'EvalHook', 'high_keys': ['acc']},
        {'type': 'EventWriterHook', 'interval': 2, 'writers': ['JSONWriter']},
        space['Trace']('tail'),
    ]
    # nncore puts a hook of the user's behind the default ones, and overwrites in place.
    trainer(tmp_path, *map(as_callback, hooks), max_epochs=3).fit(Module(manual), *data())
    for ours, real in zip(space['SEEN'], real_run['seen'], strict=True):
        assert ours == real
    rows = [json.loads(line) for line in (tmp_path / 'metrics.json').read_text().splitlines()]
    assert masked(rows) == masked(real_run['metrics'])
    assert all('time' in row for row in rows if row['mode'] == 'train')
    saved = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    assert {k: saved['meta'][k] for k in ('epoch', 'iter')} == real_run['meta']
    assert {k: v.tolist() for k, v in saved['state_dict'].items()} == real_run['weights']


@pytest.fixture(scope='module')
def real_run():
    return run('real', REAL)


def test_checkpoint_is_read_by_nncore(tmp_path):
    trainer(tmp_path, as_callback('CheckpointHook')).fit(module := Module(), *data())
    code = f"""
    import torch
    model = torch.nn.ModuleDict({{'fc': torch.nn.Linear(2, 2)}})
    E.load_checkpoint(model, {str(tmp_path / 'epoch_2.pth')!r}, strict=True)
    result = model.fc.weight.tolist()
    """
    assert run('real', code) == module.fc.weight.tolist()


def test_writers_and_what_is_logged(tmp_path):
    class Logging(Module):
        def training_step(self, batch, batch_idx):
            output = super().training_step(batch, batch_idx)
            self.log('seen', float(batch_idx))
            self.log('mean', float(batch_idx), on_step=False, on_epoch=True)
            self.log('both', float(batch_idx), on_step=True, on_epoch=True)
            if batch_idx == 0:
                self.log('rare', 7.0)
            return output['loss']

        def validation_step(self, batch, batch_idx):
            self.log('val_x', float(batch_idx))

        def on_validation_epoch_end(self):
            self.log('late', 9.0)

    seen = []
    hook = ClosureHook(
        'after_train_iter', lambda e: seen.append([e.losses.keys() == {'loss'}, *e.buffer.keys()])
    )
    one = trainer(
        tmp_path, as_callback(hook), as_callback('EventWriterHook', interval=1), logger=True
    )
    one.fit(Logging(), *data())
    assert one.log_dir != str(tmp_path)
    with open(f'{one.log_dir}/metrics.json') as file:
        rows = [json.loads(line) for line in file]
    train = [row for row in rows if row['mode'] == 'train']
    assert [row['seen'] for row in train] == [0, 1, 2] * 2
    assert [row['both'] for row in train] == [0, 1, 2] * 2
    assert [row.get('rare') for row in train] == [7, None, None] * 2
    assert not any({'mean', 'both_step', 'both_epoch', 'val_x'} & row.keys() for row in train)
    assert [call[0] for call in seen] == [True] * 6
    # Lightning's mean over 6 samples in batches of 4 and 2.
    val = [row for row in rows if row['mode'] == 'val']
    assert [(row['val_x'], row['late'], row['iter']) for row in val] == [
        (pytest.approx(1 / 3), 9.0, 0)
    ] * 2
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(f'{one.log_dir}/tf_logs').Reload()
    assert [(e.step, e.value) for e in board.Scalars('seen/train')] == [
        (i + 1, i % 3) for i in range(6)
    ]


def test_hooks_keep_the_order_of_the_callbacks(tmp_path):
    calls = []

    class Between(Callback):
        def on_train_batch_end(self, *args):
            calls.append(('Between', 'on_train_batch_end'))

    one = trainer(
        tmp_path,
        as_callback(Log(calls, 'a')),
        Between(),
        as_callback(Log(calls, 'b')),
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=1,
    )
    one.fit(Module(), *data())

    def pair(event):
        return [('a', event), ('b', event)]

    assert calls == [
        *pair('before_launch'),
        *pair('before_stage'),
        *pair('before_train_epoch'),
        *pair('before_train_iter'),
        ('a', 'after_train_iter'),
        ('Between', 'on_train_batch_end'),
        ('b', 'after_train_iter'),
        *pair('after_train_epoch'),
        *pair('before_val_epoch'),
        *pair('before_val_iter'),
        *pair('after_val_iter'),
        *pair('after_val_epoch'),
        *pair('after_stage'),
        *pair('after_launch'),
    ]


def test_counts_follow_the_trainer(tmp_path):
    rows = []

    def look(e):
        rows.append((e.epoch, e.iter, e.iter_in_epoch, e.max_epochs, e.max_iters, e.mode))

    hook = ClosureHook(['after_train_iter', 'after_val_epoch'], look)
    # 2 of 3 batches, a validation after each, and 3 steps of one batch each.
    one = trainer(
        tmp_path,
        as_callback(hook),
        limit_train_batches=2,
        val_check_interval=0.5,
        max_epochs=-1,
        max_steps=3,
    )
    one.fit(Module(), *data())
    assert rows == [
        (0, 0, 0, 2, 4, 'train'),
        (0, 1, 1, 2, 4, 'val'),
        (0, 1, 1, 2, 4, 'train'),
        (1, 2, 0, 2, 4, 'val'),
        (1, 2, 0, 2, 4, 'train'),
        (1, 3, 1, 2, 4, 'val'),
    ]


class Counting(Hook):
    """Has a state."""

    count = 0

    def after_train_iter(self, engine):
        self.count += 1

    def state_dict(self):
        return {'count': self.count}

    def load_state_dict(self, state_dict):
        self.count = state_dict['count']


def test_a_hook_resumes_with_the_trainer(tmp_path):
    first = trainer(tmp_path, as_callback(Counting()), enable_checkpointing=True)
    first.fit(Module(), *data())
    path = first.checkpoint_callback.best_model_path
    rows = []
    look = ClosureHook('before_train_iter', lambda e: rows.append((e.epoch, e.iter, e.start_iter)))
    again = Counting()
    second = trainer(tmp_path, as_callback(again), as_callback(look), max_epochs=3)
    second.fit(Module(), *data(), ckpt_path=path)
    assert rows == [(2, 6, 6), (2, 7, 6), (2, 8, 6)]
    saved = torch.load(path, weights_only=True)['callbacks']['nncore_compat.Counting']
    assert (saved, again.count) == ({'count': 6}, 9)


def test_samplers_of_the_loader_are_reached(tmp_path):
    class Sampler(torch.utils.data.SequentialSampler):
        epochs = []

        def set_epoch(self, epoch):
            self.epochs.append(epoch)

    points = Points()
    loader = DataLoader(points, 4, sampler=Sampler(points))
    hooks = ['SamplerSeedHook', {'type': 'EmptyCacheHook', 'names': ['after_epoch']}]
    trainer(tmp_path, *map(as_callback, hooks), limit_train_batches=2).fit(Module(), loader)
    # Lightning does it too.
    assert Sampler.epochs == [0, 0, 1, 1]


def test_within_an_engine_the_hook_is_the_engines(tmp_path):
    calls = []

    def look(e):
        calls.append((type(e).__name__, e.epoch, list(e.hooks)[-1]))

    one = engine(tmp_path, stages=stage(epochs=2), hooks=[ClosureHook('before_launch', print)])
    callback = as_callback(Log([], 'mine'))
    callback.hook.after_train_epoch = look
    callback.setup(None, one_module(one), 'fit')
    one.launch()
    callback.teardown(None, one_module(one), 'fit')
    assert calls == [('Engine', 0, 'mine'), ('Engine', 1, 'mine')]
    assert 'mine' not in one.hooks


def one_module(one):
    from nncore_compat._lightning.module import StagesModule

    return one.lightning_module or StagesModule(one)


@pytest.mark.parametrize(
    'hook, words',
    [
        ('OptimizerHook', 'gradient_clip_val'),
        ('LrUpdaterHook', 'configure_optimizers'),
        ('PreciseBNHook', 'update_bn'),
        ({'type': 'EvalHook', 'run_test': True}, 'run_test'),
        ('TimeHook', "did you mean 'TimerHook'"),
    ],
)
def test_refused(hook, words):
    with pytest.raises(ValueError, match=words):
        as_callback(hook)


def test_no_hook_is_refused():
    with pytest.raises(TypeError, match='must be a Hook'):
        as_callback(Callback())


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield copy.copy(Points()[0])


def test_refused_by_the_trainers_settings(tmp_path):
    hook = as_callback('TimerHook')
    with pytest.raises(ValueError, match=r'max_epochs=-1.*give max_epochs'):
        trainer(tmp_path, hook, max_epochs=-1).fit(Module(), *data())
    with pytest.raises(ValueError, match='limit_train_batches'):
        trainer(tmp_path, hook).fit(Module(), DataLoader(Endless(), 4))
    # A failed fit leaves nothing behind, and a limit is all it takes.
    trainer(tmp_path, hook, limit_train_batches=2).fit(Module(), DataLoader(Endless(), 4))


def test_what_is_not_there_is_named(tmp_path):
    def ask(e):
        with pytest.raises(AttributeError, match=r'no engine\.launch here.*engine\.trainer'):
            e.launch()
        assert e.get_amp_type() is None and e.kwargs == {} and e.trainer.max_epochs == 2
        with pytest.raises(AttributeError):
            e.epoch = 3

    trainer(tmp_path, as_callback(ClosureHook('before_train_epoch', ask))).fit(Module(), *data())


def test_several_loaders_of_the_validation(tmp_path):
    train, val = data()
    lengths = []
    hook = ClosureHook('after_val_epoch', lambda e: lengths.append(len(e.data_loader)))
    trainer(tmp_path, as_callback('TimerHook'), as_callback(hook)).fit(
        Two := type(
            'Two', (Module,), {'validation_step': lambda self, b, i, dataloader_idx: None}
        )(),
        train,
        [val, val],
    )
    assert lengths == [4, 4]
    with pytest.raises(AttributeError, match='has 2 loaders'):
        trainer(tmp_path, as_callback('EvalHook')).fit(Two, train, [val, val])


def test_own_hook_of_the_checkpoint_class(tmp_path):
    class Mine(CheckpointHook):
        pass

    trainer(tmp_path, as_callback(Mine(interval=2))).fit(Module(), *data())
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['epoch_2.pth']
