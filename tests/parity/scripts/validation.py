"""When validation runs, on which loader, and what it hands to the dataset."""

from _lab import Net, finish, loaders, note, seed, watch
from nncore.engine import Engine


def stage(epochs, **validation):
    return dict(epochs=epochs, optimizer=dict(type='SGD', lr=0.05), validation=validation)


CASES = dict(
    schedule=(
        ('train', 'val', 'test'),
        [
            stage(3, interval=1),
            stage(4, interval=2),
            stage(3),
            stage(2, interval=0),
            stage(4, interval=1, offset=2),
            stage(5, interval=2, offset=1),
        ],
    ),
    last_due=(('train', 'val', 'test'), [stage(3, interval=3), stage(3, interval=3)]),
    extra_keys=(('train', 'val', 'test'), [stage(2, interval=1, offset=0, top=5, words='ab')]),
    no_val=(('train', 'test'), [stage(2, interval=1)]),
    no_test=(('train', 'val'), [stage(2, interval=1)]),
    train_only=(('train',), [stage(2, interval=1)]),
    none_asked=(('train', 'val'), [dict(epochs=2, optimizer=dict(type='SGD', lr=0.05))]),
)
for name, (kept, stages) in CASES.items():
    seed()
    mine = {k: v for k, v in loaders(train=10, val=5, test=7).items() if k in kept}
    engine = Engine(Net(dropout=0.1), mine, stages=stages, work_dir=name, logger=name)
    sizes = {k: len(v.dataset) for k, v in engine.data_loaders.items()}
    note('loaders', sizes=sizes)
    watch(engine)
    engine.launch()
    finish(name, engine)
