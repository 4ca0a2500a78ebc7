"""What callbacks need of a run, and which ones cannot work in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, Trainer, callbacks
from lightning.pytorch.callbacks import Checkpoint, ProgressBar

from . import private

if TYPE_CHECKING:
    from ..engine import Engine

# Why a callback cannot work, and what to use in its place. Subclasses share the fate.
UNSUPPORTED = {
    'StochasticWeightAveraging': (
        'it sets learning rates of its own and adds an epoch, both of which are the '
        "stages' business here: use EMAWeightAveraging or WeightAveraging"
    ),
    'GradientAccumulationScheduler': (
        'it needs automatic optimization, while here OptimizerHook accumulates: use '
        'OptimizerHook(interval=...)'
    ),
    'LearningRateFinder': (
        'it runs its own trial training with automatic optimization: set lr in the '
        "stage's optimizer, and lr_schedule and warmup in the stage"
    ),
    'BatchSizeFinder': (
        'it runs its own trial training with automatic optimization: set batch_size in the loader'
    ),
    'OnExceptionCheckpoint': (
        'the next fit would load its file without a word to the engine: CheckpointHook saves every '
        'epoch, and engine.resume goes on from there'
    ),
    'BasePredictionWriter': (
        "the engine never predicts: return '_out' from the model and take it in "
        'dataset.evaluate, or write in a hook after_val_iter'
    ),
}
# They write to loggers and to nothing else.
LOGGING = ('LearningRateMonitor', 'DeviceStatsMonitor', 'ThroughputMonitor')
# What the user may have switched off.
SWITCHES = {Checkpoint: 'enable_checkpointing', ProgressBar: 'enable_progress_bar'}


def refuse_unsupported(callback: Callback, hooks: Mapping[str, Any]) -> None:
    """Refuse a callback that cannot work, whatever the settings.

    Args:
        callback: The callback.
        hooks: The list that it is to join.

    Raises:
        ValueError: It cannot; the message has the reason and what to do.
    """
    for name, reason in UNSUPPORTED.items():
        if is_a(callback, name):
            raise ValueError(f'{_describe(callback, name)} cannot be used: {reason}')
    bars = [one for one in hooks.values() if isinstance(one, ProgressBar) and one is not callback]
    if isinstance(callback, ProgressBar) and any(type(b) is not type(callback) for b in bars):
        raise ValueError(
            f'{type(callback).__name__} cannot be used beside {type(bars[0]).__name__}: a Trainer '
            'has one progress bar, unregister the other one first'
        )


def refuse_switched_off(callback: Callback, settings: Mapping[str, Any]) -> None:
    """Refuse a callback that needs what the user has switched off.

    Args:
        callback: The callback.
        settings: The user's arguments of the Trainer.

    Raises:
        ValueError: It needs something that is off.
    """
    name = type(callback).__name__
    if needs_logger(callback) and 'logger' in settings and not settings['logger']:
        raise ValueError(
            f'{name} needs a logger, but trainer has logger={settings["logger"]!r}: leave it out '
            'for a default one, or give a logger'
        )
    for kind, setting in SWITCHES.items():
        if isinstance(callback, kind) and settings.get(setting) is False:
            raise ValueError(f'{name} cannot be used: trainer has {setting}=False')


def needs_logger(callback: Callback) -> bool:
    """Tell whether a callback is of no use without a logger."""
    return any(is_a(callback, name) for name in LOGGING)


def give_logger(trainer: Trainer, joined: Iterable[Callback]) -> None:
    """Give the Trainer Lightning's default logger, if callbacks need one and there is none."""
    if not trainer.loggers and any(needs_logger(callback) for callback in joined):
        private.use_default_logger(trainer)


def refuse_unseen_monitor(callback: Callback, engine: Engine) -> None:
    """Refuse to monitor a result of validation in a run that never validates.

    Args:
        callback: The callback.
        engine: The engine.

    Raises:
        ValueError: It would wait for ever.
    """
    key = getattr(callback, 'monitor', None)
    if not isinstance(key, str) or not key.startswith('val_') or validates(engine):
        return
    if getattr(callback, 'strict', True):
        raise ValueError(
            f'{type(callback).__name__} monitors {key!r}, but no stage validates: '
            'add validation=dict(interval=1) to the stages'
            + ('' if 'val' in engine.data_loaders else " and a loader 'val'")
            + ', or monitor an average of training such as train_loss'
        )


def refuse_missing_monitor(trainer: Trainer) -> None:
    """Refuse to go on when a checkpoint's key is not there, in a run that does not validate.

    Raises:
        KeyError: It is not; the message has the keys there are.
    """
    metrics = trainer.callback_metrics
    for callback in trainer.checkpoint_callbacks:
        key, every = getattr(callback, 'monitor', None), getattr(callback, 'every_n_epochs', 1)
        known = key is None or key in (*metrics, 'epoch', 'step')
        if not known and every and (trainer.current_epoch + 1) % every == 0:
            raise KeyError(
                f'{type(callback).__name__} monitors {key!r}, which is not there after epoch '
                f'{trainer.current_epoch + 1}; the metrics are {", ".join(map(repr, metrics))}'
            )


def validates(engine: Engine) -> bool:
    """Tell whether any stage that is still to run validates."""
    return 'val' in engine.data_loaders and any(
        (stage.get('validation') or {}).get('interval', 0) > 0
        for stage in engine.stages[engine.stage :]
    )


def is_a(callback: Callback, name: str) -> bool:
    """Tell whether a callback is of a class of Lightning that not every version has."""
    cls = getattr(callbacks, name, None)
    return cls is not None and isinstance(callback, cls)


def _describe(callback: Callback, base: str) -> str:
    name = type(callback).__name__
    return name if name == base else f'{name} (a {base})'
