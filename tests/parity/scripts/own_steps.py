"""Scripts that go back and step themselves: by a hook of their own, or with two optimizers."""

import torch
from _lab import Net, finish, loaders, note, seed, watch
from nncore.engine import Engine, Hook


class Stepper(Hook):
    """In the place of OptimizerHook: two backward passes, and a step every second iteration."""

    def after_train_iter(self, engine):
        loss = engine.losses['loss']
        loss.backward(retain_graph=True)
        (0.1 * loss).backward()
        if engine.iter % 2:
            torch.nn.utils.clip_grad_value_(engine.model.parameters(), 0.05)
            engine.optimizer.step()
            engine.optimizer.zero_grad(set_to_none=False)


class Duel(Engine):
    """Trains two parts of a model against each other."""

    def train_iter(self, data):
        self._call_hook('before_train_iter')
        for name, sign in (('head', 1), ('body', -1)):
            output = self.model(data, mode='train', **self._kwargs)
            self.duel[name].zero_grad()
            (sign * output['loss']).backward()
            self.duel[name].step()
        self.losses = dict(loss=output['loss'])
        self.buffer.update('_avg_factor', output['_avg_factor'])
        self.buffer.update('loss', output['loss'].item())
        self._call_hook('after_train_iter')
        self._iter += 1


STAGE = dict(
    epochs=2, optimizer=dict(type='SGD', lr=0.1, momentum=0.9), validation=dict(interval=1)
)
seed()
engine = Engine(Net(), loaders(), stages=STAGE, work_dir='own', logger='own')
engine.register_hook(Stepper(), before='OptimizerHook')
engine.unregister_hook('OptimizerHook')
watch(engine)
engine.launch()
finish('own', engine)

seed()
engine = Duel(Net(), loaders(), stages=[STAGE, STAGE], work_dir='duel', logger='duel')
engine.duel = dict(
    body=torch.optim.Adam(engine.model.layers[0].parameters(), lr=0.001),
    head=torch.optim.SGD(engine.model.layers[4].parameters(), lr=0.1),
)
engine.unregister_hook('OptimizerHook')
watch(engine)
engine.launch()
note('states', sizes=[len(o.state) for o in engine.duel.values()])
finish('duel', engine)
