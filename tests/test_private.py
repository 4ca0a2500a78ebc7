"""The private names of Lightning are there, in the installed version."""

import inspect
import threading

from lightning.pytorch import Trainer
from lightning.pytorch.loops import _EvaluationLoop
from lightning.pytorch.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from lightning.pytorch.trainer import call
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from rich.progress import Progress
from tiny import engine

from nncore_compat._lightning import lean, private


def test_names(tmp_path):
    one = engine(tmp_path)
    one.launch()
    loop = one.trainer.fit_loop
    assert '_run' in vars(Trainer)
    assert list(inspect.signature(Precision._after_closure).parameters) == [
        'self',
        'model',
        'optimizer',
    ]
    for holder, name in (
        (one.trainer, '_signal_connector'),
        (one.trainer, '_default_root_dir'),
        (loop, 'max_batches'),
        (loop, '_combined_loader'),
        (loop, '_data_fetcher'),
        (loop.epoch_loop, '_batches_that_stepped'),
        (loop.epoch_loop.val_loop, '_max_batches'),
        (loop.epoch_loop.val_loop, '_combined_loader'),
        (one.trainer, '_logger_connector'),
    ):
        assert name in vars(holder), name
    assert isinstance(type(loop)._can_stop_early, property)
    assert '_setup_model' in vars(DDPStrategy)
    assert {'_data_parallel_size', '_save_distributed_checkpoint'} <= set(
        vars(ModelParallelStrategy())
    )
    # What is called on them is public, on private objects.
    assert callable(loop.epoch_loop.val_loop.run)
    assert one.trainer._logger_connector.should_update_logs in (True, False)
    assert callable(one.trainer._logger_connector.configure_logger)
    assert 'optimizer' in inspect.getsource(loop.epoch_loop.manual_optimization.on_run_start)


def test_start_at(tmp_path):
    one = engine(tmp_path)
    one.launch()
    private.start_at(one.trainer, epoch=5, iteration=70, steps=35)
    assert one.trainer.current_epoch == 5
    assert one.trainer.global_step == 35
    assert one.trainer.fit_loop.total_batch_idx == 69


def test_go_to(tmp_path):
    one = engine(tmp_path)
    one.launch()
    loop = one.trainer.fit_loop
    loop.setup_data()
    loop._data_fetcher = _PrefetchDataFetcher()
    private.go_to(one.trainer, 2)
    assert loop.epoch_loop.batch_idx == 1 and private.batches_processed(one.trainer) == 2
    assert 'fetched >= self.length' in inspect.getsource(_DataFetcher.__next__)


def test_what_the_trainer_avoids_is_still_there():
    assert callable(_SignalConnector.register_signal_handlers)

    source = inspect.getsource(call._call_and_handle_interrupt)
    assert 'sys.exit' in source or 'exit(1)' in source, 'no longer needed: UninterruptedTrainer'


def test_what_the_lean_loops_use(tmp_path):
    one = engine(tmp_path)
    one.launch()
    loop = one.trainer.fit_loop.epoch_loop
    assert '_current_fx_name' in vars(one.lightning_module)
    assert {'_first_loop_iter'} <= vars(one.trainer._logger_connector).keys()
    assert {'_results', '_batches_that_stepped'} <= vars(loop).keys()
    used = {'_results', '_has_run', '_data_fetcher', '_seen_batches_per_dataloader'}
    assert used <= vars(loop.val_loop).keys()
    for kind, names in (
        (_TrainingEpochLoop, ('run', 'reset', 'on_run_start', 'on_advance_end', 'done')),
        (_EvaluationLoop, ('setup_data', 'skip', '_store_dataloader_outputs', 'on_run_end')),
    ):
        assert set(names) <= vars(kind).keys()
    assert {'ready', 'started', 'processed', 'completed'} <= vars(loop.batch_progress.total).keys()
    assert {'batch', 'batch_size', 'dataloader_idx'} <= vars(loop._results).keys()


def test_the_installed_version_has_the_lean_loops(tmp_path):
    assert lean.obstacle(engine(tmp_path).trainer) is None


def test_what_rich_draws_under():
    with Progress(refresh_per_second=100) as progress, private.drawing(progress):
        drawn = threading.Event()
        progress.live.get_renderable = lambda: drawn.set() or ''
        assert not drawn.wait(0.1)
    assert drawn.is_set()
