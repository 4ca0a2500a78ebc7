"""Compiled models: whole, in part and in place, trained in two stages, resumed, evaluated."""

from _lab import finish, loaders, note, seed, watch
from _traceable import WAYS, Compilable, begin_counting, note_graphs
from nncore.engine import Engine


def build(name, way, epochs=1, sizes=dict(train=20, val=8, test=8), **kwargs):
    seed()
    begin_counting()
    stage = dict(
        epochs=epochs,
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
        lr_schedule=dict(type='iter', policy='cosine'),
        grad_clip=dict(max_norm=0.5),
        validation=dict(interval=1),
    )
    engine = Engine(
        WAYS[way](Compilable(norm=True, dropout=0.2)),
        loaders(**sizes),
        stages=stage,
        hooks=[dict(type='EvalHook', high_keys=['accuracy'])],
        work_dir=name,
        logger=name,
        **kwargs,
    )
    return watch(engine)


def launch(name, engine, **kwargs):
    note('returns', value=engine.launch(**kwargs))
    note_graphs()
    finish(name, engine)


# Ragged last batches, for which the compiler makes a second graph.
launch('whole', build('whole', 'whole', 2, sizes={}))
launch('in_place', build('in_place', 'in_place'))
launch('part', build('part', 'part', amp='bf16'))
# What a compiled model has saved, under the names that it has.
engine = build('resumed', 'whole', 2)
engine.resume('whole/epoch_1.pth')
launch('resumed', engine)
engine = build('evaluated', 'whole')
engine.load_checkpoint('whole/epoch_1.pth')
launch('evaluated', engine, eval=True)
