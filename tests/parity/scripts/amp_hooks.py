"""Hooks that deal with mixed precision themselves; a scaler that works on the CPU, too."""

import warnings

import torch
from _lab import Net, finish, loaders, note, seed, watch
from nncore.engine import Engine, Hook, OptimizerHook


class CPUScaler(OptimizerHook):
    """Scales on the CPU, which nncore's own settings cannot."""

    def before_launch(self, engine):
        self.scaler = torch.amp.GradScaler('cpu', init_scale=2.0**15, growth_interval=4)


class ByHand(CPUScaler):
    """Does everything itself, through the attribute that nncore's hook has."""

    def before_train_epoch(self, engine):
        engine.optimizer.zero_grad()

    def after_train_iter(self, engine):
        self.scaler.scale(engine.losses['loss']).backward()
        self.scaler.unscale_(engine.optimizer)
        torch.nn.utils.clip_grad_value_(engine.model.parameters(), 0.05)
        self.scaler.step(engine.optimizer)
        self.scaler.update()
        engine.buffer.update('scale', self.scaler.get_scale())
        engine.optimizer.zero_grad()


class Overflowing(Net):
    """Its batches 4 and 9 have gradients that are no numbers."""

    def pack(self, out, y, mode):
        self.batches = getattr(self, 'batches', 0) + (mode == 'train')
        result = super().pack(out, y, mode)
        if mode == 'train' and self.batches in (4, 9):
            result['loss'] = result['loss'] * float('inf')
        return result


class Reader(Hook):
    """Reads what others may read of mixed precision."""

    def _read(self, engine):
        scaler = next(h for h in engine.hooks.values() if hasattr(h, 'scaler')).scaler
        note(
            'read',
            cfg=repr(engine.amp_cfg),
            kind=engine.get_amp_type(),
            enabled=scaler.is_enabled(),
            scale=scaler.get_scale(),
            state=repr(scaler.state_dict()),
        )

    before_stage = before_train_iter = after_train_iter = after_val_epoch = after_launch = _read


class Changer(Hook):
    """Changes the engine's settings while it runs."""

    def before_launch(self, engine):
        engine.amp_cfg['cache_enabled'] = False

    def before_train_iter(self, engine):
        engine.amp_cfg['enabled'] = engine.iter % 3 != 1
        if engine.iter == 7:
            engine.amp_cfg = dict(enabled=True, dtype=torch.float16)


class Exchanger(Hook):
    """Puts another scaler in place, halfway."""

    def before_train_epoch(self, engine):
        if engine.epoch == 1:
            hook = engine.hooks['OptimizerHook']
            hook.scaler = torch.amp.GradScaler('cpu', init_scale=8.0, growth_interval=2)


class OwnForward(Engine):
    """Runs its model in the precision that the engine was asked for, once more."""

    def train_iter(self, data):
        with torch.autocast('cpu', **self.amp_cfg):
            inner = self.model(data, mode='train')['loss'].dtype
        note('own', dtype=str(inner))
        super().train_iter(data)


def train(name, amp, *hooks, net=Net, cls=Engine, remove=(), grad_scale=None, clip=None):
    seed()
    stage = dict(
        epochs=2, optimizer=dict(type='SGD', lr=0.1, momentum=0.9), validation=dict(interval=1)
    )
    second = dict(stage, epochs=1, optimizer=dict(type='Adam', lr=0.01))
    stages = [stage if clip is None else dict(stage, grad_clip=clip), second]
    engine = cls(net(), loaders(), stages=stages, work_dir=name, logger=name, amp=amp)
    if remove:
        engine.unregister_hook(list(remove))
    for hook in hooks:
        engine.register_hook(hook, before='CheckpointHook')
    if grad_scale is not None:
        engine.register_hook(OptimizerHook(interval=2, grad_scale=grad_scale))
    watch(engine)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        engine.launch()
    words = [str(w.message) for w in caught if 'GradScaler is enabled' in str(w.message)]
    note('warned', words=words)
    finish(name, engine)


OWN = ['OptimizerHook']
NORM = dict(max_norm=0.1)
for kind in ('bf16', 'fp16', None):
    train(f'scaled_{kind}', kind, CPUScaler(), Reader(), remove=OWN)
    overflowing = dict(net=Overflowing, remove=OWN)
    train(f'overflow_{kind}', kind, CPUScaler(interval=2), Reader(), clip=NORM, **overflowing)
    train(f'by_hand_{kind}', kind, ByHand(), Reader(), **overflowing)
train('overflow_unclipped', 'fp16', CPUScaler(), Reader(), **overflowing)
train('changed', 'bf16', Changer(), Reader())
train('exchanged', 'fp16', Exchanger(), Reader(), clip=NORM)
train('overridden', 'bf16', Reader(), cls=OwnForward)
for index, grad_scale in enumerate((True, False, dict(init_scale=4.0, growth_interval=2))):
    train(f'asked_{index}', 'bf16' if index else None, Reader(), grad_scale=grad_scale)
