"""Checkpoints of two processes, in files and folders, gone on with by two processes and by one."""

import pytest
import torch
from oracle import needs_nncore
from oracle import run as run_nncore
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from nncore_compat import get_checkpoint

from . import saved
from .test_several import HERE, RUNNER, run

pytestmark = pytest.mark.slow
# float32 sums in another order
NEAR = 2e-6
CROSSING = ('auto', 'ddp', 'fsdp2', 'fsdp2_sharded')


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    """The folder of the runs, and what each of two processes has found."""
    out = tmp_path_factory.mktemp('saved')
    saved.make(out / 'one', noisy=False, save={'every_n_iters': 1}).launch()
    done = run([*RUNNER, '--devices', 2, HERE / 'saved.py', out])
    assert done.returncode == 0, done.output[-3000:]
    return out, [torch.load(out / f'{rank}.pt') for rank in range(2)]


@pytest.mark.parametrize(('name', 'moments'), saved.STRATEGIES.items())
def test_two_processes_go_on_exactly(results, name, moments):
    out, found = results
    for rank in found:
        one = rank['exact'][name]
        assert one['exact'] == dict.fromkeys(moments, True)
        assert one['first'] == dict.fromkeys(moments, True)
        assert one['few'], 'a run does not notice that it is saved'
        assert one['left'] == ['epoch_2.pth', 'epoch_3.pth', 'latest.pth']
    kinds = {'auto': 'ReplicatedStrategy', 'ddp': 'DDPStrategy'}
    kinds.update(whole='ModelParallelStrategy', parts='ModelParallelStrategy')
    assert one['strategy'] == kinds.get(name, 'ShardedStrategy')
    folder = ['.metadata', '__0_0.distcp', '__1_0.distcp', 'meta.pt']
    assert one['files'] == (name not in ('parts', 'fsdp2_sharded'))
    assert one['folder'] == (folder if name in ('parts', 'fsdp2_sharded') else None)
    # The last stage trains some of the parameters: they have the numbers that torch gives them.
    for file in ('iter_9', 'epoch_3'):
        expected = get_checkpoint(out / 'ddp' / f'{file}.pth')
        checkpoint = get_checkpoint(out / name / f'{file}.pth')
        assert list(checkpoint['state_dict']) == list(expected['state_dict'])
        states = [c['optimizer']['state'] for c in (checkpoint, expected)]
        assert list(states[0]) == list(states[1])
        for state, wanted in zip(*map(dict.values, states), strict=True):
            assert saved.far(state, wanted) < NEAR
    assert set(one['keys']) == set(found[0]['exact']['ddp']['keys'])


@needs_nncore
def test_nncore_reads_what_the_processes_have_gathered(results):
    out = results[0]
    found = run_nncore(
        'real',
        f"""
        import torch
        from torch import nn
        result = {{}}
        for name in ('fsdp2', 'whole'):
            model = nn.Module()
            model.blocks = nn.ModuleList([nn.Linear(6, 6) for _ in range(2)])
            model.norm, model.head = nn.BatchNorm1d(6), nn.Linear(6, 3)
            file = E.get_checkpoint(f'{out}/{{name}}/epoch_3.pth')
            E.load_checkpoint(model, file, strict=True)
            model.blocks[0].requires_grad_(False)
            optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
            optimizer.load_state_dict(file['optimizer'])
            averages = [optimizer.state[p]['exp_avg'].sum().item() for p in model.head.parameters()]
            weights = {{key: value.tolist() for key, value in model.state_dict().items()}}
            result[name] = weights, averages, file['meta']['epoch'], file['meta']['iter']
        """,
    )
    for name, (weights, averages, *counters) in found.items():
        file = torch.load(out / name / 'epoch_3.pth', weights_only=True)
        assert weights == {key: value.tolist() for key, value in file['state_dict'].items()}
        states = [file['optimizer']['state'][index]['exp_avg'] for index in (4, 5)]
        assert averages == [state.sum().item() for state in states]
        assert counters == [3, 18]


def test_folders_are_read_as_torch_reads_them(results, tmp_path):
    """All at once, and by each process its part."""
    out, found = results
    folder = out / 'fsdp2_sharded' / 'iter_11.pth'
    dcp_to_torch_save(folder, tmp_path / 'dcp.pth')
    theirs = torch.load(tmp_path / 'dcp.pth', weights_only=False)
    read = get_checkpoint(folder)
    weights = {f'model.{name}': value for name, value in read['state_dict'].items()}
    assert saved.same(weights, theirs['state_dict'])
    for index, state in read['optimizer']['state'].items():
        [group] = theirs['optimizer_0']['param_groups']
        assert saved.same(state, theirs['optimizer_0']['state'][group['params'][index]])
    assert set(theirs['gradients']) == {
        f'model.{name}' for name in read['nncore_compat']['gradients']
    }
    assert len(theirs['gradients']) == 6, 'a window is open'
    # The same as a file has.
    file = get_checkpoint(out / 'fsdp2' / 'iter_11.pth')
    assert saved.same(saved.common(read), saved.common(file))

    parts = [rank['parts'] for rank in found]
    assert all(part['same'] for part in parts)
    parameters = [p.numel() for p in saved.Net(noisy=True).parameters()]
    # Weights, and averages of those that are trained: all but the first block's.
    complete = sum(parameters) + sum(parameters[2:])
    assert sum(part['local'] for part in parts) == complete
    assert max(part['local'] for part in parts) < 0.6 * complete


def test_a_folder_resumed_as_nncore_resumes(results):
    for rank in results[1]:
        assert rank['inexact'] == {'iterations': 6, 'first': True}


def test_newest_folder_that_is_whole(results):
    for rank in results[1]:
        assert rank['auto'] == {'iterations': 10, 'same': True}


def test_full_disk_of_one_process(results):
    """Nothing but the old checkpoint is left, and all processes know."""
    for rank in results[1]:
        assert rank['full']['warn'] is None
        assert rank['full']['warn left'] == ['epoch_1.pth', 'epoch_3.pth']
        assert "raise/epoch_2.pth': no space left on the disk" in rank['full']['raise']
        assert rank['full']['raise left'] == ['epoch_1.pth']


@pytest.mark.parametrize('name', CROSSING)
def test_from_one_process_to_two(results, name):
    """As plain PyTorch that turns from one process to two."""
    for rank, moments in enumerate(each['one'][name] for each in results[1]):
        for moment, (epoch, done) in saved.ONE.items():
            one = moments[moment]
            assert one['iterations'] == 18 - 6 * epoch - done // 2
            assert one['iter'] == 18
            assert one['far'] < NEAR
            assert one['first']
            assert one['tally'] == 12 * epoch + done, 'the second process knows it from the first'
            assert one['log'].count('Saved with 1 process(es), going on with 2') == (rank == 0)
    randoms = [each['one'][name]['iter_6']['random'] for each in results[1]]
    assert not torch.equal(*randoms)


@pytest.mark.parametrize('name', CROSSING)
def test_from_two_processes_to_one(results, tmp_path, name):
    """As plain PyTorch that turns from two processes to one."""
    out = results[0]
    for moment, (epoch, done) in saved.TWO.items():
        path = out / f'two_{name}' / f'{moment}.pth'
        engine, first, iterations = saved.go_on(path, tmp_path / moment, noisy=False)
        assert iterations == 36 - 12 * epoch - 2 * done
        assert engine.iter == 36
        assert saved.far(engine.model.state_dict(), saved.by_hand(2, 1, epoch, done)) < NEAR
        assert saved.begins(first, get_checkpoint(path), moment)
        assert first['tally'] == 6 * epoch + done
    # So much for whether the comparison can fail: a window less.
    assert saved.far(engine.model.state_dict(), saved.by_hand(2, 1, 1, 2)) > NEAR


def test_a_folder_goes_on_in_processes_that_share_nothing(results, tmp_path):
    """A folder of two, gone on with by one, saves a file like any other."""
    out = results[0]
    path = out / 'two_fsdp2_sharded' / 'iter_9.pth'
    saved.go_on(path, tmp_path / 'a', noisy=False)
    saved.go_on(out / 'two_fsdp2' / 'iter_9.pth', tmp_path / 'b', noisy=False)
    files = [torch.load(tmp_path / name / 'epoch_3.pth', weights_only=True) for name in 'ab']
    assert saved.same(*map(saved.common, files))
