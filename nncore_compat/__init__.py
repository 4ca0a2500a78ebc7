"""The API of ``nncore.engine`` on a Lightning Trainer."""

# ruff: noqa: F403, F405

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import quirks
from ._alias import install

if TYPE_CHECKING:
    from ._api import *
    from ._lightning.foreign import as_callback

__version__ = '0.5.0'

# The order of nncore.engine's own list; what is only ours comes last.
__all__ = [  # noqa: RUF022
    'Buffer',
    'HOOKS',
    'build_dataloader',
    'build_hook',
    'all_gather',
    'broadcast',
    'gather',
    'get_dist_info',
    'get_launcher',
    'get_rank',
    'get_world_size',
    'init_dist',
    'is_distributed',
    'is_elastic',
    'is_main_process',
    'is_slurm',
    'main_only',
    'sync',
    'Engine',
    'CheckpointHook',
    'ClosureHook',
    'CommandLineWriter',
    'EmptyCacheHook',
    'EvalHook',
    'EventWriterHook',
    'Hook',
    'JSONWriter',
    'LrUpdaterHook',
    'OptimizerHook',
    'PreciseBNHook',
    'SamplerSeedHook',
    'TensorboardWriter',
    'TimerHook',
    'WandbWriter',
    'generate_random_seed',
    'get_checkpoint',
    'load_checkpoint',
    'save_checkpoint',
    'set_random_seed',
    'MetricHook',
    'LightningLoggerWriter',
    'as_callback',
    'install',
    'quirks',
    '__version__',
]

_MODULES = ('buffer', 'builder', 'comm', 'engine', 'hooks', 'utils')


# `python -m nncore_compat` imports this file before the script starts, and torch must not be
# imported by then: the script may still set variables that torch and numpy read.
def __getattr__(name: str) -> Any:
    if name not in __all__ and name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    # Nothing else with a module: modules of this package may ask for another one as they load.
    if name in _MODULES:
        return import_module(f'.{name}', __name__)
    if name == 'as_callback':
        # Not with the others: it needs Lightning at once.
        return import_module('._lightning.foreign', __name__).as_callback
    api = vars(import_module('._api', __name__))
    globals().update((known, api[known]) for known in __all__ if known in api and known[0] != '_')
    return globals()[name]


def load_ipython_extension(ipython: Any) -> None:
    """Do for a notebook what the runner does for a script: ``%load_ext nncore_compat``.

    Args:
        ipython: IPython's shell.
    """
    import_module('._notebook', __name__).load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Undo that: ``%unload_ext nncore_compat``.

    Args:
        ipython: IPython's shell.
    """
    import_module('._notebook', __name__).unload(ipython)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
