"""CheckpointHook and the checkpoint functions in all their options."""

import torch
from _lab import Net, attempt, digest, finish, loaders, note, seed, watch
from nncore.engine import Engine, get_checkpoint, load_checkpoint, save_checkpoint

STAGES = [
    dict(epochs=2, optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
    dict(epochs=3, optimizer=dict(type='Adam', lr=0.01)),
]
CASES = dict(
    second=dict(interval=2),
    never=dict(interval=0),
    link=dict(create_symlink=True),
    bare=dict(save_optimizer=False, interval=5),
    elsewhere=dict(out='elsewhere_out/deep', interval=3),
)
for name, options in CASES.items():
    seed()
    hooks = [dict(type='CheckpointHook', **options)]
    engine = Engine(
        Net(norm=True), loaders(), stages=STAGES, hooks=hooks, work_dir=name, logger=name
    )
    watch(engine)
    engine.launch()
    finish(name, engine)

seed(9)
model = Net(norm=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
meta = dict(author='me')
made = save_checkpoint(model, 'saved/deep/model.pth', optimizer=optimizer, meta=meta)
note('saved', keys=list(made), meta=sorted(meta), state=digest(made['state_dict']))
save_checkpoint(model, 'saved/plain.pth')
torch.save({f'module.{k}': v for k, v in model.state_dict().items()}, 'saved/prefixed.pt')
torch.save(dict(model.state_dict(), surplus=torch.zeros(2)), 'saved/surplus.pt')
torch.save({k: v for k, v in model.state_dict().items() if '0' in k}, 'saved/part.pt')
torch.save(dict(state_dict=Net(hidden=5).state_dict()), 'saved/misfit.pt')
torch.save([1, 2], 'saved/list.pt')
FILES = ('deep/model.pth', 'plain.pth', 'prefixed.pt', 'surplus.pt', 'part.pt')
for file in FILES:
    for options in (dict(), dict(keys=['layers.0']), dict(map_location='cpu')):
        seed(4)
        target = Net(norm=True)
        load_checkpoint(target, f'saved/{file}', logger='loading', **options)
        note('loaded', file=file, options=sorted(options), state=digest(target.state_dict()))
seed(4)
target = Net(norm=True)
load_checkpoint(target, get_checkpoint('saved/plain.pth'), strict=True)
load_checkpoint(target, made['state_dict'], strict=True, logger='loading')
note('from dict', state=digest(target.state_dict()))
engine = Engine(target, loaders(), work_dir='loader', logger='loader')
for file in (*FILES, 'misfit.pt'):
    engine.load_checkpoint(f'saved/{file}')
    note('by engine', file=file, state=digest(target.state_dict()))
engine.load_checkpoint(made, keys=['layers.4'])
finish('loading', engine)
engine.logger.setLevel('CRITICAL')
for call in (
    lambda: load_checkpoint(Net(), 'saved/list.pt'),
    lambda: load_checkpoint(Net(norm=True), 'saved/part.pt', strict=True),
    lambda: load_checkpoint(Net(norm=True), 'saved/surplus.pt', strict=True),
    lambda: engine.resume('second/epoch_9.pth'),
    lambda: engine.resume('bare/epoch_5.pth'),
):
    attempt(call)
finish('refusals')
