"""Every name of the API, imported at once; the package asks for it at the first use."""

# ruff: noqa: F401

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
    LightningLoggerWriter,
    LrUpdaterHook,
    MetricHook,
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
