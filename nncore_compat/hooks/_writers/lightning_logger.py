"""Any of Lightning's loggers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...comm import main_only
from .base import WRITERS, Writer
from .meta import hyperparameters
from .metrics import progress, scalars
from .trouble import of_disk_or_service

if TYPE_CHECKING:
    from ...engine import Engine

_METHODS = ('log_metrics', 'log_hyperparams', 'save', 'finalize')


@WRITERS.register()
class LightningLoggerWriter(Writer):
    """Writes to one of Lightning's loggers: CSV, MLflow, Comet and so on, or one of your own.

    Values have the names and steps that they have in TensorBoard, `loss/train` and the number of
    the iteration; `epoch`, and in training `lr`, `time` and `data_time`, are beside them.
    Hyperparameters are the entries of the engine's `meta`, and `stages`.

    Args:
        logger: A logger, its config, or its name: `CSVLogger` or `csv`, and so on, of
            `lightning.pytorch.loggers`. Where a config or a name leaves the folder open, it is the
            engine's `work_dir`, and a run that is taken up (`--resume auto`) goes on with the
            version that it had. An object is used as it is.

    Raises:
        TypeError: It is none of these.

    Examples:
        >>> writers = [{'type': 'LightningLoggerWriter', 'logger': 'csv'}]
        >>> engine.register_hook(EventWriterHook(writers=writers))
        >>> engine.launch()
    """

    def __init__(self, logger: Any) -> None:
        missing = [name for name in _METHODS if not callable(getattr(logger, name, None))]
        if not isinstance(logger, (str, dict)) and missing:
            raise TypeError(
                'LightningLoggerWriter.logger must be a Lightning Logger, a dict or a str, '
                f'but got {logger!r}, which has no {missing[0]}'
            )
        self.logger: Any = logger
        # Makes a logger of a config, where one that goes on has been; an engine gives it.
        self.make: Callable[[str, dict[str, Any] | None], Any] | None = None
        self._earlier: dict[str, Any] | None = None
        self._opened: Any = None
        self._rows = 0
        self._step: int | None = None

    def open(self, engine: Engine) -> None:
        """Makes the logger, and logs the hyperparameters.

        Raises:
            ImportError: The package that the logger needs is not installed.
            TypeError, ValueError: Its arguments are wrong.
        """
        self._opened = None
        if self.make is not None:
            logger = self.make(engine.work_dir, self._earlier)
        elif isinstance(self.logger, (str, dict)):
            raise TypeError(f'without an Engine, give a logger, not {self.logger!r}')
        else:
            logger = self.logger
        self._rows = self._earlier['rows'] if self._earlier else 0
        self._earlier = None
        self._opened = logger
        # Many begin here.
        _ = getattr(logger, 'experiment', None)
        try:
            logger.log_hyperparams(hyperparameters(engine))
        except Exception as error:
            if not self.survives(error):
                raise
            engine.logger.warning(
                f'{type(logger).__name__} does not take the hyperparameters: '
                f'{type(error).__name__}: {error}'
            )

    def close(self, engine: Engine) -> None:
        """Finalizes the logger, with 'failed' if an error or a signal has ended the launch."""
        if self._opened is not None:
            failed = engine.failure is not None
            self._opened.finalize('failed' if failed else 'success')

    def survives(self, error: Exception) -> bool:
        """Whether it is an error of the disk, the network, or the service behind the logger."""
        # Until there is a logger it is a matter of its arguments.
        if self._opened is None:
            return isinstance(error, OSError)
        return of_disk_or_service(error, type(self._opened).__module__.partition('.')[0])

    def position(self) -> Any:
        """Returns which version the logger writes, and how far it has come."""
        if self._opened is None:
            return None
        position = {'rows': self._rows, 'step': self._step}
        if isinstance(self.logger, (str, dict)):
            position['version'] = self._opened.version
        return position

    def go_back(self, engine: Engine, position: Any) -> None:
        """Has the same version written to."""
        self._earlier = position

    @main_only
    def write(self, engine: Engine, window_size: int) -> None:
        """Logs the values of this moment in one piece."""
        metrics = dict(_numbers(progress(engine, window_size)))
        metrics.update((f'{key}/{engine.mode}', v) for key, v in scalars(engine, window_size))
        self._step = engine.iter + 1
        self._opened.log_metrics(metrics, step=self._step)
        self._rows += 1
        # Some would keep it until there is more of it.
        self._opened.save()


def _numbers(where: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of `progress`: several learning rates are numbered, or named."""
    keys = [key for key in ('epoch', 'time', 'data_time') if key in where]
    numbers: dict[str, float] = {key: where[key] for key in keys}
    rates = where.get('lr', [])
    if not isinstance(rates, list):
        rates = [rates]
    for index, rate in enumerate(rates):
        name = f'lr_{index}' if len(rates) > 1 else 'lr'
        if isinstance(rate, dict):
            ((group, rate),) = rate.items()
            name = f'lr_{group}'
        numbers[name] = rate
    return numbers
