"""What torch's own hooks see, a torch scheduler in a hook, copies of model and optimizer."""

import copy
import io
import pickle

import torch
from _lab import Net, digest, finish, loaders, note, seed, watch
from nncore.engine import Engine, Hook


class Scheduled(Hook):
    """Drives one of torch's schedulers."""

    def before_stage(self, engine):
        optimizer = engine.optimizer
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=40)
        note('optimizer', type=type(optimizer).__name__, names=sorted(vars(optimizer)))
        optimizer.register_step_pre_hook(lambda *args: note('step', by='before', more=len(args[1])))
        optimizer.register_step_post_hook(lambda *args: note('step', by='after'))

    def after_train_iter(self, engine):
        self.scheduler.step()


class Copies(Hook):
    """Copies, pickles and saves what it gets hold of."""

    def after_train_epoch(self, engine):
        model = copy.deepcopy(engine.model)
        note('model', copy=digest(model.state_dict()), names=sorted(vars(engine.model)))
        file = io.BytesIO()
        torch.save(engine.model, file)
        file.seek(0)
        whole = torch.load(file, weights_only=False)
        note('whole', type=type(whole).__name__, copy=digest(whole.state_dict()))
        again = pickle.loads(pickle.dumps(engine.optimizer.state_dict()))
        note(
            'state', copy=digest(again['state']), twin=digest(copy.deepcopy(engine.optimizer).state)
        )
        note('train', by=[type(c).__name__ for c in model.children()])


seed()
model = Net(norm=True, dropout=0.2)
model.layers[0].weight.register_hook(lambda grad: note('grad', sum=digest(grad)))
model.layers[4].register_full_backward_hook(lambda m, i, o: note('backward', out=digest(o)))
model.register_forward_pre_hook(lambda m, args: note('before forward', count=len(args)))
for p in model.parameters():
    p.register_post_accumulate_grad_hook(lambda p: note('accumulated', shape=list(p.shape)))
engine = Engine(
    Net(norm=True, dropout=0.2),
    loaders(),
    stages=[
        dict(epochs=1, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
        dict(epochs=2, optimizer=dict(type='Adam', lr=0.01), validation=dict(interval=1)),
    ],
    hooks=[Copies(), Scheduled()],
    work_dir='run',
    logger='observers',
)
engine.unregister_hook('LrUpdaterHook')
watch(engine)
engine.launch()
finish('copies', engine)

seed()
stage = dict(epochs=1, optimizer=dict(type='Adam', lr=0.01), grad_clip=dict(max_norm=1.0))
engine = Engine(model, loaders(), stages=[stage], work_dir='hooked', logger='hooked')
watch(engine)
engine.launch()
finish('hooked', engine)
