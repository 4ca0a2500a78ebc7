"""Runs with a precision of Lightning's, against a plain LightningModule in a plain Trainer."""

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import throughput_monitor
from lightning.pytorch.plugins.precision import MixedPrecision
from tiny import Points, engine, stage
from torch import nn
from torch.utils.data import DataLoader

from nncore_compat import EvalHook, Hook, OptimizerHook
from nncore_compat._lightning.precision import EnginePrecision

SGD = {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9}
CLIP = {'max_norm': 0.1}
QUIET = dict(
    devices=1,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    num_sanity_val_steps=0,
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
# Lightning's name; 'fp16' is 16-mixed with its scaler, which Lightning offers on a GPU only.
NAMES = ['bf16-mixed', 'fp16', '64-true', 'bf16-true', '16-true', '32-true']


def asked(name):
    if name == 'fp16':
        return {'plugins': [MixedPrecision('16-mixed', 'cpu', torch.amp.GradScaler('cpu', 4096.0))]}
    return {'precision': name}


class Net(nn.Module):
    """A classifier that keeps what it computed in; its fourth gradient overflows."""

    def __init__(self, overflows=False):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
        self.overflows = overflows
        self.seen = []

    def forward(self, data, mode, **kwargs):
        logits = self.layers(data['x'])
        loss = nn.functional.cross_entropy(logits, data['y'])
        if self.overflows and [row[0] for row in self.seen].count('train') == 3:
            loss = loss * 1e38
        self.seen.append((mode, data['x'].dtype, logits.dtype, loss.dtype, repr(loss.item())))
        return {'loss': loss, '_avg_factor': len(data['y']), '_out': logits.argmax(1)}

    def dtypes(self, mode):
        return {row[1:3] for row in self.seen if row[0] == mode}


class Plain(LightningModule):
    """What a Lightning user would write for the same training."""

    def __init__(self, clip, overflows):
        super().__init__()
        self.net, self.clip, self.norms, self.scales = Net(overflows), clip, [], []

    def training_step(self, batch, batch_idx):
        return self.net(batch, 'train')['loss']

    def validation_step(self, batch, batch_idx):
        self.net(batch, 'val')

    def configure_gradient_clipping(self, *args, **kwargs):
        if self.clip:
            self.norms.append(nn.utils.clip_grad_norm_(self.parameters(), **CLIP).item())
        if self.trainer.scaler is not None:
            self.scales.append(self.trainer.scaler.get_scale())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Recorder(Hook):
    """Keeps what OptimizerHook recorded in each iteration."""

    def __init__(self):
        super().__init__()
        self.norms, self.scales = [], []

    def after_train_iter(self, engine):
        self.norms += (engine.buffer.get('grad_norm') or [])[-1:]
        self.scales += (engine.buffer.get('scale') or [])[-1:]


class Gradients(Callback):
    """Keeps the norm that Lightning shows its callbacks."""

    def __init__(self):
        self.norms = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        grads = [p.grad for p in optimizer.param_groups[0]['params']]
        self.norms.append(repr(torch.stack([g.double().norm() for g in grads]).norm().item()))


def loaders():
    return {'train': DataLoader(Points(22), 4), 'val': DataLoader(Points(10), 4)}


def build(tmp_path, name, net=None, clip=False, accelerator='cpu', **kwargs):
    cfg = stage(epochs=2, optimizer=SGD, validation={'interval': 1})
    if clip:
        cfg['grad_clip'] = CLIP
    if name is not None:
        kwargs['trainer'] = {'accelerator': accelerator, **asked(name)}
    return engine(tmp_path, net or Net(), cfg, loaders(), **kwargs)


def plain_fit(name, clip=False, overflows=False, accelerator='cpu', **kwargs):
    plain = Plain(clip, overflows)
    trainer = Trainer(max_epochs=2, accelerator=accelerator, **QUIET, **asked(name), **kwargs)
    trainer.fit(plain, *loaders().values())
    return plain


def same(left, right):
    left, right = (
        {key: value.cpu() for key, value in model.state_dict().items()} for model in (left, right)
    )
    assert left.keys() == right.keys()
    for key, value in right.items():
        assert left[key].dtype == value.dtype
        assert torch.equal(left[key], value), key


@pytest.mark.parametrize('clip', [False, True])
@pytest.mark.parametrize(
    ('name', 'accelerator'),
    [(name, 'cpu') for name in NAMES]
    + [
        pytest.param(name, 'cuda', marks=[pytest.mark.gpu, needs_gpu])
        for name in ('16-mixed', 'bf16-mixed', '64-true')
    ],
)
def test_bits_are_lightnings(name, accelerator, clip, tmp_path):
    """Weights, losses of both splits, norms and scales; one step is skipped where it overflows."""
    overflows = name in ('fp16', '16-mixed')
    one = build(tmp_path, name, Net(overflows), clip, accelerator)
    recorder, (mine, theirs) = Recorder(), (Gradients(), Gradients())
    one.register_hook(recorder, before='EventWriterHook')
    one.trainer.callbacks.append(mine)
    one.launch()
    plain = plain_fit(name, clip, overflows, accelerator, callbacks=[theirs])
    same(one.model, plain.net)
    assert one.model.seen == plain.net.seen
    assert list(map(repr, recorder.norms)) == list(map(repr, plain.norms))
    assert recorder.scales == plain.scales
    assert mine.norms == theirs.norms
    assert len(mine.norms) == 12
    assert (len(recorder.norms), len(recorder.scales)) == (12 * clip, 12 * overflows)
    if overflows:
        assert recorder.scales[3] == 2 * recorder.scales[4]


def test_the_engine_tells_what_runs(tmp_path):
    told = {}
    for name in NAMES:
        one = build(tmp_path, name)
        told[name] = one.trainer.precision, one.get_amp_type(), one.amp_cfg
    off = {'enabled': False}
    bf16, fp16 = (
        {'enabled': True, 'dtype': dtype, 'cache_enabled': False}
        for dtype in (torch.bfloat16, torch.float16)
    )
    assert told == {
        'bf16-mixed': ('bf16-mixed', 'bf16', bf16),
        'fp16': ('16-mixed', 'fp16', fp16),
        '64-true': ('64-true', None, off),
        'bf16-true': ('bf16-true', None, off),
        '16-true': ('16-true', None, off),
        '32-true': ('32-true', None, off),
    }


def test_it_wins_over_nncores_and_says_so(tmp_path):
    hooks = [OptimizerHook(grad_scale=True)]
    one = build(tmp_path, '64-true', amp='fp16', hooks=hooks)
    (log,) = tmp_path.glob('*.log')
    for _ in range(2):
        one.launch()
        one.reset_states()
    assert not one.hooks['OptimizerHook'].scaler.is_enabled()
    lines = log.read_text()
    assert lines.count("INFO]: AMP fp16 gives way to precision='64-true'\n") == 1
    assert (
        lines.count("INFO]: OptimizerHook.grad_scale gives way to the Trainer's precision\n") == 2
    )
    assert lines.count('Distributed: False, AMP: None, Debug: False\n') == 2


@pytest.mark.parametrize(
    ('name', 'seen'),
    [
        ('bf16-mixed', (torch.float32, torch.bfloat16)),
        ('64-true', (torch.float64, torch.float64)),
        ('bf16-true', (torch.bfloat16, torch.bfloat16)),
        ('fp16', (torch.float32, torch.float16)),
    ],
)
def test_whoever_runs_the_model_in_whatever_loop(name, seen, tmp_path):
    class Prober(Hook):
        """Runs the model, as hooks like PreciseBNHook do."""

        def after_train_epoch(self, engine):
            with engine.trainer.precision_plugin.forward_context():
                engine.model(next(iter(engine.data_loaders['train'])), mode='own')

    one = build(tmp_path, name, hooks=[Prober(), EvalHook(run_test=True)])
    one.launch()
    for mode in ('train', 'val', 'test', 'own'):
        assert one.model.dtypes(mode) == {seen}, mode
    one.model.seen.clear()
    one.launch(eval=True)
    assert one.model.dtypes('test') == {seen}

    # A wrapped model in an engine whose methods are called by hand.
    two = build(tmp_path, name, nn.DataParallel(Net()))
    two.optimizer = torch.optim.SGD(two.model.parameters(), lr=0.1)
    two._call_hook('before_launch')
    two._call_hook('before_stage')
    two._mode = 'train'
    two.data_loader = two.data_loaders['train']
    before = two.model.module.layers[0].weight.detach().clone()
    for data in two.data_loader:
        two.train_iter(data)
    assert two.model.module.dtypes('train') == {seen}
    assert not torch.equal(two.model.module.layers[0].weight, before)


def test_resumes_in_double_precision(tmp_path):
    build(tmp_path / 'whole', '64-true').launch()
    one = build(tmp_path / 'resumed', '64-true')
    one.resume(str(tmp_path / 'whole' / 'epoch_1.pth'))
    one.launch()
    assert one.epoch == 2
    same(one.model, plain_fit('64-true').net)


class CPUScaler(OptimizerHook):
    """Scales on the CPU."""

    def before_launch(self, engine):
        self.scaler = torch.amp.GradScaler('cpu', init_scale=4096.0)


@pytest.mark.parametrize('clip', [False, True])
def test_callbacks_see_unscaled_gradients_with_nncores_scaler(clip, tmp_path):
    norms, models = [], []
    for hooks in ([], [CPUScaler()]):
        one = build(tmp_path, None, clip=clip)
        if hooks:
            one.unregister_hook('OptimizerHook')
            one.register_hook(hooks, before='CheckpointHook')
        callback = Gradients()
        one.trainer.callbacks.append(callback)
        one.launch()
        norms.append(callback.norms)
        models.append(one.model)
    assert one.trainer.scaler is one.hooks['CPUScaler'].scaler
    # A power of two leaves no trace.
    assert norms[0] == norms[1]
    same(*models)


def test_nncores_precision_has_lightnings_name(tmp_path):
    names = {}
    for amp in (None, 'none', 'fp16', 'bf16', {'dtype': torch.float16, 'enabled': False}):
        one = build(tmp_path, None, amp=amp)
        names[str(amp)] = one.trainer.precision
        mixed = isinstance(one.trainer.precision_plugin, MixedPrecision)
        assert mixed == (amp in ('fp16', 'bf16'))
    assert list(names.values()) == ['32-true', '32-true', '16-mixed', 'bf16-mixed', '32-true']
    one.amp_cfg['enabled'] = True
    assert one.trainer.precision == '16-mixed'
    # For strategies that bring their own precision, which are for GPUs.
    assert build(tmp_path, None, amp=True).trainer.precision_plugin.named('cuda') == '16-mixed'


@pytest.mark.parametrize(
    ('amp', 'dtype'), [(None, torch.float32), ('bf16', torch.bfloat16), ('fp16', torch.half)]
)
def test_throughput_is_that_of_the_type(amp, dtype, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        throughput_monitor, 'get_available_flops', lambda device, dtype: asked.append(dtype)
    )
    one = build(tmp_path, None, amp=amp)
    monitor = throughput_monitor.ThroughputMonitor(batch_size_fn=len)
    one.trainer.callbacks.append(monitor)
    one.launch()
    assert asked == [dtype]


def test_the_scaler_is_saved_by_its_owner_alone(tmp_path):
    for amp in (None, 'fp16'):
        plugin = build(tmp_path, None, amp=amp).trainer.precision_plugin
        assert isinstance(plugin, EnginePrecision)
        plugin.adopt(torch.amp.GradScaler('cpu', 2.0))
        # OptimizerHook keeps it.
        assert plugin.state_dict() == {}
