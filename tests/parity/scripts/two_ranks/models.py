"""Wrapped and bare models, seeded alike and apart, over loaders built from configs."""

from _pair import Net, begin, configs, digest, finish, main_folder, note, seed, watch
from nncore.engine import Engine
from nncore.nn import build_model
from torch.nn.parallel import DistributedDataParallel

STAGES = [
    dict(
        epochs=2,
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
        lr_schedule=dict(type='iter', policy='cosine'),
        warmup=dict(type='iter', policy='linear', steps=4, ratio=0.1),
        validation=dict(interval=1),
    ),
    dict(
        epochs=2,
        optimizer=dict(type='Adam', lr=0.01),
        grad_clip=dict(max_norm=0.5),
        validation=dict(interval=1),
    ),
]


def net():
    return Net(norm=True, dropout=0.2)


# Nothing but torch's wrapper makes models alike that were made from different seeds.
CASES = dict(
    bare=(net, 0),
    bare_apart=(net, 1),
    wrapped=(lambda: build_model(net(), dist=True), 0),
    wrapped_apart=(lambda: build_model(net(), dist=True), 1),
    torch_wrapper=(lambda: DistributedDataParallel(net()), 1),
)
rank = begin()
for name, (make, apart) in CASES.items():
    seed(3 + apart * rank)
    model = make()
    note('model', type=type(model).__name__, weights=digest(model.state_dict()))
    engine = Engine(
        model,
        configs(train=23 if apart else 22),
        stages=STAGES,
        hooks=[dict(type='EvalHook', high_keys=['accuracy'], low_keys=['misses'])],
        work_dir=main_folder(name),
        logger=name,
        seed=apart * 7 or None,
    )
    watch(engine)
    engine.launch()
    finish(name, engine)
