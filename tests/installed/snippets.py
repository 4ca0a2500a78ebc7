# What a type checker is to say about scripts: `# error: RULE` of a line with a mistake, `# is TYPE`
# of a line that asks for a type; nothing of all others.
# ruff: noqa

from nncore.engine import HOOKS, Buffer, Engine, EvalHook, EventWriterHook, Hook, comm
from nncore.engine import get_checkpoint, load_checkpoint, set_random_seed
from nncore.engine.hooks.writer import JSONWriter
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

from nncore_compat import as_callback
from nncore_compat.configs import LrSchedule, Stage, Warmup

model = nn.Linear(1, 1)
loader = DataLoader(TensorDataset())

# Without annotations, stages and hooks are what they always were.
STAGES = [
    dict(epochs=1, optimizer=dict(type='SGD', lr=0.1), mine=[1, 2]),
    dict(epochs=2, optimizer=optim.SGD(model.parameters(), lr=0.1)),
]
CHECKED: list[Stage] = [
    Stage(
        epochs=1,
        optimizer=dict(type='Adam', lr=1e-3, betas=(0.9, 0.99)),
        lr_schedule=LrSchedule(type='epoch', policy='step', step=[3, 5]),
        warmup={'type': 'iter', 'policy': 'linear', 'steps': 10, 'ratio': 0.1},
        validation=dict(interval=1, for_evaluate='x'),
        grad_clip={'max_norm': 1.0},
    ),
    {'epochs': 2, 'optimizer': 'SGD', 'lr_schedule': None},
    Stage(epochs=3, optimizer=optim.SGD(model.parameters(), lr=0.1), loss='loss_all'),
]


@HOOKS.register()
class MyHook(Hook):
    def __init__(self, layer):
        super().__init__(name='Mine')
        self.layer = layer

    def after_train_iter(self, engine):
        reveal_type(engine)  # is Engine
        reveal_type(engine.iter_in_epoch)  # is int
        reveal_type(engine.optimizer)  # is Optimizer
        engine.losses['loss'].item()
        engine.model.backbone.freeze()
        engine.buffer.lastest('loss')  # error: reportAttributeAccessIssue
        engine.iterations  # error: reportAttributeAccessIssue
        engine.epoch = 3  # error: reportAttributeAccessIssue
        self.every_n_iter(engine, 3)  # error: reportAttributeAccessIssue


HOOKS_OF_MINE = [dict(type='EvalHook', high_keys=['acc']), 'LearningRateMonitor', MyHook(1)]
engine = Engine(model, dict(train=loader, val=loader), stages=STAGES, hooks=HOOKS_OF_MINE)
Engine(dict(type='Linear'), loader, CHECKED, trainer=dict(devices=2), amp='bf16', work_dir='x')
Engine('Net', dict(train=dict(type='Data', loader=dict(batch_size=1)), val='Data'), dict(epochs=1))

reveal_type(MyHook)  # is type[MyHook]
reveal_type(engine.launch())  # is None
reveal_type(engine.launch(eval=True)['acc'])  # is Any
reveal_type(engine.launch(eval='both'))  # is dict[str, Any]
reveal_type(engine.trainer)  # is Trainer
reveal_type(engine.lightning_module)  # is LightningModule
reveal_type(engine.buffer)  # is Buffer
reveal_type(engine.data_loaders)  # is dict[str, Any]
reveal_type(comm.get_dist_info())  # is tuple[int, int]
reveal_type(comm.all_gather(1))  # is list[Any]
reveal_type(comm.main_only(len)([]))  # is int | None
reveal_type(set_random_seed(1))  # is int
reveal_type(as_callback(MyHook(1)))  # is Callback
reveal_type(Buffer().count('x'))  # is int
reveal_type(EvalHook)  # is type[EvalHook]
reveal_type(JSONWriter)  # is type[JSONWriter]
load_checkpoint(model, get_checkpoint('x.pth'), strict=True)
EventWriterHook(interval=5, writers=['JSONWriter', dict(type='WandbWriter'), JSONWriter()])

Engine(model)  # error: reportCallIssue
Engine(3, loader)  # error: reportArgumentType
Engine(model, loader, stages=4)  # error: reportArgumentType
Engine(model, loader, hooks=[3])  # error: reportArgumentType
Engine(model, loader, work_dir=3)  # error: reportArgumentType
engine.lauch()  # error: reportAttributeAccessIssue
engine.launch()['acc']  # error: reportOptionalSubscript
EvalHook(intervall=2)  # error: reportCallIssue
comm.get_rank() + 'x'  # error: reportOperatorIssue
comm.rank()  # error: reportAttributeAccessIssue
A: Stage = {'epoch': 3, 'optimizer': 'SGD'}  # error: reportAssignmentType
B: Stage = {'epochs': '3', 'optimizer': 'SGD'}  # error: reportAssignmentType
Stage(epochs=3, optimizer='SGD', lr_shedule=None)  # error: reportCallIssue
Warmup(type='iter', policy='lin')  # error: reportArgumentType
from nncore.engine import EvlHook  # error: reportAttributeAccessIssue
