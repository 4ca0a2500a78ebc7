"""What only a GPU can show: devices, NCCL, and the strategies that need one."""

import json

import pytest
import torch
from several.net import by_hand, loaders, seeded, stages
from several.test_several import HERE, RUNNER, run
from tiny import Net, Points, engine, stage
from torch import nn
from torch.utils.data import DataLoader

from nncore_compat import Engine, Hook, _device_values
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


class Strict(Hook):
    """Makes it an error to wait for the device in an iteration without a line in the log."""

    def before_train_iter(self, engine):
        # The first ones set up what lasts.
        if engine.iter > 1 and (engine.iter + 1) % 10:
            torch.cuda.set_sync_debug_mode('error')


class Lenient(Hook):
    """Ends that, after all other hooks."""

    def after_train_iter(self, engine):
        torch.cuda.set_sync_debug_mode('default')


@pytest.fixture
def lenient_in_the_end():
    yield
    torch.cuda.set_sync_debug_mode('default')


def rich(output):
    output['acc'] = output['_out'].double().mean()
    output['parts'] = {'loss': output['loss'].detach(), 'one': 1}
    # Too large to be kept on the device.
    output['_out'] = output['_out'].repeat(10_000)
    return output


@pytest.mark.usefixtures('lenient_in_the_end')
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'debug': True},
        {'stage': {'grad_clip': {'max_norm': 0.1}}},
        # A scaler asks whether to step, unless the optimizer does so on the device.
        {'amp': 'fp16', 'stage': {'optimizer': {'type': 'AdamW', 'lr': 0.01, 'fused': True}}},
    ],
    ids=['default', 'debug', 'clipping', 'scaler'],
)
def test_nothing_waits_for_the_device_between_log_lines(tmp_path, monkeypatch, options):
    options = dict(options)
    stages = stage(validation={'interval': 1}, **options.pop('stage', {}))

    def run(folder, hooks):
        loaders = {'train': DataLoader(Points(160), 4), 'val': DataLoader(Points(6), 4)}
        writer = {'type': 'EventWriterHook', 'interval': 10}
        one = engine(folder, Net(rich), stages, loaders, hooks=[writer], **options)
        for hook, before in hooks:
            one.register_hook(hook, before=before)
        one.launch()
        lines = (folder / 'metrics.json').read_text().splitlines()
        return [{k: v for k, v in json.loads(x).items() if 'time' not in k} for x in lines]

    later = run(tmp_path / 'later', [(Strict(), 'TimerHook'), (Lenient(), None)])
    # As nncore does it: each value is moved at once.
    monkeypatch.setattr(_device_values, 'KINDS', ())
    assert later == run(tmp_path / 'once', [])
    assert len(later) == 5
    with pytest.raises(RuntimeError, match='synchroniz'):
        run(tmp_path / 'strict', [(Strict(), 'TimerHook'), (Lenient(), None)])


def test_a_value_is_what_it_was_when_the_model_returned_it():
    """While the device is busy, for tensors of both sizes."""
    from nncore_compat import Buffer
    from nncore_compat._remember import remember

    buffer = Buffer()
    busy = torch.randn(4096, 4096, device='cuda')
    small, large = torch.ones(3, device='cuda'), torch.ones(10**6, device='cuda')
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        for number in range(100):
            busy = (busy @ busy).tanh()
            values = {'small': small * number, 'large': large * number}
            remember(buffer, values)
            for value in values.values():
                value.fill_(-1)
    for key, size in (('small', 3), ('large', 10**6)):
        values = buffer.get(key)
        assert [value.device.type for value in values] == ['cpu'] * 100
        assert all(
            torch.equal(value, torch.full((size,), float(n))) for n, value in enumerate(values)
        )
        assert not any(value.is_pinned() for value in values)


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


class Graphed(nn.Module):
    """A classifier with a body that may be captured; the loss too, where it is compiled whole."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, data, mode, **kwargs):
        logits = self.body(data['x'])
        loss = nn.functional.cross_entropy(logits, data['y'])
        return {
            'loss': loss,
            '_avg_factor': len(data['y']),
            '_out': logits,
            # The buffer treats large values differently.
            '_large': logits.repeat(1, 400),
        }


class Records(Hook):
    """Reads every loss at once, and keeps what is still to come out of the buffer."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def after_train_iter(self, engine):
        self.losses.append(engine.losses['loss'].item())


def captured(model):
    sample = torch.zeros(4, 2, device='cuda', requires_grad=True)
    model.body = torch.cuda.make_graphed_callables(model.body, (sample,))
    return model


def reduced(model):
    return torch.compile(model, mode='reduce-overhead')


@pytest.mark.parametrize('way', [captured, reduced])
def test_cuda_graphs(way, tmp_path):
    """They write where they wrote at the capture: in no value that the engine keeps."""
    batches = DataLoader(Points(40), 4)

    def launch(folder, make):
        one = engine(
            folder,
            make(Graphed().cuda()),
            stages=[stage(epochs=2, grad_clip={'max_norm': 1.0})],
            data_loaders={'train': batches},
        )
        # Nobody reads the buffer before the end, or clears it.
        one.unregister_hook('EventWriterHook')
        one.register_hook(Records(), before='OptimizerHook')
        one.launch()
        losses = one.hooks['Records'].losses
        assert [float(loss) for loss in one.buffer.get('loss')] == losses
        outs = [*one.buffer.get('_out'), *one.buffer.get('_large')]
        assert len(outs) == 2 * len(losses)
        return losses, [out.cpu() for out in outs]

    plain, graphed = launch(tmp_path / 'plain', lambda model: model), launch(tmp_path, way)
    assert len(plain[0]) == 20 and len(set(plain[0])) > 10
    assert graphed[0] == pytest.approx(plain[0], abs=1e-5)
    for mine, other in zip(graphed[1], plain[1], strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=0)
