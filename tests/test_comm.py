import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from oracle import both, run

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


GROUP = """
import hashlib, os, pickle, socket, tempfile, time, warnings
from datetime import timedelta
import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

def plain(value):
    'Something that can be compared and pickled, with all that matters of a value.'
    if isinstance(value, torch.Tensor):
        return ['tensor', str(value.dtype), str(value.device), value.requires_grad, value.tolist()]
    if isinstance(value, np.ndarray):
        return ['array', value.dtype.str, value.tolist()]
    if isinstance(value, BaseException):
        return [type(value).__name__, plain(value.args)]
    if type(value).__name__ == 'DataContainer':
        return ['container', plain(value.data), value.stack, value.pad_dims, value.cpu_only]
    if isinstance(value, dict):
        return [type(value).__name__, [(plain(k), plain(v)) for k, v in value.items()]]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, [plain(v) for v in value]]
    if isinstance(value, bytes):
        return ['bytes', len(value), hashlib.sha1(value).hexdigest()]
    return value

def attempt(func, *args, **kwargs):
    try:
        return plain(func(*args, **kwargs))
    except Exception as error:
        return ['raised', type(error).__name__]

def run(work, size, *args):
    'What each of several processes saw.'
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(enter, (work, size, folder, args), size, start_method='fork')
        seen = []
        for rank in range(size):
            with open(os.path.join(folder, str(rank)), 'rb') as file:
                seen.append(pickle.load(file))
        return seen

def enter(rank, work, size, folder, args):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    seen = work(rank, size, f'file://{folder}/meet', *args)
    with open(os.path.join(folder, str(rank)), 'wb') as file:
        pickle.dump(seen, file)
"""
EVERY_FUNCTION = (
    GROUP
    + """
from nncore.parallel import DataContainer

class Surprise(Exception):
    pass

VALUES = [
    None,
    0,
    'text',
    {'nested': [(1, 2.5, {'deep': None}), set()], 'tensor': torch.arange(4.0).requires_grad_()},
    b'x' * 3_000_001,
    list(range(3_000)),
    torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    torch.ones(3, requires_grad=True) * 2,
    torch.empty(0, 4, dtype=torch.bfloat16),
    np.arange(6, dtype='int16').reshape(2, 3)[:, ::-1],
    DataContainer(torch.arange(3), pad_value=-1),
    [DataContainer([torch.zeros(2), 'name'], cpu_only=True)],
    Surprise('not raised', 7),
    float('nan'),
]

class Speaker:
    @E.main_only
    def say(self, *words, end=None):
        'Says.'
        return [*words, end]

    @E.main_only
    def fail(self):
        raise Surprise

def work(rank, size, meet):
    info = E.init_dist(launcher='torch', init_method=meet, rank=rank, world_size=size)
    seen = [info, dist.get_backend(), E.is_distributed(), E.get_rank(), E.get_world_size()]
    seen += [E.get_dist_info(), E.is_main_process(), E.get_launcher()]
    for value in VALUES:
        own = (rank, value)
        for root in range(size):
            seen.append(plain(E.broadcast(own if rank == root else None, src=root)))
            seen.append(plain(E.broadcast(value, src=root)))
            seen.append(plain(E.gather(own, dst=root)))
        seen.append(plain(E.all_gather(own)))
        seen.append(plain(E.all_gather(value if rank else None)))
    # What comes back is a copy everywhere, on the process that sent it too.
    for func in (E.broadcast, E.all_gather, E.gather):
        mine = [[rank]]
        found = func(mine)
        seen.append(found is mine or (func is not E.broadcast and found and found[rank] is mine))
        (found or [[]])[0].append('changed')
        seen.append(mine)
    # Refused by all, and the group goes on working.
    seen.append(attempt(E.all_gather, lambda: rank))
    seen.append(E.all_gather(rank))
    seen += [Speaker().say(1, end=2), Speaker.say.__name__, Speaker.say.__doc__]
    seen.append(attempt(Speaker().fail))

    # Groups, with members whose ranks are the same in the group: elsewhere nncore mixes the two.
    for ranks in ([0], [0, 1], [size - 1], sorted({1, size - 1})):
        group = dist.new_group(ranks)
        seen.append([E.get_rank(group), E.get_world_size(group), E.get_dist_info(group)])
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            seen.append(E.all_gather((rank, ranks), group=group))
            E.sync(group)
            if ranks[0] == 0 and rank in ranks:
                seen += [E.broadcast(rank, src=r, group=group) for r in ranks]
                seen += [E.gather(rank, dst=r, group=group) for r in ranks]

    for last in range(size):
        flag = meet[7:] + f'.{last}'
        if rank == last:
            time.sleep(0.05)
            open(flag, 'w').close()
        E.sync()
        seen.append(os.path.exists(flag))
    E.sync()
    dist.destroy_process_group()
    seen.append([E.is_distributed(), E.get_rank(), E.get_world_size(), E.all_gather(rank)])
    return seen

if __name__ == '__main__':
    result = [run(work, 2), run(work, 3)]
"""
)


def test_several_processes_are_as_in_nncore():
    real, ours = both(EVERY_FUNCTION)
    for size, (wanted, found) in enumerate(zip(real, ours, strict=True), start=2):
        assert [rank[:2] for rank in wanted] == [['torch (gloo)', 'gloo']] * size
        assert [rank[3] for rank in wanted] == list(range(size))
        for rank in range(size):
            assert len(wanted[rank]) == len(found[rank])
            for i, pair in enumerate(zip(wanted[rank], found[rank], strict=True)):
                # As text, where NaN is itself.
                assert repr(pair[0]) == repr(pair[1]), f'value {i} of rank {rank} of {size}'


ANY_GROUP = (
    GROUP
    + """
def work(rank, size, meet):
    E.init_dist('torch', init_method=meet, rank=rank, world_size=size)
    seen = []
    for ranks in ([1, 2], [2, 1], [1]):
        group = dist.new_group(ranks)
        if rank in ranks:
            seen.append(E.get_dist_info(group))
            for root in ranks:
                seen.append(E.broadcast(f'from {rank}', src=root, group=group))
                seen.append(E.gather(rank, dst=root, group=group))
            seen.append(E.all_gather(rank, group=group))
            E.sync(group)
    E.sync()
    return seen

if __name__ == '__main__':
    result = run(work, 3)
"""
)


def test_source_and_destination_are_global_ranks_in_a_group():
    """As torch has it. In nncore only groups whose members have the same rank in both work."""
    pair = ['from 1', [1, 2], 'from 2', None, [1, 2]], ['from 1', None, 'from 2', [1, 2], [1, 2]]
    # torch sorts the members of a group.
    assert run('ours', ANY_GROUP) == [
        [],
        [(0, 2), *pair[0], (0, 2), *pair[0][2:4], *pair[0][:2], [1, 2], (0, 1), 'from 1', [1], [1]],
        [(1, 2), *pair[1], (1, 2), *pair[1][2:4], *pair[1][:2], [1, 2]],
    ]


TIMEOUTS = (
    GROUP
    + """
CALLS = dict(
    sync=lambda: E.sync(),
    broadcast=lambda: E.broadcast(1, src=1),
    all_gather=lambda: E.all_gather(1),
    gather=lambda: E.gather(1),
)

def work(rank, size, meet):
    # Pairs of their own, side by side; of the last one only the first process comes.
    pair, rank = divmod(rank, 2)
    name = [*CALLS, None][pair]
    limit, begun = timedelta(seconds=1.5), time.monotonic()
    meet += f'.{pair}'
    if name is None and rank == 1:
        return None
    try:
        E.init_dist('torch', init_method=meet, rank=rank, world_size=2, timeout=limit)
        E.sync()
        begun = time.monotonic()
        while rank == 1:
            # Alive, and silent, for as long as the other waits.
            time.sleep(0.05)
            if os.path.exists(meet[7:] + '.done') or time.monotonic() - begun > 20:
                return None
        CALLS[name]()
    except Exception as error:
        open(meet[7:] + '.done', 'w').close()
        return [type(error).__name__, time.monotonic() - begun]

if __name__ == '__main__':
    result = [seen for seen in run(work, 10) if seen]
"""
)


def test_timeout_ends_every_wait():
    """For a process that says nothing, and at the start for one that never comes."""
    real, ours = both(TIMEOUTS)
    assert [name for name, _ in ours] == [name for name, _ in real]
    assert [name for name, _ in ours[:4]] == ['RuntimeError'] * 4
    assert len(ours) == 5
    assert all(1 < seconds < 15 for _, seconds in ours)


SLURM = (
    GROUP
    + """
SCONTROL = '''#!/bin/sh
[ "$*" = "show hostname node[7-8]" ] && echo 127.0.0.1 && echo node8
'''

def work(rank, size, meet, port, folder):
    for name in [n for n in os.environ if n.startswith('MASTER_')]:
        del os.environ[name]
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
        del os.environ[name]
    os.environ.update(
        SLURM_NTASKS=str(size), SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank),
        SLURM_JOB_NODELIST='node[7-8]', SLURM_NODELIST='node[7-8]', MASTER_PORT=port,
        PATH=folder + os.pathsep + os.environ['PATH'],
    )
    seen = [E.get_launcher(), E.is_elastic(), E.is_slurm()]
    seen += [E.init_dist(timeout=timedelta(seconds=30)), E.get_dist_info(), E.all_gather(rank)]
    names = ('MASTER_ADDR', 'WORLD_SIZE', 'RANK', 'LOCAL_RANK', 'TORCH_NCCL_BLOCKING_WAIT')
    seen += [os.environ[n] for n in names]
    seen.append(E.get_launcher())
    E.sync()
    return seen

if __name__ == '__main__':
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])
        probe.close()
        with open(os.path.join(folder, 'scontrol'), 'w') as file:
            file.write(SCONTROL)
        os.chmod(os.path.join(folder, 'scontrol'), 0o755)
        result = run(work, 2, port, folder)
"""
)


def test_a_group_made_under_slurm_is_as_in_nncore():
    real, ours = both(SLURM)
    assert real[1] == [
        *('slurm', False, True, 'slurm (gloo)', (1, 2), [0, 1]),
        *('127.0.0.1', '2', '1', '1', '1', 'elastic'),
    ]
    assert ours == real


ON_GPUS = (
    GROUP
    + """
def work(rank, size, meet):
    # One card for both processes is too little for NCCL.
    several = torch.cuda.device_count() > 1
    os.environ['LOCAL_RANK'] = str(rank if several else 0)
    backend = 'nccl' if several else 'gloo'
    info = E.init_dist('torch', backend=backend, init_method=meet, rank=rank, world_size=size)
    seen = [info, torch.cuda.current_device()]
    own = {'cuda': torch.arange(3, device='cuda') + rank, 'cpu': torch.ones(2)}
    for root in range(size):
        seen += [plain(E.broadcast(own, src=root)), plain(E.gather(own, dst=root))]
    seen.append(plain(E.all_gather(own)))
    E.sync()
    dist.destroy_process_group()
    return seen

if __name__ == '__main__':
    result = run(work, 2)
"""
)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_tensors_of_a_gpu_arrive_where_they_do_in_nncore():
    """On the device they were sent from."""
    real, ours = both(ON_GPUS)
    assert ours == real
    devices = [value[2] for _, value in ours[1][2][1][:1]]
    assert devices == ['cuda:0']


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
