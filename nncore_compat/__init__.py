"""The API of ``nncore.engine`` on a Lightning Trainer."""

from . import quirks
from ._alias import install
from .buffer import Buffer
from .builder import HOOKS, build_dataloader, build_hook
from .comm import (
    all_gather,
    broadcast,
    gather,
    get_dist_info,
    get_launcher,
    get_rank,
    get_world_size,
    init_dist,
    is_distributed,
    is_elastic,
    is_main_process,
    is_slurm,
    main_only,
    sync,
)
from .engine import Engine
from .hooks import (
    CheckpointHook,
    ClosureHook,
    CommandLineWriter,
    EmptyCacheHook,
    EvalHook,
    EventWriterHook,
    Hook,
    JSONWriter,
    LrUpdaterHook,
    OptimizerHook,
    PreciseBNHook,
    SamplerSeedHook,
    TensorboardWriter,
    TimerHook,
    WandbWriter,
)
from .utils import (
    generate_random_seed,
    get_checkpoint,
    load_checkpoint,
    save_checkpoint,
    set_random_seed,
)

__version__ = '0.1.0'

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
    'install',
    'quirks',
    '__version__',
]
