"""What Lightning sees of a run, and what a run leaves of Lightning."""

import gc
import logging
import signal
import warnings
import weakref

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from tiny import Net, Points, engine, stage
from torch.utils.data import DataLoader, Dataset

from nncore_compat import Engine, Hook
from nncore_compat._lightning.loader import LoaderView
from nncore_compat.hooks.base import HOOK_NAMES

ADAM = {'type': 'Adam', 'lr': 0.01}


class Spy(Callback):
    """A Lightning callback that writes down its events."""

    def __init__(self, calls):
        self.calls = calls

    def __getattribute__(self, name):
        if name.startswith(('on_train', 'on_val', 'on_before_opt', 'on_before_back', 'on_fit')):
            return lambda *args, **kwargs: self.calls.append(name)
        return super().__getattribute__(name)


class Calls(Hook):
    """A hook that writes down its events."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls


for _name in HOOK_NAMES:
    setattr(Calls, _name, lambda self, engine, _name=_name: self.calls.append(_name))


def spied(one, callback):
    """Launch an engine with a Lightning callback in its Trainer; return the Trainer."""
    one.trainer.callbacks.append(callback)
    one.launch()
    return one.trainer


def test_order_of_events_of_both_sides(tmp_path):
    calls = []
    one = engine(
        tmp_path,
        stages=[stage(validation={'interval': 1}), stage(optimizer=ADAM)],
        data_loaders={
            'train': DataLoader(Points(8), 4),
            'val': DataLoader(Points(4), 4),
        },
        hooks=[Calls(calls)],
    )
    one.register_hook(one.hooks['Calls'], before='TimerHook')
    spied(one, Spy(calls))
    iteration = [
        'before_train_iter',
        'on_train_batch_start',
        'after_train_iter',
        'on_before_backward',
        'on_before_optimizer_step',
        'on_train_batch_end',
    ]
    validation = [
        'before_val_epoch',
        'on_validation_start',
        'on_validation_epoch_start',
        'before_val_iter',
        'on_validation_batch_start',
        'after_val_iter',
        'on_validation_batch_end',
        'after_val_epoch',
        'on_validation_epoch_end',
        'on_validation_end',
    ]
    assert calls == [
        'on_fit_start',
        'before_launch',
        'on_train_start',
        'before_stage',
        'before_train_epoch',
        'on_train_epoch_start',
        *iteration * 2,
        'after_train_epoch',
        *validation,
        'on_train_epoch_end',
        'after_stage',
        'before_stage',
        'before_train_epoch',
        'on_train_epoch_start',
        *iteration * 2,
        'after_train_epoch',
        'on_train_epoch_end',
        'after_stage',
        'after_launch',
        'on_train_end',
        'on_fit_end',
    ]


def test_progress_that_lightning_reports(tmp_path):
    seen = []

    class Progress(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            seen.append((trainer.current_epoch, batch_idx, trainer.global_step))

    one = engine(
        tmp_path,
        stages=[stage(epochs=2), stage(optimizer=ADAM)],
        hooks=[{'type': 'OptimizerHook', 'interval': 2}],
    )
    trainer = spied(one, Progress())
    # 10 points in batches of 4 are 3 iterations; a window of 2 steps after the 2nd and the 3rd.
    assert seen == [(e, i, 2 * e + (0, 1, 2)[i]) for e in range(3) for i in range(3)]
    assert (trainer.current_epoch, trainer.max_epochs, trainer.num_training_batches) == (3, 3, 3)
    assert isinstance(trainer.optimizers[0], torch.optim.Adam)
    assert trainer.optimizers[0] is one.optimizer


def test_resumed_progress(tmp_path):
    engine(tmp_path, stages=stage(epochs=3)).launch()
    seen = []

    class Progress(Callback):
        def on_train_epoch_start(self, trainer, module):
            seen.append((trainer.current_epoch, trainer.global_step))

    again = engine(tmp_path, stages=stage(epochs=3))
    again.resume(str(tmp_path / 'epoch_2.pth'))
    trainer = spied(again, Progress())
    assert seen == [(2, 6)]
    assert (trainer.current_epoch, trainer.global_step, again.iter) == (3, 9, 9)


def test_same_weights_as_a_plain_loop(tmp_path):
    model, plain = Net(), Net()
    engine(tmp_path, model, stages=[stage(epochs=2), stage(optimizer=ADAM)]).launch()

    loader = DataLoader(Points(), 4)
    for epochs, cls, lr in ((2, torch.optim.SGD, 0.1), (1, torch.optim.Adam, 0.01)):
        optimizer = cls(plain.parameters(), lr=lr)
        for _ in range(epochs):
            for batch in loader:
                optimizer.zero_grad()
                plain(batch, mode='train')['loss'].backward()
                optimizer.step()
    assert all(
        torch.equal(*pair) for pair in zip(model.parameters(), plain.parameters(), strict=True)
    )


def test_stopping_early_ends_the_stage_and_the_run(tmp_path):
    calls = []

    class Stop(Callback):
        def on_train_epoch_end(self, trainer, module):
            trainer.should_stop = True

    spied(engine(tmp_path, stages=[stage(epochs=3), stage()], hooks=[Calls(calls)]), Stop())
    assert calls.count('before_train_epoch') == 1
    assert calls[-3:] == ['after_train_epoch', 'after_stage', 'after_launch']


def test_levels_filters_handlers_and_grad_mode_are_put_back(tmp_path):
    def state():
        loggers = [
            logging.getLogger(n) for n in ('lightning', 'lightning.pytorch', 'lightning.fabric')
        ]
        return (
            [logger.level for logger in loggers],
            list(warnings.filters),
            signal.getsignal(signal.SIGINT),
            signal.getsignal(signal.SIGTERM),
            torch.is_grad_enabled(),
        )

    before = state()
    one = engine(tmp_path)
    one.launch()
    assert state() == before
    one.launch(eval=True)
    assert state() == before


def test_a_filter_that_a_hook_sets_stays(tmp_path):
    class Sets(Hook):
        def before_launch(self, engine):
            warnings.filterwarnings('ignore', message='set by a hook')

    with warnings.catch_warnings():
        before = list(warnings.filters)
        engine(tmp_path, hooks=[Sets()]).launch()
        added = [entry for entry in warnings.filters if entry not in before]
        assert [entry[1].pattern for entry in added] == ['set by a hook']


def test_lightning_is_not_heard(tmp_path, caplog, capfd):
    one = engine(tmp_path, stages=stage(validation={'interval': 1}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        one.launch()
        one.launch(eval=True)
    assert [str(w.message) for w in caught if 'lightning' in str(w.filename)] == []
    heard = capfd.readouterr()
    # Of ours there is one line.
    assert heard.err.splitlines() == [
        'nncore_compat: Quirks of nncore 0.4.7 that would have changed this run: none'
    ]
    for word in ('GPU', 'TPU', 'Trainer', 'LightningModule'):
        assert word not in heard.out
    assert [r for r in caplog.records if r.name.startswith('lightning')] == []


def test_a_batch_system_around_a_single_process(tmp_path, monkeypatch):
    for name, value in (
        ('SLURM_NTASKS', '4'),
        ('SLURM_JOB_NAME', 'train'),
        ('SLURM_JOB_ID', '1'),
        ('SLURM_PROCID', '0'),
        ('SLURM_LOCALID', '0'),
        ('SLURM_NODEID', '0'),
    ):
        monkeypatch.setenv(name, value)
    one = engine(tmp_path)
    one.launch()
    assert (one.iter, one.trainer.world_size) == (3, 1)


def test_evaluation_after_training(tmp_path):
    one = engine(tmp_path, stages=[stage(validation={'interval': 1, 'extra': 7}), stage()])
    one.launch()
    metrics = one.launch(eval='both')
    assert set(metrics) == {'val', 'test'}
    assert isinstance(one.trainer, Trainer)
    assert 0 <= metrics['val']['acc'] <= 1


class Liar(DataLoader):
    """A loader whose length is not the number of its batches."""

    def __init__(self, dataset, length):
        super().__init__(dataset, 2)
        self.length = length

    def __len__(self):
        return self.length


@pytest.mark.parametrize('length', [3, 5, 7])
def test_loader_with_a_wrong_length_runs_all_its_batches(tmp_path, length):
    calls = []
    one = engine(
        tmp_path,
        data_loaders={'train': Liar(Points(10), length), 'val': Liar(Points(10), length)},
        stages=stage(epochs=2, validation={'interval': 1}),
        hooks=[Calls(calls)],
    )
    one.launch()
    epoch = [
        'before_train_epoch',
        *['before_train_iter', 'after_train_iter'] * 5,
        'after_train_epoch',
        'before_val_epoch',
        *['before_val_iter', 'after_val_iter'] * 5,
        'after_val_epoch',
    ]
    assert calls == ['before_launch', 'before_stage', *epoch * 2, 'after_stage', 'after_launch']


def test_empty_validation(tmp_path):
    calls = []
    one = engine(
        tmp_path,
        data_loaders={'train': DataLoader(Points(4), 4), 'val': DataLoader(Points(0), 4)},
        stages=stage(validation={'interval': 1}),
        hooks=[Calls(calls)],
    )
    one.unregister_hook(['EvalHook', 'EventWriterHook'])
    one.launch()
    start = calls.index('before_val_epoch')
    assert calls[start:] == ['before_val_epoch', 'after_val_epoch', 'after_stage', 'after_launch']


def test_view_asks_for_batches_when_they_are_wanted():
    asked = []

    class Numbers(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            asked.append((index, torch.is_grad_enabled()))
            return index

    view = LoaderView(lambda: DataLoader(Numbers()))
    iter(view)
    batches = iter(view)
    state = torch.get_rng_state()
    assert asked == []
    with torch.no_grad():
        next(batches)
        assert asked == [(0, True)]
        assert not torch.is_grad_enabled()
    assert not torch.equal(torch.get_rng_state(), state), 'a loader draws its seed at the start'
    next(batches)
    assert [batch.item() for batch in view.rest()] == [2]
    assert not hasattr(view, 'sampler') and not hasattr(view, 'batch_sampler')


def test_hooks_and_datasets_see_gradients_enabled_in_validation(tmp_path):
    seen = {}

    class Modes(Hook):
        def before_val_epoch(self, engine):
            seen['epoch'] = torch.is_grad_enabled()

        def after_val_iter(self, engine):
            seen['iter'] = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    class Watched(Net):
        def forward(self, data, mode):
            seen[mode] = torch.is_grad_enabled()
            return super().forward(data, mode)

    engine(tmp_path, Watched(), stages=stage(validation={'interval': 1}), hooks=[Modes()]).launch()
    assert seen == {'epoch': True, 'iter': (True, False), 'train': True, 'val': False}


def test_overridden_validation(tmp_path):
    class Mine(Engine):
        epochs = 0

        def val_epoch(self):
            self.epochs += 1
            super().val_epoch()

    one = engine(tmp_path, cls=Mine, stages=stage(epochs=2, validation={'interval': 1}))
    one.launch()
    assert one.epochs == 2


def test_batches_of_a_bare_model_are_what_the_loader_made(tmp_path):
    class Box:
        def __init__(self, samples):
            self.x = torch.stack([s['x'] for s in samples])
            self.y = torch.stack([s['y'] for s in samples])

        def __getitem__(self, key):
            return getattr(self, key)

        def to(self, *args, **kwargs):
            raise AssertionError('moved')

    engine(tmp_path, data_loaders={'train': DataLoader(Points(), 4, collate_fn=Box)}).launch()


def test_optimizer_put_in_place_by_a_hook(tmp_path):
    class Swap(Hook):
        def before_stage(self, engine):
            engine.optimizer = torch.optim.SGD(engine.model.parameters(), lr=0.0)

    model = Net()
    start = model.fc.weight.clone()
    one = engine(tmp_path, model)
    one.register_hook(Swap(), before='LrUpdaterHook')
    one.launch()
    assert torch.equal(model.fc.weight, start)
    assert one.trainer.global_step == 3


def test_stages_that_change_after_the_engine_is_made(tmp_path):
    epochs = []

    class Shortens(Hook):
        def before_stage(self, engine):
            engine.cur_stage['epochs'] = 2
            if engine.stage == 0:
                engine.stages[1]['epochs'] = 3

        def before_train_epoch(self, engine):
            epochs.append((engine.stage, engine.epoch))

    one = engine(tmp_path, stages=[stage(epochs=4), stage(epochs=4)], hooks=[Shortens()])
    one.launch()
    assert epochs == [(0, 0), (0, 1), (1, 2), (1, 3)]
    assert one.stage == 2


def test_resuming_in_a_hook(tmp_path):
    engine(tmp_path, stages=stage(epochs=3)).launch()
    epochs = []

    class Resumes(Hook):
        def before_launch(self, engine):
            engine.resume(str(tmp_path / 'epoch_2.pth'))

        def before_train_epoch(self, engine):
            epochs.append((engine.epoch, engine.trainer.current_epoch))

    engine(tmp_path, stages=stage(epochs=3), hooks=[Resumes()]).launch()
    # Hooks are told of the epoch that ended with the checkpoint: its end is still to come.
    assert epochs == [(1, 1), (2, 2)]


def test_batches_that_are_none_reach_the_model(tmp_path):
    batches = [{'x': torch.ones(2, 2), 'y': torch.tensor([0, 1])}, None]
    seen = []

    class Fills(Net):
        def forward(self, data, mode):
            seen.append((mode, data is None))
            return super().forward(data or batches[0], mode)

    loader = DataLoader(batches, None)
    one = engine(
        tmp_path,
        Fills(),
        data_loaders={'train': loader, 'val': loader},
        stages=stage(validation={'interval': 1}),
    )
    one.launch()
    assert seen == [(mode, none) for mode in ('train', 'val') for none in (False, True)]


def test_an_optimizer_that_only_looks_like_one(tmp_path):
    class Wrapper:
        def __init__(self, optimizer):
            self.optimizer = optimizer
            self.param_groups = optimizer.param_groups

        def __getattr__(self, name):
            if name in ('step', 'zero_grad', 'state_dict'):
                return getattr(self.optimizer, name)
            raise AttributeError(name)

    model, plain = Net(), Net()
    wrapper = Wrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    engine(tmp_path, model, stages=stage(optimizer=wrapper)).launch()
    engine(tmp_path, plain).launch()
    assert torch.equal(model.fc.weight, plain.fc.weight)


def test_a_loader_put_in_place_by_a_hook(tmp_path):
    calls = []

    class Swaps(Hook):
        def before_train_epoch(self, engine):
            engine.data_loader = DataLoader(Points(2), 1)

        def before_val_epoch(self, engine):
            engine.data_loader = DataLoader(Points(5), 1)

    one = engine(tmp_path, stages=stage(validation={'interval': 1}), hooks=[Swaps(), Calls(calls)])
    one.register_hook(['EvalHook'])
    one.unregister_hook('EvalHook')
    one.launch()
    assert calls.count('after_train_iter') == 2
    assert calls.count('after_val_iter') == 5


def test_grad_mode_of_the_launch(tmp_path):
    seen = []

    class Watched(Points):
        def __getitem__(self, index):
            seen.append(torch.is_grad_enabled())
            return super().__getitem__(index)

    one = engine(tmp_path, data_loaders={'test': DataLoader(Watched(2), 1)})
    with torch.no_grad():
        one.launch(eval='test')
    one.launch(eval='test')
    assert seen == [False, False, True, True]


def test_a_patched_class_is_called(tmp_path, monkeypatch):
    calls = []
    original = Engine.train_iter

    def patched(self, data):
        calls.append(self.iter)
        original(self, data)

    monkeypatch.setattr(Engine, 'train_iter', patched)
    engine(tmp_path).launch()
    assert calls == [0, 1, 2]


def test_workers_end_when_a_hook_raises(tmp_path):
    import multiprocessing

    class Raises(Hook):
        def before_train_iter(self, engine):
            raise RuntimeError('enough')

    loader = DataLoader(Points(), 4, num_workers=1)
    one = engine(tmp_path, data_loaders={'train': loader}, hooks=[Raises()])
    with pytest.raises(RuntimeError, match='enough'):
        one.launch()
    assert multiprocessing.active_children() == []


def test_workers_end_when_the_model_raises_in_evaluation(tmp_path):
    import multiprocessing

    class Raises(Net):
        def forward(self, data, mode):
            raise RuntimeError('enough')

    loader = DataLoader(Points(), 4, num_workers=1)
    one = engine(tmp_path, Raises(), data_loaders={'test': loader})
    with pytest.raises(RuntimeError, match='enough'):
        one.launch(eval='test')
    assert multiprocessing.active_children() == []


class Deaf(Callback):
    """A callback that does nothing."""


@pytest.mark.parametrize('hooks', [[], [Deaf()]], ids=['hooks', 'callbacks'])
def test_a_finished_engine_is_gone_as_soon_as_nobody_holds_it(tmp_path, hooks):
    """Without the garbage collector, which ends persistent workers after five seconds each."""
    gc.collect()
    gc.disable()
    try:
        data = {
            split: DataLoader(Points(), 4, num_workers=1, persistent_workers=True)
            for split in ('train', 'val')
        }
        one = engine(tmp_path, stages=stage(validation={'interval': 1}), data_loaders=data)
        one.register_hook(list(hooks))
        one.launch()
        one.launch(eval='val')
        things = (one, one.model, one.optimizer, data['train'], data['train']._iterator)
        left = [weakref.ref(thing) for thing in things]
        del one, data, things
        assert [ref() for ref in left] == [None] * 5
    finally:
        gc.enable()


def test_the_module_keeps_its_engine_until_it_is_launched(tmp_path):
    module = engine(tmp_path, stages=stage(epochs=2)).lightning_module
    gc.collect()
    trainer = Trainer(accelerator='cpu', logger=False, enable_checkpointing=False)
    trainer.fit(module)
    assert trainer.current_epoch == 2
