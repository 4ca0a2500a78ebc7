"""launch(eval=...): every split, with and without a work_dir, and what it leaves behind."""

import logging

import torch
from _lab import Net, Points, attempt, finish, loaders, note, seed, tree, watch
from nncore.engine import Engine
from torch.utils.data import DataLoader


class Quiet(Points):
    """Evaluates to nothing."""

    def evaluate(self, blob, logger=None, **kwargs):
        note('evaluate', kwargs=kwargs, batches=len(blob))


def build(name, data=None, **kwargs):
    seed()
    stage = dict(epochs=1, optimizer=dict(type='SGD', lr=1), validation=dict(interval=1, top=3))
    kwargs.setdefault('stages', [stage])
    return watch(Engine(Net(dropout=0.5), data or loaders(), **kwargs))


for mode in (True, 'test', 'val', 'both'):
    engine = build(str(mode), work_dir=f'eval_{mode}', logger=f'eval_{mode}')
    attempt(engine.launch, eval=mode, beam=2)
    note('generators', state=[engine.mode, engine.model.training])
    finish(f'eval_{mode}', engine)

engine = build('wrong', work_dir='wrong', logger='wrong')
error = attempt(engine.launch, eval='train')
finish('wrong')

engine = build('twice', work_dir='twice', logger='twice')
attempt(engine.launch, eval=True)
attempt(engine.launch, eval='val')
finish('twice', engine)

quiet = dict(train=DataLoader(Quiet(5), batch_size=2), test=DataLoader(Quiet(7), batch_size=2))
engine = build('quiet', quiet, work_dir='quiet', logger='quiet')
attempt(engine.launch, eval='both')
finish('quiet', engine)

torch.save(Net().state_dict(), 'weights.pt')
logger = logging.getLogger('ready')
logger.addHandler(logging.StreamHandler())
logger.setLevel(logging.INFO)
engine = build('ready', logger=logger, stages=None)
engine.load_checkpoint('weights.pt')
before = tree()
attempt(engine.launch, eval=True)
note('files', same=before == tree())
finish('ready', engine)

engine = build('trained', work_dir='trained', logger='trained')
engine.launch()
engine = build('loaded', work_dir='loaded', logger='loaded')
engine.load_checkpoint('trained/epoch_1.pth')
attempt(engine.launch, eval='both')
finish('loaded', engine)
