"""Hooks of the user's own: where they go in, what they replace, what they see."""

from _lab import Net, attempt, finish, loaders, note, seed, watch
from nncore.engine import HOOKS, Engine, Hook, OptimizerHook, TimerHook


@HOOKS.register()
class Scale(Hook):
    """Scales the loss before the optimizer hook sees it."""

    def __init__(self, factor=2.0, name=None):
        super().__init__(name)
        self._factor = factor

    def after_train_iter(self, engine):
        engine.losses['loss'] = engine.losses['loss'] * self._factor


@HOOKS.register(name='nudge')
class Nudge(Hook):
    """Changes a rate and a weight, and adds a value to the log."""

    def before_train_iter(self, engine):
        engine.optimizer.param_groups[0]['lr'] *= 0.5
        engine.buffer.update('nudged', engine.optimizer.param_groups[0]['lr'])

    def after_train_epoch(self, engine):
        next(engine.model.parameters()).data.mul_(0.99)
        engine.logger.info('Nudged after %d iterations', engine.iter)

    def after_val_epoch(self, engine):
        engine.buffer.update('seen', float(engine.epoch))


class Helpers(Hook):
    """Records what the counting helpers say."""

    def _counts(self, engine):
        named = {n: getattr(self, n) for n in dir(self) if n.startswith(('first_', 'last_'))}
        every = {n: getattr(self, n) for n in dir(self) if n.startswith('every_n_')}
        note(
            'helpers',
            first_last={n: f(engine) for n, f in named.items()},
            every={n: [f(engine, k) for k in (0, 1, 2, 3)] for n, f in every.items()},
        )

    before_stage = before_train_epoch = before_train_iter = after_train_iter = _counts
    after_train_epoch = after_val_epoch = _counts


class Steps(OptimizerHook):
    """The optimizer hook under another name, with a word about every step."""

    def after_train_iter(self, engine):
        super().after_train_iter(engine)
        note('stepped', epoch=engine.epoch, iter=engine.iter)


def order(engine, what):
    note('order', by=what, names=list(engine.hooks), texts=[repr(h) for h in engine.hooks.values()])


seed()
engine = Engine(
    Net(),
    loaders(),
    stages=[
        dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
        dict(epochs=1, optimizer=dict(type='Adam', lr=0.01), validation=dict(interval=1)),
    ],
    hooks=['nudge', dict(type='Scale', factor=0.5), Helpers()],
    work_dir='run',
    logger='custom',
)
order(engine, 'made')
engine.register_hook(Scale(3.0, name='early'), before='OptimizerHook')
engine.register_hook(Scale(1.5), overwrite=True)
order(engine, 'overwritten in place')
engine.register_hook(TimerHook())
order(engine, 'first overwritten')
engine.register_hook(Helpers())
order(engine, 'last overwritten')
engine.register_hook([Scale(1.0, name='a'), Scale(1.0, name='b')], before='Nudge')
engine.register_hook('CheckpointHook', before='TimerHook', interval=2)
order(engine, 'lists and moves')
attempt(engine.register_hook, Scale(), overwrite=False)
attempt(engine.register_hook, 17)
order(engine, 'refused')
engine.unregister_hook('a')
engine.unregister_hook([Scale(name='b'), 'EvalHook'])
attempt(engine.unregister_hook, 'absent')
order(engine, 'removed')
engine.unregister_hook('OptimizerHook')
engine.register_hook(Steps(interval=2), before='CheckpointHook')
note('equal', same=Scale(name='x') == Helpers('x'), other=Scale() == Helpers())
watch(engine)
engine.launch()
finish('custom', engine)
