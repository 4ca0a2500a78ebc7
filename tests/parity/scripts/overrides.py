"""Subclasses of Engine: overridden iterations and epochs, calling super or written anew."""

import torch
from _lab import Net, finish, loaders, note, seed, watch
from nncore.engine import Engine


class Wrapping(Engine):
    """Calls super from every overridable method."""

    def train_iter(self, data):
        note('train_iter', iter=self.iter)
        super().train_iter(dict(data, x=data['x'] * 2))

    def val_iter(self, data):
        note('val_iter', iter=self.iter)
        super().val_iter(data)

    def test_iter(self, data):
        note('test_iter', mode=self.mode)
        super().test_iter(data)

    def test_epoch(self, split='test'):
        note('test_epoch', split=split)
        super().test_epoch(split=split)

    def evaluate(self):
        output = super().evaluate()
        return dict(output, extra=output['accuracy'] / 2)


class Anew(Engine):
    """Writes the iterations anew in the manner of nncore."""

    def train_iter(self, data):
        self._call_hook('before_train_iter')
        output = self.model(data, mode=self._mode, **self._kwargs)
        again = self.model(dict(data, x=data['x'] + 1), mode=self._mode, **self._kwargs)
        self.losses = dict(loss=output['loss'] + 0.1 * again['loss'])
        self.buffer.update('_avg_factor', output['_avg_factor'])
        self.buffer.update('loss', self.losses['loss'].detach())
        self._call_hook('after_train_iter')
        self._iter += 1

    def val_iter(self, data):
        self._call_hook('before_val_iter')
        with torch.no_grad():
            output = self.model(data, mode=self._mode, **self._kwargs)
        for key, value in output.items():
            self.buffer.update(key, value)
        self._call_hook('after_val_iter')

    def test_epoch(self, split='test'):
        self._mode = 'test'
        self.model.eval()
        self.buffer.pop('_out', None)
        self.data_loader = self.data_loaders[split]
        for data in self.data_loader:
            self.test_iter(data)


class Twice(Engine):
    """Validates twice."""

    def val_epoch(self):
        note('val_epoch', epoch=self.epoch)
        super().val_epoch()
        super().val_epoch()


for kind in (Wrapping, Anew, Twice):
    name = kind.__name__.lower()
    seed()
    stages = [
        dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
        dict(epochs=1, optimizer=dict(type='Adam', lr=0.01), validation=dict(interval=1)),
    ]
    hooks = [dict(type='EvalHook', run_test=True), dict(type='OptimizerHook', interval=2)]
    engine = kind(
        Net(dropout=0.1), loaders(), stages=stages, hooks=hooks, work_dir=name, logger=name
    )
    watch(engine)
    engine.launch(flavour=name)
    finish(name, engine)
    evaluated = kind(Net(), loaders(), work_dir=f'{name}_eval', logger=f'{name}_eval')
    note('evaluated', result=evaluated.launch(eval='both'))
    finish(f'{name}_eval', evaluated)
