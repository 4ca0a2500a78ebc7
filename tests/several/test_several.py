"""Several processes, as the runner, torchrun and Lightning's launchers start them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from paths import python_path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RUNNER = [sys.executable, '-m', 'nncore_compat']
TORCHRUN = [sys.executable, '-m', 'torch.distributed.run']
# Seconds, on a machine that does other things too.
LIMIT = 240


def run(command, limit=LIMIT, cwd=None, **env):
    """Run a command with its children, and end all of them when it takes too long."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(('NNCORE', 'MASTER_'))}
    own = dict(OMP_NUM_THREADS='1', PYTHONPATH=python_path(ROOT), CUDA_VISIBLE_DEVICES='')
    variables.update(own, **env)
    process = subprocess.Popen(
        [str(part) for part in command],
        env=variables,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f'hangs:\n{process.communicate()[0][-3000:]}')
    process.output = output
    return process


@pytest.fixture(scope='module')
def strategies(tmp_path_factory):
    out = tmp_path_factory.mktemp('strategies')
    done = run([*RUNNER, '--devices', 2, HERE / 'strategies.py', out])
    assert done.returncode == 0, done.output[-3000:]
    return [torch.load(out / f'{rank}.pt') for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'kind'),
    [('auto', 'ReplicatedStrategy'), ('ddp', 'DDPStrategy'), ('fsdp2', 'ShardedStrategy')],
)
def test_strategies(strategies, name, kind):
    """Two processes come to what plain PyTorch comes to on the batches of both."""
    for rank, found in enumerate(strategies):
        one = found[name]
        assert one['strategy'] == kind
        assert one['lengths'] == (3, 1), 'plain loaders are split'
        assert one['before'] and 'SamplerSeedHook' in one['hooks']
        # float32 sums in another order
        assert one['by hand'] < 2e-6
        assert one['frozen'] < 2e-6
        assert one['file'] == 0
        assert one['resumed'] == 0
        assert one['global step'] == 4
        assert one['optimizer'] == [(6, 6), (6,), (6, 6), (6,), (3, 6), (3,)]
        assert isinstance(one['hits'], int) is (rank == 0)
    assert strategies[0]['auto']['hits'] == strategies[0][name]['hits']


@pytest.mark.slow
def test_launchers_that_copy_the_process(tmp_path):
    report = tmp_path / 'report.json'
    command = [*RUNNER, '--report', report, HERE / 'spawned.py', tmp_path]
    done = run(command, limit=2 * LIMIT)
    assert done.returncode == 0, done.output[-3000:]
    reported = json.loads(report.read_text())['launches']
    assert [one['what'] for one in reported] == ['training', 'evaluation (val)'] * 2 + [
        'training'
    ] * 2
    assert [one['iterations'] for one in reported] == [12, 0, 12, 0, 3, 0]
    assert [one['ended'] for one in reported] == ['finished'] * 5 + ['failed']
    assert {one['processes'] for one in reported[:-1]} == {2}
    assert 'picklable' in reported[-1]['error'], 'nor is what comes to no copy left out'
    outcome = torch.load(tmp_path / 'found.pt')
    again = outcome.pop('again')
    assert again['by hand'] < 2e-6 and again['start'] == 9
    assert len(again['logs']) == 1
    assert again['log'].count('Epoch [') == 4
    assert again['log'].endswith('after the launch\n')
    for method, found in outcome.items():
        assert found['by hand'] < 2e-6, method
        assert found['counters'] == [2, 4, 12, 12]
        assert (found['optimizer'], found['steps']) == ('Adam', {6})
        assert 'SamplerSeedHook' in found['hooks']
        assert {'epoch_4.pth', 'metrics.json', 'tf_logs'} <= set(found['files'])
        assert found['log'].count('Distributed: 2 processes') == 1
        assert found['log'].count('Saving checkpoint') == 4
        assert not found['alone']
        assert found['best'] == str(tmp_path / method / 'checkpoints' / 'best.ckpt')
        assert Path(found['best']).is_file()
        assert found['score'] == found['high'] > 0
        assert {'train_loss', 'val_loss', 'hits', 'best_hits'} <= set(found['metrics'])
        assert set(found['eval']['val']) == {'hits'}
        lines = (tmp_path / method / 'metrics.json').read_text().splitlines()
        assert [json.loads(line)['mode'] for line in lines].count('train') == 4


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['plain', 'aware'])
def test_restart_by_torchrun(tmp_path, kind):
    """A killed process, and torchrun's restart, lose no more than what came after the last file."""
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    # Of an earlier run: not to be taken for this one's.
    (work_dir / 'epoch_4.pth').write_bytes(b'old')
    script = [HERE / 'restarts.py', work_dir, kind]
    options = ['--standalone', '--nproc_per_node=2', '--max-restarts=1', '-m', 'nncore_compat']
    done = run([*TORCHRUN, *options, *script])
    assert done.returncode == 0, done.output[-3000:]
    begins = sorted(re.findall(r'rank (\d) begins at epoch (\d), iter (\d+)', done.output))
    # A script that made the process group itself has its loaders left as they are.
    length = 6 if kind == 'aware' else 3
    resumed = ('2', str(2 * length + 1))
    assert begins == [(r, *at) for r in '01' for at in (('0', '0'), resumed)]
    lines = (work_dir / 'metrics.json').read_text().splitlines()
    epochs = [json.loads(line)['epoch'] for line in lines if '"train"' in line]
    assert epochs == [1, 2, 3, 4]
    meta = torch.load(work_dir / 'epoch_4.pth', weights_only=True)['meta']
    assert (meta['epoch'], meta['iter']) == (4, 4 * length)
    (log,) = work_dir.glob('*.log')
    assert log.read_text().count('Epoch [') == 4


@pytest.mark.slow
def test_taking_up_a_run_of_several_processes(tmp_path):
    """The main process finds the newest checkpoint that is whole, for all."""
    work_dir = tmp_path / 'run'
    command = [*RUNNER, '--devices', 2, '--resume', 'auto', HERE / 'restarts.py', work_dir, 'plain']
    first = run(command, ATTEMPT='0')
    assert first.returncode != 0
    (work_dir / 'iter_8.pth').write_bytes((work_dir / 'iter_7.pth').read_bytes()[:-100])
    second = run(command, ATTEMPT='1')
    assert second.returncode == 0, second.output[-3000:]
    begins = sorted(re.findall(r'rank (\d) begins at epoch (\d), iter (\d+)', second.output))
    assert begins == [('0', '2', '7'), ('1', '2', '7')]
    assert second.output.count(f'Passing over {work_dir}/iter_8.pth') == 1
    lines = (work_dir / 'metrics.json').read_text().splitlines()
    assert [json.loads(line)['epoch'] for line in lines if '"train"' in line] == [1, 2, 3, 4]
    (log,) = work_dir.glob('*.log')
    assert log.read_text().count('Epoch [') == 4


DYING = """
import os, sys
from nncore.engine import Engine, Hook
sys.path.insert(0, {here!r})
from net import loaders, seeded, stages

class Die(Hook):
    def after_train_iter(self, engine):
        if os.environ['RANK'] == {rank!r} and engine.iter == 1:
            {how}

Engine(seeded(), loaders(), stages=stages(), hooks=[Die()], work_dir='out').launch()
"""


@pytest.mark.slow
def test_a_process_that_dies_takes_the_others_with_it(tmp_path):
    """The first and another one, killed and by an error: nobody waits for the dead."""
    exits, raises = 'os._exit(3)', "raise ValueError('no more')"

    def die(case):
        rank, how = case
        folder = tmp_path / f'{rank}{how[:2]}'
        folder.mkdir()
        script = folder / 'script.py'
        script.write_text(DYING.format(here=str(HERE), rank=rank, how=how))
        done = run([*RUNNER, '--devices', 2, script], cwd=folder, limit=150)
        for _ in range(300):
            left = subprocess.run(['pgrep', '-g', str(done.pid)], capture_output=True).stdout
            if not left:
                break
            time.sleep(0.2)
        return done, left

    cases = [('0', exits), ('1', exits), ('0', raises)]
    with ThreadPoolExecutor(len(cases)) as pool:
        results = list(pool.map(die, cases))
    for (done, left), case in zip(results, cases, strict=True):
        assert done.returncode != 0, case
        assert left == b'', f'{case} leaves processes behind'
    assert 'ValueError: no more' in results[2][0].output


def free_port():
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return str(one.getsockname()[1])


@pytest.mark.slow
def test_processes_of_slurm_of_two_nodes_and_of_the_script_and_its_engine(tmp_path):
    """Each is found as what it is, and trains as plain PyTorch does on the data of both."""
    slurm = dict(SLURM_NTASKS='2', SLURM_NNODES='1', SLURM_STEP_NUM_TASKS='2')
    cases = {
        'slurm': [(dict(SLURM_PROCID=r, SLURM_LOCALID=r, **slurm), []) for r in '01'],
        'nodes': [(dict(NODE_RANK=r), ['--num-nodes', 2]) for r in '01'],
        'spawns': [({}, [])],
        # By Engine(trainer=dict(devices=2)): the script is run again.
        'inside': [({}, [])],
    }
    commands = []
    for name, processes in cases.items():
        meet = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port())
        for env, options in processes:
            script = [HERE / 'placed.py', tmp_path / name, name]
            commands.append(([*RUNNER, *options, *script], {**meet, **env}))
    with ThreadPoolExecutor(len(commands)) as pool:
        done = list(pool.map(lambda command: run(command[0], **command[1]), commands))
    output = ''.join(process.output for process in done)
    assert [process.returncode for process in done] == [0] * 6, output[-3000:]
    places = sorted(re.findall('place (.*)', output))
    expected = ['0 1 2 0', '1 1 2 1'] * 3 + ['0 2 1 0', '1 2 1 0']
    assert places == sorted(f'{place} work_dirs/20300102030400 near' for place in expected)


@pytest.mark.slow
def test_the_example_on_two_devices(tmp_path):
    command = [*RUNNER, '--devices', 2, ROOT / 'examples' / 'digits.py']
    # scikit-learn takes SciPy.
    done = run(command, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.output[-3000:]
    (metrics,) = tmp_path.glob('work_dirs/*/metrics.json')
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [row['accuracy'] for row in rows if row['mode'] == 'val'][-1] > 0.98


@pytest.mark.slow
def test_devices_against_the_launcher(tmp_path):
    """Told apart from what there is before any process waits for another."""
    script = tmp_path / 'script.py'
    script.write_text(DYING.format(here=str(HERE), rank='9', how='pass'))
    env = dict(WORLD_SIZE='2', RANK='0', LOCAL_RANK='0', LOCAL_WORLD_SIZE='2')
    done = run([*RUNNER, '--devices', 3, script], cwd=tmp_path, **env)
    assert done.returncode != 0
    assert 'devices=3 contradicts the launcher, which started 2 processes' in done.output
    assert not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_a_port_in_use(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(DYING.format(here=str(HERE), rank='9', how='pass'))
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        env = dict(WORLD_SIZE='2', RANK='0', LOCAL_RANK='0', LOCAL_WORLD_SIZE='2')
        env.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        done = run([*RUNNER, script], cwd=tmp_path, **env)
    assert done.returncode != 0
    assert f'port {port} (MASTER_PORT)' in done.output and 'is in use' in done.output
