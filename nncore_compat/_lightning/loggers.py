"""Lightning's loggers by name, in the engine's folder, and going on after an interruption."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import inspect
import itertools
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch import loggers

from .._build import as_list, find_known
from ..hooks import EventWriterHook
from ..hooks._writers.lightning_logger import LightningLoggerWriter
from ..hooks._writers.meta import hyperparameters

if TYPE_CHECKING:
    from ..engine import Engine

# What the classes call the run that they are to go on with, and the folder for their files.
_VERSIONS = ('version', 'run_id', 'experiment_key')
_FOLDERS = ('save_dir', 'root_dir')


def known() -> dict[str, Any]:
    """Return the loggers by name: `CSVLogger`, and `csv` for short."""
    classes = {name: getattr(loggers, name) for name in loggers.__all__ if name != 'Logger'}
    return {**{name.removesuffix('Logger').lower(): c for name, c in classes.items()}, **classes}


class Maker:
    """Makes a logger of a config, when it is known where and with which earlier run.

    Args:
        cfg: A logger, which is handed out as it is, its config or its name.
        where: The place of the config, for messages.

    Raises:
        KeyError, TypeError, ValueError: The config has no type, or names no logger.
    """

    def __init__(self, cfg: Any, where: str) -> None:
        self._made = None if isinstance(cfg, (str, dict)) else cfg
        if self._made is None:
            self._class: Any = find_known(cfg, [known()], 'logger', where)
            given = {} if isinstance(cfg, str) else cfg
            self._arguments = {key: value for key, value in given.items() if key != 'type'}
            self._accepted = inspect.signature(self._class).parameters

    def __call__(self, work_dir: str, earlier: dict[str, Any] | None = None) -> Any:
        """Make the logger.

        Args:
            work_dir: The engine's.
            earlier: What LightningLoggerWriter has noted of the run to go on with.
        """
        if self._made is not None:
            logger = self._made
        else:
            logger = self._class(**self._completed(os.path.expanduser(work_dir), earlier))
        if earlier is not None:
            _go_on(logger, earlier)
        return logger

    def _completed(self, work_dir: str, earlier: dict[str, Any] | None) -> dict[str, Any]:
        arguments = dict(self._arguments)
        if {*_FOLDERS, 'dir', 'tracking_uri'}.isdisjoint(arguments):
            arguments.update(self._place(work_dir))
        if earlier is None or not {*_VERSIONS, 'id'}.isdisjoint(arguments):
            return arguments
        for name in _VERSIONS:
            if name in self._accepted and earlier.get('version') is not None:
                arguments[name] = earlier['version']
                break
        if issubclass(self._class, loggers.TensorBoardLogger) and earlier['step'] is not None:
            # TensorBoard does not show what was written after that.
            arguments.setdefault('purge_step', earlier['step'] + 1)
        return arguments

    def _place(self, work_dir: str) -> dict[str, str]:
        if not issubclass(self._class, loggers.MLFlowLogger):
            name = next((name for name in _FOLDERS if name in self._accepted), None)
            return {} if name is None else {name: work_dir}
        if 'MLFLOW_TRACKING_URI' in os.environ:
            return {}
        folder = os.path.join(os.path.abspath(work_dir), 'mlruns')
        if importlib.util.find_spec('sqlalchemy') is None:
            return {'save_dir': folder}
        # MLflow 3 has stopped to write to folders unless it is told to.
        database = os.path.join(os.path.dirname(folder), 'mlflow.db')
        place = {'tracking_uri': f'sqlite:///{database}'}
        if 'artifact_location' not in self._arguments:
            place['artifact_location'] = folder
        return place


def prepare(hook: Any) -> None:
    """Give writers of a hook what makes their loggers.

    Args:
        hook: Any hook or callback.

    Raises:
        KeyError, TypeError, ValueError: A writer names no logger.
    """
    if isinstance(hook, EventWriterHook):
        for index, writer in enumerate(hook._writers):
            if isinstance(writer, LightningLoggerWriter):
                writer.make = Maker(writer.logger, f'EventWriterHook.writers[{index}].logger')


def of_trainer(given: Any, work_dir: str) -> Any:
    """Return the Trainer's argument `logger` with names and configs made into loggers.

    Args:
        given: A logger, its config, its name, several names with commas between them, a list of
            these, or a bool.
        work_dir: The engine's.

    Raises:
        KeyError, TypeError, ValueError: There is no such logger, or its arguments are wrong.
    """
    if isinstance(given, str):
        given = [name.strip() for name in given.split(',')]
    if given is None or isinstance(given, (bool, loggers.Logger)):
        return given
    return [Maker(one, 'trainer.logger')(work_dir) for one in as_list(given)]


def log_hyperparameters(engine: Engine, loggers: list[Any]) -> None:
    """Tell the Trainer's loggers what the engine is run with."""
    params = hyperparameters(engine) if loggers else {}
    for logger in loggers:
        logger.log_hyperparams(params)


def _go_on(logger: Any, earlier: Mapping[str, Any]) -> None:
    if isinstance(logger, loggers.CSVLogger):
        _keep_rows(logger, earlier['rows'])
    if isinstance(logger, loggers.MLFlowLogger):
        # It was ended, as failed perhaps.
        logger.experiment.update_run(logger.run_id, status='RUNNING')


def _keep_rows(logger: Any, count: int) -> None:
    """Keep the first rows of a CSV file, which its logger would remove."""
    path = os.path.join(logger.log_dir, 'metrics.csv')
    if not os.path.isfile(path):
        return
    with open(path, newline='') as file:
        reader = csv.DictReader(file)
        rows, keys = list(itertools.islice(reader, count)), list(reader.fieldnames or ())
    kept = path + '.kept'
    with open(kept, 'w', newline='') as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(rows)
    try:
        with warnings.catch_warnings():
            # Of just that.
            warnings.simplefilter('ignore')
            experiment = logger.experiment
        os.replace(kept, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(kept)
    experiment.metrics_keys = sorted(keys)
