"""Checkpoints written by the main process and read by both, and folders of either."""

from _pair import Net, begin, configs, digest, finish, main_folder, note, seed, watch
from nncore.engine import Engine, get_checkpoint, is_main_process, load_checkpoint, sync
from nncore.nn import build_model

STAGE = dict(
    epochs=3,
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
    lr_schedule=dict(type='iter', policy='cosine'),
    warmup=dict(type='iter', policy='linear', steps=5, ratio=0.1),
    validation=dict(interval=2),
)


def build(name, wrapped=False, epochs=3, folder=None, **checkpoint):
    seed()
    model = Net(norm=True, dropout=0.1)
    hooks = [
        dict(type='EvalHook', high_keys=['accuracy']),
        dict(type='CheckpointHook', **checkpoint),
    ]
    engine = Engine(
        build_model(model, dist=True) if wrapped else model,
        configs(),
        stages=dict(STAGE, epochs=epochs),
        hooks=hooks,
        work_dir=folder or main_folder(name),
        logger=name,
    )
    return watch(engine)


begin()
for wrapped in (False, True):
    whole = f'whole_{wrapped}'
    engine = build(whole, wrapped, create_symlink=wrapped)
    engine.launch()
    finish(whole, engine)
    sync()
    for epoch in (1, 2):
        name = f'from_{wrapped}_{epoch}'
        engine = build(name, not wrapped)
        engine.resume(f'{whole}/epoch_{epoch}.pth')
        note('resumed', stage=engine.stage, epoch=engine.epoch, start=engine.start_iter)
        engine.launch()
        finish(name, engine)

# The work_dir given on both processes, and checkpoints elsewhere; then what is there is read.
engine = build('both', folder='both', out='elsewhere/deep', interval=2, save_optimizer=False)
engine.launch()
finish('both', engine)
sync()
target = load_checkpoint(Net(norm=True), 'elsewhere/deep/epoch_2.pth', logger='loading')
note('loaded', state=digest(target.state_dict()))
checkpoint = get_checkpoint('whole_True/epoch_2.pth', map_location='cpu')
note(
    'read',
    keys=sorted({'meta', 'optimizer', 'state_dict'} & checkpoint.keys()),
    epoch=checkpoint['meta']['epoch'],
)
# A checkpoint of which only some keys fit: the main process alone has something to say.
load_checkpoint(Net(norm=False), checkpoint, logger='loading')
load_checkpoint(Net(norm=True), checkpoint, keys=['layers.0'], logger='loading')
engine = build('longer', epochs=4)
engine.resume(checkpoint, strict=is_main_process())
engine.launch()
finish('longer', engine)
