"""What only a GPU can show: devices, NCCL, and the strategies that need one."""

import pytest
import torch
from several.net import by_hand, loaders, seeded, stages
from several.test_several import HERE, RUNNER, run
from tiny import engine, stage

from nncore_compat import Engine, Hook
from nncore_compat.hooks._gradients import divide

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device'),
]


class Devices(Hook):
    """Notes where a bare model and its batches are."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def before_launch(self, engine):
        forward = engine.model.forward

        def spied(data, **kwargs):
            self.seen |= {value.device.type for value in data.values()}
            return forward(data, **kwargs)

        engine.model.forward = spied


def test_model_and_optimizer_stay_on_the_device(tmp_path):
    adam = {'type': 'Adam', 'lr': 0.01}
    one = engine(tmp_path, stages=[stage(optimizer=adam, validation={'interval': 1})])
    one.register_hook(Devices(), before='TimerHook')
    one.launch()
    assert one.trainer.strategy.root_device.type == 'cuda'
    assert one.hooks['Devices'].seen == {'cuda'}
    assert {p.device.type for p in one.model.parameters()} == {'cuda'}
    states = one.optimizer.state.values()
    assert {s['exp_avg'].device.type for s in states} == {'cuda'}
    # As scripts do after a launch.
    data = {key: value.cuda() for key, value in next(iter(one.data_loaders['train'])).items()}
    one.model(data, mode='train')['loss'].backward()
    one.optimizer.step()
    one.launch(eval='val')


def close(weights, expected):
    return max(float((weights[k].cpu() - expected[k]).abs().max()) for k in expected)


def launch(tmp_path, **trainer):
    one = Engine(
        seeded(), loaders(), stages=stages(), work_dir=str(tmp_path), logger='gpu', trainer=trainer
    )
    one.launch()
    return torch.load(tmp_path / 'epoch_4.pth', weights_only=True)['state_dict']


def test_fsdp_on_one_gpu_is_as_a_plain_run(tmp_path):
    """With clipping, a stage change and whole checkpoints."""
    plain = launch(tmp_path / 'plain', accelerator='cuda')
    sharded = launch(tmp_path / 'sharded', accelerator='cuda', strategy='fsdp')
    assert close(sharded, plain) < 1e-5


def test_deepspeed_on_one_gpu_is_as_a_plain_run(tmp_path):
    """With one fit for each stage."""
    pytest.importorskip('deepspeed')
    plain = launch(tmp_path / 'plain', accelerator='cuda')
    sharded = launch(tmp_path / 'deepspeed', accelerator='cuda', strategy='deepspeed_stage_2')
    assert close(sharded, plain) < 1e-5


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='needs two CUDA devices')
@pytest.mark.parametrize('strategy', ['auto', 'ddp', 'fsdp', 'fsdp2'])
def test_two_gpus(tmp_path, strategy):
    script = tmp_path / 'script.py'
    script.write_text(
        f'import sys; sys.path.insert(0, {str(HERE)!r})\n'
        'from net import loaders, seeded, stages\n'
        'from nncore.engine import Engine\n'
        f'Engine(seeded(), loaders(), stages=stages(), work_dir={str(tmp_path)!r}).launch()\n'
    )
    options = ['--accelerator', 'cuda', '--devices', 2, '--strategy', strategy]
    done = run([*RUNNER, *options, script], CUDA_VISIBLE_DEVICES='0,1')
    assert done.returncode == 0, done.output[-3000:]
    weights = torch.load(tmp_path / 'epoch_4.pth', weights_only=True)['state_dict']
    assert close(weights, by_hand()) < 1e-5


@pytest.mark.parametrize('window', [2, 3, 7, 8, 64])
def test_quotients_are_those_of_each_gradient_alone(window):
    kinds = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
    whole = torch.randn(5000, dtype=torch.float64) * torch.logspace(-44, 38, 5000).double()
    grads = [whole.to('cuda', kind) for kind in kinds]
    expected = [grad.clone().div_(window) for grad in grads]
    divide(grads, window)
    for grad, quotient in zip(grads, expected, strict=True):
        assert torch.equal(grad.view(torch.uint8), quotient.view(torch.uint8))
