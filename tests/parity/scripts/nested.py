"""Engines inside hooks of an engine, and test epochs that hooks ask for."""

from _lab import Net, finish, loaders, note, seed, watch
from nncore.engine import Engine, Hook

STAGE = dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1))


class Probe(Hook):
    """Trains a small model and evaluates the large one, each by an engine of its own."""

    def after_train_epoch(self, engine):
        inner = Engine(
            Net(hidden=2),
            loaders(train=9),
            stages=dict(epochs=1, optimizer=dict(type='Adam', lr=0.1)),
            work_dir=f'inner_{engine.epoch}',
            logger=f'inner_{engine.epoch}',
        )
        inner.launch(depth=2)
        judge = Engine(engine.model, loaders(), work_dir='judge', logger='judge')
        note('judged', result=judge.launch(eval='both'))
        engine.model.train()


class Tester(Hook):
    """Runs the test split in the middle of things."""

    def after_stage(self, engine):
        engine.test_epoch()
        note('tested', result=engine.evaluate(), mode=engine.mode)
        engine.buffer.pop('loss')

    def after_val_epoch(self, engine):
        engine.test_epoch(split='val')
        note('tested', result=engine.evaluate(), mode=engine.mode)


seed()
engine = Engine(Net(dropout=0.2), loaders(), stages=[STAGE], work_dir='probe', logger='probe')
engine.register_hook(Probe(), before='CheckpointHook')
watch(engine)
engine.launch(depth=1)
finish('probe', engine)

seed()
engine = Engine(Net(dropout=0.2), loaders(), stages=[STAGE], work_dir='tester', logger='tester')
engine.register_hook(Tester())
watch(engine)
engine.launch()
finish('tester', engine)
