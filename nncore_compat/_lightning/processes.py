"""Which processes a run has: found in the environment, or started as the settings say."""

from __future__ import annotations

import atexit
import contextlib
import copy
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins.environments import ClusterEnvironment, LightningEnvironment
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from .. import comm
from . import private


class World(NamedTuple):
    """This process among those that a launcher, or the script itself, has started."""

    rank: int
    size: int
    local_rank: int
    local_size: int

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return self.size // self.local_size


class LaunchedEnvironment(ClusterEnvironment):
    """Tells Lightning of processes that are there already.

    Args:
        world: This process among them.
    """

    creates_processes_externally = True

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    @property
    def main_address(self) -> str:
        return os.environ.get('MASTER_ADDR', '127.0.0.1')

    @property
    def main_port(self) -> int:
        return int(os.environ.get('MASTER_PORT', 29500))

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._world.size

    def global_rank(self) -> int:
        return self._world.rank

    def local_rank(self) -> int:
        return self._world.local_rank

    def node_rank(self) -> int:
        return self._world.rank // self._world.local_size

    # The launcher's, not Lightning's to change.
    def set_world_size(self, size: int) -> None:
        pass

    def set_global_rank(self, rank: int) -> None:
        pass


ALONE = World(0, 1, 0, 1)

# Whether the process group is ours: a script that made it knows that it is one of several.
_made_here = False


def script_is_aware() -> bool:
    """Tell whether the script has made the process group itself."""
    return comm.is_distributed() and not _made_here


def find() -> World:
    """Return this process among those that were started beside it, ``ALONE`` if none was."""
    if comm.is_distributed():
        rank, size = comm.get_dist_info()
    else:
        if comm.is_slurm() and int(os.environ.get('SLURM_STEP_NUM_TASKS', 1)) > 1:
            comm.export_slurm()
        if not comm.is_elastic() or 'RANK' not in os.environ:
            return ALONE
        rank, size = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
    if size == 1:
        return ALONE
    if 'LOCAL_WORLD_SIZE' in os.environ and 'LOCAL_RANK' in os.environ:
        local = int(os.environ['LOCAL_RANK']), int(os.environ['LOCAL_WORLD_SIZE'])
    elif 'SLURM_NNODES' in os.environ and 'LOCAL_RANK' in os.environ:
        local = int(os.environ['LOCAL_RANK']), size // int(os.environ['SLURM_NNODES'])
    elif comm.is_distributed():
        hosts = comm.all_gather(socket.gethostname())
        same = [other for other, host in enumerate(hosts) if host == hosts[rank]]
        local = same.index(rank), len(same)
    else:
        local = int(os.environ.get('LOCAL_RANK', rank)), size
    return World(rank, size, *local)


def placement(world: World, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return devices, nodes and cluster environment for the Trainer.

    Args:
        world: What :func:`find` found.
        settings: The user's arguments of the Trainer.

    Raises:
        ValueError: They contradict each other.
    """
    if world.size == 1:
        devices, nodes = settings.get('devices', 1), settings.get('num_nodes', 1)
        single = devices in (1, '1') and nodes == 1
        environment = LaunchedEnvironment(ALONE) if single else LightningEnvironment()
        return {'devices': devices, 'num_nodes': nodes, 'environment': environment}
    devices = settings.get('devices', 'auto')
    count = _count(devices)
    for key, value, found in (
        ('devices', count, world.local_size),
        ('num_nodes', settings.get('num_nodes', world.nodes), world.nodes),
    ):
        if value is not None and value != found:
            raise ValueError(
                f'{key}={settings[key]!r} contradicts the launcher, which started {world.size} '
                f'processes (WORLD_SIZE), {world.local_size} on each of {world.nodes} machine(s): '
                f'leave {key} out, or start {"as many" if key == "devices" else "them so"}'
            )
    return {
        'devices': world.local_size if count is None or isinstance(devices, int) else devices,
        'num_nodes': world.nodes,
        'environment': LaunchedEnvironment(world),
    }


def _count(devices: Any) -> int | None:
    """How many devices are asked for; None if that is left open."""
    if isinstance(devices, str):
        parts = [part for part in devices.split(',') if part.strip()]
        if devices == 'auto' or parts == ['-1']:
            return None
        return len(parts) if ',' in devices or not devices.isdigit() else int(devices)
    if isinstance(devices, int):
        return None if devices == -1 else devices
    return len(devices)


def start(trainer: Trainer, early: bool) -> None:
    """Start the other processes of this machine, where that means to run the script again.

    Args:
        trainer: Its strategy knows how many.
        early: Whether the script has not begun yet.
    """
    if not to_be_started(trainer):
        return
    strategy: Any = trainer.strategy
    environment: Any = strategy.cluster_environment
    if not environment.creates_processes_externally:
        if not early:
            os.environ[comm.STARTED_BY_ENGINE] = '1'
        children = private.run_again(strategy)
        atexit.register(_wait_for, children)
    os.environ['RANK'] = str(strategy.global_rank)
    os.environ['LOCAL_WORLD_SIZE'] = str(strategy.num_processes)


def to_be_started(trainer: Trainer) -> bool:
    """Tell whether there are processes to come that run the script again."""
    strategy: Any = trainer.strategy
    environment = getattr(strategy, 'cluster_environment', None)
    alone = getattr(strategy, 'world_size', 1) == 1
    if alone or not isinstance(environment, LightningEnvironment):
        return False
    return not private.copies_process(strategy)


def _wait_for(children: list[Any]) -> None:
    # Set by the interpreter when it reports an error that nobody has caught.
    if hasattr(sys, 'last_value'):
        for child in children:
            child.kill()
    failed = [code for code in [child.wait() for child in children] if code]
    if failed and not hasattr(sys, 'last_value'):
        sys.stdout.flush()
        sys.stderr.flush()
        # As a shell would say it.
        os._exit(failed[0] if failed[0] > 0 else 128 - failed[0])


def join(trainer: Trainer, module: LightningModule) -> None:
    """Make the process group, unless there is one, and set the device of this process."""
    global _made_here
    _made_here = _made_here or not comm.is_distributed()
    trainer.strategy.connect(module)
    with port_in_use():
        meet = {} if comm.is_distributed() else comm.meet_after_restart()
        if meet:
            backend = dist.get_default_backend_for_device(trainer.strategy.root_device)
            dist.init_process_group(backend, **meet)
        trainer.strategy.setup_environment()
    if _made_here:
        atexit.unregister(comm.leave)
        atexit.register(comm.leave)


@contextlib.contextmanager
def port_in_use() -> Iterator[None]:
    """Say what to do where the processes cannot meet because their port is taken."""
    try:
        yield
    except RuntimeError as error:
        if 'EADDRINUSE' not in str(error) and 'address already in use' not in str(error).lower():
            raise
        raise RuntimeError(
            f'port {os.environ.get("MASTER_PORT")} (MASTER_PORT), at which the processes are to '
            f'meet, is in use: choose another one ({error})'
        ) from error


def split(loaders: dict[str, Any], trainer: Trainer) -> dict[str, Any]:
    """Have each process load its share of the samples, by Lightning's rule.

    Args:
        loaders: The loaders by split; those that already have a distributed sampler, or are no
            DataLoader, are left as they are.
        trainer: Knows whether that is wanted, and how many processes there are.

    Returns:
        The loaders by split; one object in several splits stays one.
    """
    done: dict[int, Any] = {}
    for loader in loaders.values():
        if isinstance(loader, DataLoader) and id(loader) not in done:
            plain = _plain(loader)
            shuffle = isinstance(plain.sampler, RandomSampler)
            share = private.share_of(trainer, plain, shuffle)
            done[id(loader)] = loader if share is plain else share
    return {name: done.get(id(loader), loader) for name, loader in loaders.items()}


def _plain(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Return a loader that was given a BatchSampler as if it had been given what that one has.

    Lightning looks at the loader's own sampler and batch size, and there it has none of its own.
    """
    batches = loader.batch_sampler
    if loader.batch_size is not None or type(batches) is not BatchSampler:
        return loader
    plain = copy.copy(loader)
    vars(plain).update(
        sampler=batches.sampler, batch_size=batches.batch_size, drop_last=batches.drop_last
    )
    return plain
