"""Process-group queries and collectives that also work in a single process."""

import atexit
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# Asked for in every iteration, and fixed when torch was built.
_AVAILABLE = dist.is_available()

P = ParamSpec('P')
T = TypeVar('T')

_LAUNCHERS = ('torch', 'elastic', 'slurm')
_BACKENDS = ('nccl', 'gloo')
_METHODS = ('spawn', 'fork', 'forkserver')

# Set where `Engine(trainer=dict(devices=2))` runs the script again: until its Engine has made the
# process group, the script is to do in these processes what it did in the first.
STARTED_BY_ENGINE = 'NNCORE_COMPAT_STARTED_BY_ENGINE'


def _check(name: str, value: Any, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        names = ', '.join(repr(a) for a in accepted)
        raise ValueError(f'init_dist: unknown {name} {value!r}, accepted: {names}')


def _slurm_master() -> str:
    nodes = os.environ.get('SLURM_JOB_NODELIST') or os.environ.get('SLURM_NODELIST')
    if nodes is None:
        raise KeyError('init_dist: neither SLURM_JOB_NODELIST nor SLURM_NODELIST is set')
    try:
        command = ['scontrol', 'show', 'hostname', nodes]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        return found[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise RuntimeError(
            f'init_dist: scontrol found no host in node list {nodes!r} ({error}), set MASTER_ADDR'
        ) from error


def export_slurm() -> None:
    """Say in torch's environment variables what Slurm says in its own."""
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _slurm_master()
    os.environ.setdefault('MASTER_PORT', '29500')
    for name, source in (
        ('WORLD_SIZE', 'SLURM_NTASKS'),
        ('RANK', 'SLURM_PROCID'),
        ('LOCAL_RANK', 'SLURM_LOCALID'),
    ):
        os.environ[name] = os.environ[source]


def init_dist(
    launcher: str | None = None, backend: str = 'nccl', method: str = 'spawn', **kwargs: Any
) -> str | None:
    """Make the default process group from what the launcher left in the environment.

    Args:
        launcher: 'torch' (or 'elastic'), 'slurm', or None to find out.
        backend: 'nccl' or 'gloo'; without CUDA it is always gloo.
        method: Start method of child processes, set only where none is set yet.
        **kwargs: Handed to ``torch.distributed.init_process_group``.

    Returns:
        Launcher and backend, such as 'torch (gloo)'; None if there is no launcher.

    Raises:
        ValueError: For an unknown launcher, backend or start method.

    Examples:
        Under `torchrun --nproc_per_node=2 train.py` this returns 'torch (gloo)' on the CPU, and in
        a single process:

        >>> init_dist() is None
        True
    """
    if launcher is not None:
        _check('launcher', launcher, _LAUNCHERS)
    # The attributes of dist.Backend are in upper case, their values in lower case.
    backend = str(backend).lower()
    _check('backend', backend, _BACKENDS)
    _check('method', method, _METHODS)

    if STARTED_BY_ENGINE in os.environ:
        return None
    launcher = launcher or get_launcher()
    if launcher is None:
        return None

    if mp.get_start_method(allow_none=True) is None:
        mp.set_start_method(method)

    if launcher == 'slurm':
        export_slurm()

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
    else:
        backend = 'gloo'

    if 'timeout' in kwargs:
        # NCCL honours the timeout only when it waits in the calling thread.
        os.environ['TORCH_NCCL_BLOCKING_WAIT'] = '1'

    if not {'store', 'init_method'} & set(kwargs):
        kwargs = {**meet_after_restart(), **kwargs}
    dist.init_process_group(backend, **kwargs)
    atexit.register(leave)
    return f'{launcher} ({backend})'


def leave() -> None:
    """End the process group at the end of the process, which may abort otherwise.

    After an error others may never come to an end with what they share, so nobody waits for them.
    """
    if is_distributed() and not hasattr(sys, 'last_value'):
        dist.destroy_process_group()


def meet_after_restart() -> dict[str, Any]:
    """Return arguments for ``init_process_group`` where torchrun has restarted the processes.

    torchrun keeps its store over restarts (seen with torch 2.13), so that the addresses of those
    who died are still in it, and the new processes may try to reach them. They meet under a name
    of their own.
    """
    restarts = int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0))
    if restarts == 0:
        return {}
    store, rank, world_size = next(dist.rendezvous('env://'))
    store = dist.PrefixStore(f'restart_{restarts}', store)
    return {'store': store, 'rank': rank, 'world_size': world_size}


def get_launcher() -> str | None:
    """Tell which launcher started this process.

    Returns:
        'elastic' (torchrun), 'slurm', or None.

    Examples:
        >>> get_launcher() is None  # a single process
        True
    """
    if is_elastic():
        return 'elastic'
    return 'slurm' if is_slurm() else None


def is_elastic() -> bool:
    """Tell whether torchrun (or the like) started this process as one of several.

    Returns:
        True if so.

    Examples:
        >>> is_elastic()
        False
    """
    if STARTED_BY_ENGINE in os.environ and not is_distributed():
        return False
    return int(os.environ.get('WORLD_SIZE', 0)) > 1


def is_slurm() -> bool:
    """Tell whether Slurm started this process as one of several.

    Returns:
        True if so.

    Examples:
        >>> is_slurm()
        False
    """
    return int(os.environ.get('SLURM_NTASKS', 0)) > 1


def is_distributed() -> bool:
    """Tell whether a default process group exists.

    Returns:
        True after `init_dist` or a launch on several processes.

    Examples:
        >>> is_distributed()
        False
    """
    return _AVAILABLE and dist.is_initialized()


def get_rank(group: dist.ProcessGroup | None = None) -> int:
    """Return this process's rank in the group.

    Args:
        group: The process group, the default one if None.

    Returns:
        A number from 0; 0 without a process group, and -1 outside of the group.

    Examples:
        >>> get_rank()
        0
    """
    return dist.get_rank(group) if is_distributed() else 0


def get_world_size(group: dist.ProcessGroup | None = None) -> int:
    """Return the number of processes in the group.

    Args:
        group: The process group, the default one if None.

    Returns:
        The number; 1 without a process group.

    Examples:
        >>> get_world_size()
        1
    """
    return dist.get_world_size(group) if is_distributed() else 1


def get_dist_info(group: dist.ProcessGroup | None = None) -> tuple[int, int]:
    """Return rank and world size.

    Args:
        group: The process group, the default one if None.

    Returns:
        What `get_rank` and `get_world_size` return.

    Examples:
        >>> rank, world_size = get_dist_info()
        >>> rank, world_size
        (0, 1)
    """
    return get_rank(group), get_world_size(group)


def is_main_process() -> bool:
    """Tell whether this process has rank 0.

    Returns:
        True in the first process, and without a process group.

    Examples:
        >>> if is_main_process():
        ...     print('once, on any number of processes')
        once, on any number of processes
    """
    return not is_distributed() or dist.get_rank() == 0


def sync(group: dist.ProcessGroup | None = None) -> None:
    """Wait until every process of the group is here.

    Args:
        group: The process group, the default one if None.

    Examples:
        >>> sync()  # returns at once in a single process
    """
    if get_world_size(group) > 1:
        dist.barrier(group)


def broadcast(data: Any = None, src: int = 0, group: dist.ProcessGroup | None = None) -> Any:
    """Send any picklable object from one process to all.

    Args:
        data: The object; ignored everywhere but on ``src``.
        src: The global rank that sends.
        group: The process group, the default one if None.

    Returns:
        A copy of the object of ``src``, on ``src`` too.

    Examples:
        >>> broadcast({'seed': 1}, src=0)
        {'seed': 1}
    """
    if get_world_size(group) == 1:
        return data
    sending = dist.get_rank() == src
    box = [data if sending else None]
    dist.broadcast_object_list(box, src=src, group=group)
    # The sender gets a copy like all others, which it may change.
    return pickle.loads(pickle.dumps(data)) if sending else box[0]


def all_gather(data: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Collect any picklable object from every process, on every process.

    Args:
        data: This process's object.
        group: The process group, the default one if None.

    Returns:
        The objects in rank order.

    Examples:
        >>> all_gather(get_rank())  # [0, 1] on two processes
        [0]
    """
    world_size = get_world_size(group)
    if world_size == 1:
        return [data]
    gathered: list[Any] = [None] * world_size
    dist.all_gather_object(gathered, data, group=group)
    return gathered


def gather(data: Any, dst: int = 0, group: dist.ProcessGroup | None = None) -> list[Any] | None:
    """Collect any picklable object from every process, on one process.

    Args:
        data: This process's object.
        dst: The global rank that receives.
        group: The process group, the default one if None.

    Returns:
        The objects in rank order on ``dst``, None elsewhere.

    Examples:
        >>> gather(get_rank(), dst=0)
        [0]
    """
    world_size = get_world_size(group)
    if world_size == 1:
        return [data]
    gathered: list[Any] | None = [None] * world_size if dist.get_rank() == dst else None
    dist.gather_object(data, gathered, dst=dst, group=group)
    return gathered


def main_only(func: Callable[P, T]) -> Callable[P, T | None]:
    """Decorate a function to do nothing and return None outside the main process.

    Args:
        func: The function.

    Returns:
        The decorated function.

    Examples:
        >>> @main_only
        ... def report(loss):
        ...     print('loss', loss)
        >>> report(0.5)
        loss 0.5
    """

    @wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T | None:
        return func(*args, **kwargs) if is_main_process() else None

    vars(wrapper)['_main_only'] = True
    return wrapper


def is_main_only(func: Callable[..., Any]) -> bool:
    """Tell whether a function is decorated with `main_only`."""
    return getattr(func, '_main_only', False)
