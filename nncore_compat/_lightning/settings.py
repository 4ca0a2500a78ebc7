"""The Trainer's arguments: what users may say, and what the engine decides."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry, XLAAccelerator
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import (
    DeepSpeedStrategy,
    FSDPStrategy,
    SingleDeviceStrategy,
    SingleDeviceXLAStrategy,
    StrategyRegistry,
    XLAStrategy,
)

from .. import _options
from .._build import as_list
from .strategy import ReplicatedStrategy

# Any value but 1, so that monitoring callbacks wait for the validation.
NEVER = 2**31

_EPOCHS = 'the stages say how long to train: stages=[dict(epochs=...)]'
_VALIDATION = 'a stage says when to validate: validation=dict(interval=..., offset=...)'
_LOADERS = 'the loaders say how many batches there are: give shorter ones'

# What Lightning could not do in its way without undoing what the engine promises.
REFUSED = {
    'max_epochs': _EPOCHS,
    'min_epochs': _EPOCHS,
    'max_steps': _EPOCHS,
    'min_steps': _EPOCHS,
    'check_val_every_n_epoch': _VALIDATION,
    'val_check_interval': _VALIDATION,
    'num_sanity_val_steps': _VALIDATION,
    'accumulate_grad_batches': "hooks=[dict(type='OptimizerHook', interval=...)] accumulates",
    'gradient_clip_val': 'a stage clips: grad_clip=dict(max_norm=...)',
    'gradient_clip_algorithm': 'a stage clips: grad_clip=dict(max_norm=..., norm_type=...)',
    'limit_train_batches': _LOADERS,
    'limit_val_batches': _LOADERS,
    'limit_test_batches': _LOADERS,
    'limit_predict_batches': 'an engine does not predict',
    'overfit_batches': _LOADERS,
    'fast_dev_run': _LOADERS,
    'reload_dataloaders_every_n_epochs': 'a hook may replace engine.data_loaders',
    'inference_mode': 'hooks may use gradients in validation, as in nncore',
    'callbacks': 'callbacks and hooks are one list: hooks=[...]',
    'barebones': 'it would switch off the hooks',
}
# Names of strategies that work with a precision plugin of their own only begin with one of these.
BRINGING = ('deepspeed', 'fsdp', 'single_tpu', 'single_xla', 'xla')
_BUILT_IN = ('auto', 'gpu', 'cpu', 'cuda', 'mps', 'tpu')


def collect(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the Trainer's arguments that the script and the command line give; the latter wins.

    Args:
        given: ``Engine(trainer=...)``.

    Raises:
        TypeError: It is no dict.
        ValueError: An argument is unknown, or the engine's to decide.
    """
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"trainer must be a dict of the Trainer's arguments, but got {given!r}")
    asked = _options.asked()
    for source, keys in (('Engine(trainer=...)', given or {}), ('--trainer', asked)):
        for key in keys:
            check(key, source)
    return {**(given or {}), **asked}


def check(key: str, source: str) -> None:
    """Refuse an argument that the Trainer does not know, or that is the engine's.

    Args:
        key: Name of the argument.
        source: Where it comes from, for the message.
    """
    if key in REFUSED:
        raise ValueError(f'{source}: {key} has no place in an engine: {REFUSED[key]}')
    known = [name for name in inspect.signature(Trainer.__init__).parameters if name != 'self']
    if key not in known:
        near = get_close_matches(key, known, n=1)
        hint = f'; did you mean {near[0]!r}?' if near else '.'
        accepted = ', '.join(name for name in known if name not in REFUSED)
        raise ValueError(f'{source}: the Trainer has no {key!r}{hint} Accepted: {accepted}')


def names_precision(settings: Mapping[str, Any]) -> bool:
    """Tell whether the user chose Lightning's precision, in place of ``amp``."""
    named = settings.get('precision') is not None
    return named or any(isinstance(plugin, Precision) for plugin in plugins(settings))


def plugins(settings: Mapping[str, Any]) -> list[Any]:
    """Return the user's plugins as a new list."""
    return as_list(settings.get('plugins') or [])


def brings_precision(strategy: Any) -> bool:
    """Tell whether a strategy works with a precision plugin of its own only."""
    if isinstance(strategy, str):
        return strategy.startswith(BRINGING) and not strategy.startswith('fsdp2')
    return isinstance(
        strategy, (FSDPStrategy, DeepSpeedStrategy, SingleDeviceXLAStrategy, XLAStrategy)
    )


def choose_strategy(settings: Mapping[str, Any], several: bool) -> Any:
    """Return the user's strategy or, where there is none, one for one or several processes."""
    strategy = settings.get('strategy', 'auto')
    if strategy != 'auto':
        return strategy
    if several:
        return ReplicatedStrategy()
    accelerator = settings.get('accelerator', 'auto')
    if accelerator in ('auto', 'tpu') and XLAAccelerator.is_available():
        return 'single_xla'
    if isinstance(accelerator, str) and accelerator in AcceleratorRegistry:
        accelerator = None if accelerator in _BUILT_IN else AcceleratorRegistry.get(accelerator)
    if isinstance(accelerator, Accelerator):
        # Lightning would put the model of an accelerator that it does not know on the CPU.
        kind = type(accelerator)
        devices = kind.get_parallel_devices(kind.parse_devices(settings.get('devices', 1)))
        if len(devices) == 1:
            return SingleDeviceStrategy(device=devices[0])
    return 'auto'


def explained(error: Exception, settings: Mapping[str, Any]) -> Exception:
    """Return Lightning's error about a setting with what was asked for, and what there is."""
    asked = ', '.join(f'{key}={value!r}' for key, value in settings.items())
    if 'interactive environment' in str(error):
        return type(error)(
            'several processes cannot be started from a notebook by running it again '
            f"({asked}): use strategy='ddp_notebook' before anything has touched a GPU "
            '(%nncore_compat --devices 2 --strategy ddp_notebook), or run it as a script'
        )
    message = f'{error} (asked for: {asked or "nothing in particular"})'
    if 'invalid strategy' in str(error):
        message += f' Accepted: auto, {", ".join(StrategyRegistry.available_strategies())}'
    return type(error)(message)


def defaults(work_dir: str) -> dict[str, Any]:
    """Return what the engine says, where users may say otherwise if not in ``REFUSED``."""
    return {
        'accelerator': 'auto',
        'devices': 1,
        'default_root_dir': work_dir,
        'check_val_every_n_epoch': NEVER,
        'enable_checkpointing': False,
        'enable_progress_bar': False,
        'enable_model_summary': False,
        'num_sanity_val_steps': 0,
        'inference_mode': False,
        # Lightning switches it off otherwise, even if the script has switched it on.
        'detect_anomaly': torch.is_anomaly_enabled(),
    }
