"""The lean loops against Lightning's own: callbacks, loggers and checkpoints see the same."""

import logging

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.profilers import SimpleProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from tiny import Net, Points, engine, stage
from torch.utils.data import DataLoader

from nncore_compat import Hook
from nncore_compat._lightning import lean
from nncore_compat._options import LOOP

EVENTS = (
    'on_train_batch_start',
    'on_before_backward',
    'on_after_backward',
    'on_before_optimizer_step',
    'on_train_batch_end',
    'on_validation_batch_start',
    'on_validation_batch_end',
    'on_test_batch_start',
    'on_test_batch_end',
    'on_train_epoch_end',
    'on_validation_epoch_end',
)


def counts(progress):
    return [
        (part.ready, part.started, part.processed, part.completed)
        for part in (progress.total, progress.current)
    ]


class Watch(Callback):
    """Writes down what can be seen at each event, and logs."""

    def __init__(self, rows):
        self.rows = rows


class Talk(Watch):
    """The same, with values logged for loggers, progress bars and the epoch."""


def _watch(event):
    def method(self, trainer, module, *args, **kwargs):
        loop = trainer.fit_loop.epoch_loop
        self.rows.append(
            (
                event,
                module._current_fx_name,
                trainer.global_step,
                trainer.is_last_batch,
                counts(loop.batch_progress),
                counts(loop.val_loop.batch_progress),
                loop._batches_that_stepped,
                module.engine.iter,
                [sorted(arg) if isinstance(arg, dict) else type(arg).__name__ for arg in args],
            )
        )
        if isinstance(self, Talk) and 'test' not in event and 'before' not in event:
            name = f'{event}_{len(self.rows) % 3}'
            module.log(name, float(module.engine.iter), on_step='batch' in event, on_epoch=True)

    return method


for _event in EVENTS:
    setattr(Watch, _event, _watch(_event))


def in_both(monkeypatch, run):
    """Return what a function returns with either loop."""
    results = []
    for name in ('auto', 'stock'):
        monkeypatch.setenv(LOOP, name)
        results.append(run(name))
    return results


@pytest.mark.parametrize('kind', [Watch, Talk])
@pytest.mark.parametrize('logger', [False, True])
def test_what_callbacks_see(kind, logger, monkeypatch, tmp_path):
    def run(name):
        rows, folder = [], tmp_path / name
        one = engine(
            folder,
            stages=[stage(epochs=2, validation={'interval': 1}), stage()],
            hooks=[kind(rows), {'type': 'OptimizerHook', 'interval': 2}, 'ModelCheckpoint'],
            trainer={
                'logger': CSVLogger(folder, 'log', 'v') if logger else False,
                'enable_checkpointing': True,
                'log_every_n_steps': 2,
            },
        )
        loop = one.trainer.fit_loop.epoch_loop
        ran = []
        one.register_hook(Notes(lambda: ran.append((loop.lean, loop.val_loop.lean))))
        one.launch()
        one.launch(eval='test')
        assert set(ran) == ({(True, True)} if name == 'auto' else {(False, False)}), ran
        saved = torch.load(folder / 'epoch_2.pth', weights_only=True)
        metrics = (folder / 'log' / 'v' / 'metrics.csv').read_text() if logger else None
        shown = {key: value.item() for key, value in one.trainer.callback_metrics.items()}
        return rows, metrics, saved['loops'], saved['global_step'], shown

    ours, stock = in_both(monkeypatch, run)
    assert len(ours[0]) > 50
    for mine, theirs in zip(ours[0], stock[0], strict=True):
        assert mine == theirs
    assert ours[1:] == stock[1:]


class Notes(Hook):
    """Calls a function in each validation iteration."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def after_val_iter(self, engine):
        self.call()


def test_the_lean_loop_is_the_usual_one(tmp_path):
    assert loop_of(engine(tmp_path)) == 'lean'


def loop_of(one):
    """Return which loop an engine has trained in."""
    seen = set()

    class Look(Hook):
        def after_train_iter(self, engine):
            seen.add(engine.trainer.fit_loop.epoch_loop.lean)

    one.register_hook(Look())
    one.launch()
    (answer,) = seen
    return 'lean' if answer else 'stock'


class OneDevice(SingleDeviceStrategy):
    """A strategy of the user's."""


@pytest.mark.parametrize(
    'trainer',
    [
        {'profiler': SimpleProfiler()},
        {'strategy': OneDevice('cpu')},
        {'precision': 'bf16-mixed'},
        {'plugins': [Precision()]},
    ],
    ids=lambda value: next(iter(value)),
)
def test_what_needs_the_stock_loop(trainer, tmp_path):
    assert loop_of(engine(tmp_path, trainer=trainer)) == 'stock'


def test_other_versions_get_the_stock_loop(monkeypatch, tmp_path):
    monkeypatch.setattr(lean.lightning, '__version__', '2.7.0')
    assert loop_of(engine(tmp_path / 'a')) == 'stock'
    monkeypatch.setattr(lean.lightning, '__version__', '2.6.0rc1')
    assert loop_of(engine(tmp_path / 'b')) == 'stock'
    monkeypatch.setattr(lean.lightning, '__version__', '2.5.1.post0')
    assert loop_of(engine(tmp_path / 'c')) == 'lean'


def test_the_choice_is_logged(monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, 'nncore_compat')
    engine(tmp_path / 'a', stages=stage(epochs=3)).launch()
    monkeypatch.setenv(LOOP, 'stock')
    engine(tmp_path / 'b').launch()
    assert [record.message for record in caplog.records if record.name == 'nncore_compat'] == [
        'Training in the lean loop',
        'Training in the stock loop: they were asked for',
    ]


def test_an_unknown_loop_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv(LOOP, 'quick')
    with pytest.raises(ValueError, match=f"{LOOP} must be one of auto, stock, but is 'quick'"):
        engine(tmp_path)


def test_changes_while_it_runs(monkeypatch, tmp_path):
    """Hooks and callbacks that come, go, or get other methods in the middle of an epoch."""

    def run(name):
        calls = []

        class Late(Hook):
            def before_train_iter(self, engine):
                calls.append('late hook')

        class Guest(Callback):
            def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
                calls.append(f'guest {batch_idx}')

            def on_before_backward(self, trainer, module, loss):
                calls.append('backward')

        class Director(Hook):
            def before_train_iter(self, engine):
                calls.append(engine.iter)
                if engine.iter == 1:
                    engine.register_hook(Late())
                    engine.register_hook(Guest())
                if engine.iter == 3:
                    engine.hooks['Late'].before_train_iter = lambda e: calls.append('patched')
                    type(self).after_train_iter = lambda self, e: calls.append('new')
                if engine.iter == 5:
                    engine.unregister_hook('Late')
                    engine.unregister_hook('Guest')
                    engine.trainer.callbacks.append(Own())

        class Own(Callback):
            def on_train_batch_start(self, trainer, module, batch, batch_idx):
                calls.append('own')

        loaders = {'train': DataLoader(Points(16), 2)}
        one = engine(tmp_path / name, data_loaders=loaders, hooks=[Director()])
        one.stages = [stage(epochs=2)]
        one.reset_states()
        one.launch()
        return calls

    ours, stock = in_both(monkeypatch, run)
    assert {'late hook', 'guest 1', 'backward', 'patched', 'own'} <= set(map(str, ours))
    assert ours == stock
    # What a hook has defined since is heard from the next epoch on.
    assert ours.count('new') == stock.count('new') > 0


@pytest.mark.parametrize('how', ['should_stop', 'StopIteration', 'KeyError', 'KeyboardInterrupt'])
@pytest.mark.parametrize('who', ['hook', 'callback', 'model', 'data'])
def test_ends_before_its_time(how, who, monkeypatch, tmp_path):
    """A run that is stopped, or fails, in the middle of an epoch leaves the same behind."""

    def run(name):
        rows = []

        def strike(trainer):
            if how == 'should_stop':
                trainer.should_stop = True
            else:
                raise {'StopIteration': StopIteration, 'KeyError': KeyError}.get(
                    how, KeyboardInterrupt
                )('here')

        class Striking(Hook):
            def after_train_iter(self, engine):
                if who == 'hook' and engine.iter == 4:
                    strike(engine.trainer)

        class Calling(Watch):
            def on_train_batch_start(self, trainer, module, batch, batch_idx):
                if who == 'callback' and module.engine.iter == 4:
                    strike(trainer)

        class Failing(Points):
            def __getitem__(self, index):
                if who == 'data' and one.iter == 4:
                    strike(one.trainer)
                return super().__getitem__(index)

        class Model(Net):
            def forward(self, data, mode, **kwargs):
                if who == 'model' and mode == 'train' and one.iter == 4:
                    strike(one.trainer)
                return super().forward(data, mode, **kwargs)

        one = engine(
            tmp_path / name,
            model=Model(),
            stages=stage(epochs=2, validation={'interval': 1}),
            data_loaders={'train': DataLoader(Failing(), 4), 'val': DataLoader(Points(6), 4)},
            hooks=[Calling(rows), Striking()],
        )
        error = None
        try:
            one.launch()
        except BaseException as raised:
            error = type(raised).__name__, str(raised)
        files = sorted(path.name for path in (tmp_path / name).glob('*.pth'))
        return rows, error, one.iter, one.epoch, files, one.trainer.global_step

    ours, stock = in_both(monkeypatch, run)
    assert ours[1:] == stock[1:]
    assert ours[0] == stock[0]


class Wrong:
    """A loader whose length is not the number of its batches."""

    def __init__(self, length):
        self.length = length
        self.dataset = Points(8)

    def __len__(self):
        return self.length

    def __iter__(self):
        return iter(DataLoader(self.dataset, 2))


@pytest.mark.parametrize('length', [3, 6])
@pytest.mark.parametrize('callbacks', [False, True])
def test_loaders_of_another_length(length, callbacks, monkeypatch, tmp_path):
    def run(name):
        rows = []
        one = engine(
            tmp_path / name,
            stages=stage(epochs=2, validation={'interval': 1}),
            data_loaders={'train': Wrong(length), 'val': Wrong(length)},
            hooks=[Watch(rows)] if callbacks else [],
        )
        one.launch()
        weights = [param.tolist() for param in one.model.parameters()]
        return rows, one.iter, one.epoch, weights

    ours, stock = in_both(monkeypatch, run)
    assert ours == stock


def test_values_that_hooks_and_models_log(monkeypatch, tmp_path):
    """`engine.lightning_module.log`, where no callback is there."""

    def run(name):
        class Logging(Hook):
            def after_train_iter(self, engine):
                engine.lightning_module.log('twice', 2.0 * engine.iter, batch_size=1)

            def after_train_epoch(self, engine):
                seen.append(engine.trainer.callback_metrics['twice'].item())
                seen.append(engine.trainer.callback_metrics['by_model_step'].item())

        class Model(Net):
            def forward(self, data, mode, **kwargs):
                if mode == 'train':
                    module = one.lightning_module
                    module.log('by_model', one.iter, on_step=True, on_epoch=True)
                    events.add(module._current_fx_name)
                return super().forward(data, mode, **kwargs)

        seen, events = [], set()
        one = engine(tmp_path / name, Model(), stages=stage(epochs=2), hooks=[Logging()])
        one.launch()
        return seen, events

    ours, stock = in_both(monkeypatch, run)
    assert ours == stock == ([4.0, 2.0, 10.0, 5.0], {'training_step'})


def test_loggers_save_when_the_run_is_stopped(monkeypatch, tmp_path):
    def run(name):
        saves = []

        class Counting(CSVLogger):
            def save(self):
                saves.append(one.iter)
                super().save()

        class Stopping(Hook):
            def after_train_iter(self, engine):
                engine.trainer.should_stop = engine.iter == 1

        trainer = {'logger': Counting(tmp_path / name), 'log_every_n_steps': 100}
        one = engine(tmp_path / name, hooks=[Stopping()], trainer=trainer)
        one.launch()
        return saves

    ours, stock = in_both(monkeypatch, run)
    assert ours == stock and 2 in ours
