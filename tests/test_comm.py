import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from oracle import both

from nncore_compat import comm

ENVIRONMENTS = [
    {},
    {'WORLD_SIZE': '1'},
    {'WORLD_SIZE': '2'},
    {'SLURM_NTASKS': '1'},
    {'SLURM_NTASKS': '4'},
    {'WORLD_SIZE': '2', 'SLURM_NTASKS': '2'},
    {'WORLD_SIZE': '1', 'SLURM_NTASKS': '2'},
    {'WORLD_SIZE': '0', 'SLURM_NTASKS': '0'},
]

ONE_PROCESS = f"""
import os
result = []
for variables in {ENVIRONMENTS!r}:
    for name in ('WORLD_SIZE', 'SLURM_NTASKS'):
        os.environ.pop(name, None)
    os.environ.update(variables)
    result.append([E.is_elastic(), E.is_slurm(), E.get_launcher()])
for name in ('WORLD_SIZE', 'SLURM_NTASKS'):
    os.environ.pop(name, None)

@E.main_only
def double(number, times=2):
    'Doubles.'
    return number * times

result.append([E.is_distributed(), E.get_rank(), E.get_world_size(), E.get_dist_info()])
result.append([E.is_main_process(), E.sync(), E.init_dist(), E.broadcast(), E.broadcast(3, src=1)])
result.append([E.all_gather([1]), E.gather(1), E.gather(1, dst=3)])
result.append([double(2), double(2, times=3), double.__name__, double.__doc__])
"""


def test_one_process_is_as_in_nncore():
    real, ours = both(ONE_PROCESS)
    assert len(real) == len(ENVIRONMENTS) + 4
    assert [launcher for *_, launcher in real[: len(ENVIRONMENTS)]].count('slurm') == 2
    assert ours == real


TWO_PROCESSES = """
import os, tempfile
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

VALUES = [
    None,
    0,
    'text',
    {'nested': [(1, 2.5), {'deep': None}], 'tensor': [1.0]},
    b'x' * 3_000_001,
    list(range(200_000)),
]

def work(rank, folder):
    os.environ.update(RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank))
    meet = f'file://{folder}/meet'
    info = E.init_dist(launcher='torch', init_method=meet, rank=rank, world_size=2)
    seen = [info, E.is_distributed(), E.get_rank(), E.get_world_size(), E.get_dist_info()]
    seen += [E.is_main_process(), E.get_launcher()]
    for value in VALUES:
        own = (rank, value)
        for root in (0, 1):
            seen.append(E.broadcast(own if rank == root else None, src=root))
            seen.append(E.broadcast(value, src=root))
            seen.append(E.gather(own, dst=root))
        seen.append(E.all_gather(own))
        seen.append(E.all_gather(value if rank else None))
    tensors = E.all_gather({'tensor': torch.arange(3) + rank})
    seen.append([entry['tensor'].tolist() for entry in tensors])
    seen.append(E.main_only(lambda: 'ran')())
    if rank == 1:
        open(os.path.join(folder, 'flag'), 'w').close()
    E.sync()
    seen.append(os.path.exists(os.path.join(folder, 'flag')))
    torch.save(seen, os.path.join(folder, str(rank)))
    dist.destroy_process_group()

if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, args=(folder,), nprocs=2)
        result = [torch.load(os.path.join(folder, str(rank))) for rank in (0, 1)]
"""


def test_two_processes_are_as_in_nncore():
    real, ours = both(TWO_PROCESSES)
    assert [rank[0] for rank in real] == ['torch (gloo)'] * 2
    assert [rank[2] for rank in real] == [0, 1]
    assert real[1][-3:] == [[[0, 1, 2], [1, 2, 3]], None, True]
    assert ours == real


def _work_in_group(rank, folder):
    dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=3)
    members, alone = dist.new_group([1, 2]), dist.new_group([1])
    seen = []
    if rank in (1, 2):
        seen.append(comm.get_dist_info(members))
        seen.append(comm.broadcast(f'from {rank}', src=2, group=members))
        seen.append(comm.gather(rank, dst=2, group=members))
        seen.append(comm.all_gather(rank, group=members))
        comm.sync(members)
    if rank == 1:
        seen.append(comm.broadcast('mine', src=1, group=alone))
        seen.append(comm.gather('mine', dst=1, group=alone))
    torch.save(seen, f'{folder}/{rank}')
    comm.sync()
    dist.destroy_process_group()


def test_source_and_destination_are_global_ranks_in_a_group(tmp_path):
    mp.spawn(_work_in_group, args=(str(tmp_path),), nprocs=3)
    seen = [torch.load(tmp_path / str(rank)) for rank in range(3)]
    assert seen == [
        [],
        [(0, 2), 'from 2', None, [1, 2], 'mine', ['mine']],
        [(1, 2), 'from 2', [1, 2], [1, 2]],
    ]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'launcher': 'mpi'}, "unknown launcher 'mpi', accepted: 'torch', 'elastic', 'slurm'"),
        ({'backend': 'mpi'}, "unknown backend 'mpi', accepted: 'nccl', 'gloo'"),
        ({'method': 'thread'}, "unknown method 'thread', accepted: 'spawn', 'fork', 'forkserver'"),
    ],
)
def test_init_dist_names_what_it_accepts(arguments, message):
    with pytest.raises(ValueError, match=message):
        comm.init_dist(**arguments)


@pytest.fixture
def started(monkeypatch):
    """Records what init_dist does instead of doing it."""
    calls = []
    monkeypatch.setattr(dist, 'init_process_group', lambda *args, **kw: calls.append((args, kw)))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(mp, 'get_start_method', lambda allow_none: None)
    monkeypatch.setattr(mp, 'set_start_method', calls.append)
    for name in [n for n in os.environ if n.startswith(('SLURM_', 'MASTER_'))]:
        monkeypatch.delenv(name)
    for name in ('WORLD_SIZE', 'RANK', 'LOCAL_RANK', 'TORCH_NCCL_BLOCKING_WAIT'):
        # set and deleted, so that what init_dist sets is undone
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    for name in ('MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    return calls


@pytest.fixture
def slurm(started, monkeypatch, tmp_path):
    for name, value in {
        'SLURM_NTASKS': '4',
        'SLURM_PROCID': '3',
        'SLURM_LOCALID': '1',
        'SLURM_JOB_NODELIST': 'node[7-8]',
    }.items():
        monkeypatch.setenv(name, value)
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostname node[7-8]" ] && echo node7 node8\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    return started


def test_slurm_becomes_the_environment_of_torch(slurm):
    assert comm.init_dist() == 'slurm (gloo)'
    assert slurm == ['spawn', (('gloo',), {})]
    found = [os.environ[n] for n in ('WORLD_SIZE', 'RANK', 'LOCAL_RANK')]
    assert found == ['4', '3', '1']
    assert (os.environ['MASTER_ADDR'], os.environ['MASTER_PORT']) == ('node7', '29500')


def test_a_given_master_is_kept(slurm, monkeypatch):
    monkeypatch.setenv('MASTER_ADDR', 'mine')
    monkeypatch.setenv('MASTER_PORT', '1234')
    monkeypatch.setenv('PATH', '')
    comm.init_dist('slurm')
    assert (os.environ['MASTER_ADDR'], os.environ['MASTER_PORT']) == ('mine', '1234')


def test_no_scontrol(slurm, monkeypatch):
    monkeypatch.setenv('PATH', '')
    with pytest.raises(RuntimeError, match=r"node list 'node\[7-8\]'.*set MASTER_ADDR"):
        comm.init_dist('slurm')


def test_no_node_list(slurm, monkeypatch):
    monkeypatch.delenv('SLURM_JOB_NODELIST')
    with pytest.raises(KeyError, match='SLURM_JOB_NODELIST'):
        comm.init_dist('slurm')
    monkeypatch.setenv('SLURM_NODELIST', 'node[7-8]')
    assert comm.init_dist('slurm') == 'slurm (gloo)'


@pytest.mark.parametrize('launcher', ['torch', 'elastic'])
def test_a_launcher_that_has_set_the_environment(started, launcher):
    assert comm.init_dist(launcher, method='fork', world_size=1) == f'{launcher} (gloo)'
    assert started == ['fork', (('gloo',), {'world_size': 1})]
    assert 'MASTER_PORT' not in os.environ


def test_cuda_takes_nccl_and_the_local_device(started, monkeypatch):
    devices = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'set_device', devices.append)
    monkeypatch.setenv('LOCAL_RANK', '5')
    assert comm.init_dist('torch') == 'torch (nccl)'
    assert devices == [5]


def test_a_start_method_that_is_set_stays(started, monkeypatch):
    monkeypatch.setattr(mp, 'get_start_method', lambda allow_none: 'fork')
    comm.init_dist('torch', timeout=9)
    assert started == [(('gloo',), {'timeout': 9})]
    assert os.environ['TORCH_NCCL_BLOCKING_WAIT'] == '1'
