"""Hooks that speak to the other process, step by themselves, or run on the main one alone."""

import torch
import torch.distributed as dist
from _pair import Net, attempt, begin, configs, finish, main_folder, note, seed, watch
from nncore.engine import (
    Engine,
    Hook,
    OptimizerHook,
    all_gather,
    broadcast,
    gather,
    is_main_process,
    main_only,
    sync,
)
from nncore.nn import build_model


class Talk(Hook):
    """Exchanges something at every event of training, and lets it decide the rate."""

    def before_launch(self, engine):
        note('launch', said=broadcast(dict(start=engine.epoch, of=engine.max_epochs)))

    def before_train_epoch(self, engine):
        note('epoch', said=gather(engine.iter, dst=1))
        sync()

    def after_train_iter(self, engine):
        losses = all_gather(engine.losses['loss'].item())
        engine.buffer.update('worst', max(losses))
        if is_main_process():
            engine.buffer.update('_mean', sum(losses) / 2)
        rate = broadcast(max(losses) if is_main_process() else None)
        for group in engine.optimizer.param_groups:
            group['lr'] = 0.01 * rate

    def after_val_epoch(self, engine):
        note('validated', said=all_gather([engine.mode, len(engine.buffer.keys())]))

    def after_launch(self, engine):
        note('end', said=broadcast(engine.epoch, src=1))


class Stepper(Hook):
    """In the place of OptimizerHook: goes back, averages and steps itself."""

    def after_train_iter(self, engine):
        engine.losses['loss'].backward()
        if engine.iter % 2 == 0:
            return
        for p in engine.model.parameters():
            if p.grad is not None:
                dist.all_reduce(p.grad, op=dist.ReduceOp.SUM)
                p.grad /= 4
        engine.optimizer.step()
        engine.optimizer.zero_grad()


class Double(OptimizerHook):
    """OptimizerHook with another loss, and a word from the main process."""

    def after_train_iter(self, engine):
        engine.losses['loss'] = engine.losses['loss'] * 2
        super().after_train_iter(engine)
        self.tell(engine)

    @main_only
    def tell(self, engine):
        engine.logger.info('Stepped at %d', engine.iter)


class Only(Hook):
    """Does everything on the main process alone, without a word to the other."""

    @main_only
    def before_train_epoch(self, engine):
        note('main only', epoch=engine.epoch)
        engine.logger.info('Epoch %d', engine.epoch)

    @main_only
    def after_train_epoch(self, engine):
        torch.save(engine.model.state_dict(), f'{engine.work_dir}/own_{engine.epoch}.pt')

    def after_val_epoch(self, engine):
        if is_main_process():
            engine.buffer.update('own', float(engine.epoch))


class Drift(Hook):
    """Changes weights and buffers on one process: nothing makes them alike again."""

    def after_train_iter(self, engine):
        if not is_main_process():
            next(engine.model.parameters()).data.mul_(0.99)
            engine.model.layers[1].running_mean.add_(0.5)


class Refusal(Exception):
    pass


class Fail(Hook):
    """Stops both processes at the same place."""

    def __init__(self, event, at):
        super().__init__()
        setattr(self, event, self.stop)
        self.at = at

    def stop(self, engine):
        if engine.iter >= self.at:
            raise Refusal(f'at {engine.iter}')


STAGE = dict(
    epochs=2, optimizer=dict(type='SGD', lr=0.1, momentum=0.9), validation=dict(interval=1)
)
CASES = dict(
    talk=[Talk()],
    stepper=[Stepper()],
    double=[Double(interval=2)],
    only=[Only()],
    drift=[Drift()],
)
begin()
for name, hooks in CASES.items():
    seed()
    model = Net(norm=True)
    engine = Engine(
        build_model(model, dist=True) if name == 'only' else model,
        configs(),
        stages=[STAGE, STAGE] if name == 'talk' else STAGE,
        hooks=hooks,
        work_dir=main_folder(name),
        logger=name,
    )
    if name in ('stepper', 'double'):
        engine.unregister_hook('OptimizerHook')
    if name == 'only' and is_main_process():
        # A list of hooks that is longer on one process than on the other.
        engine.register_hook(Only('More'))
    watch(engine)
    engine.launch()
    finish(name, engine)

for event, at in (
    ('after_train_iter', 1),
    ('before_val_iter', 0),
    ('before_train_epoch', 3),
    ('before_launch', 0),
    ('after_stage', 0),
):
    seed()
    name = f'stopped_{event}'
    engine = Engine(
        Net(norm=True), configs(), stages=STAGE, work_dir=main_folder(name), logger=name
    )
    engine.register_hook(Fail(event, at), before='OptimizerHook')
    watch(engine)
    attempt(engine.launch)
    note('stopped', mode=engine.mode, epoch=engine.epoch, iter=engine.iter)
    finish(name, engine)

# The script goes on: with the group as it was, and with another engine.
note('still there', said=all_gather(dist.get_rank()))
seed()
engine = Engine(Net(norm=True), configs(), stages=STAGE, work_dir=main_folder('on'), logger='on')
watch(engine)
engine.launch()
finish('on', engine)
