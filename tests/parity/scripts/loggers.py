"""Loggers: the default one for two engines, a named one, one of the user's own."""

import logging
import sys

import nncore
from _lab import Net, finish, loaders, note, seed, tree
from nncore.engine import Engine

STAGE = dict(epochs=1, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1))
own = logging.getLogger('own')
own.propagate = False
own.setLevel(logging.INFO)
own.addHandler(logging.StreamHandler(sys.stdout))
for name, logger in (('first', None), ('second', None), ('named', 'named'), ('own', own)):
    seed()
    engine = Engine(Net(), loaders(), stages=STAGE, logger=logger, work_dir=name)
    engine.launch()
    note(
        'logger',
        by=name,
        name=engine.logger.name,
        level=engine.logger.level,
        propagate=engine.logger.propagate,
        handlers=[type(h).__name__ for h in engine.logger.handlers],
    )
    nncore.log('between', name, logger=engine.logger)
    logging.getLogger('named').warning('by name after %s', name)
note('files', names=tree())
finish('loggers')
