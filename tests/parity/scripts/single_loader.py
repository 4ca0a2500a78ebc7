"""A bare loader instead of a dict of loaders, which nncore searches for the word 'train'."""

from _lab import Net, finish, loaders, note, random_states, seed, watch
from nncore.engine import Engine

for name, options in dict(
    plain=dict(), shuffled=dict(shuffle=True), workers=dict(num_workers=2)
).items():
    seed()
    loader = loaders(**{'shuffle': False, **options})['train']
    engine = Engine(Net(), loader, work_dir=name, logger=name)
    note('made', random=random_states(), same=[v is loader for v in engine.data_loaders.values()])
    watch(engine)
    engine.launch()
    finish(name, engine)
