"""A process is killed in the first attempt; the second is to go on from the last checkpoint.

That is one in the middle of an epoch, saved right before.
"""

import os
import signal
import sys

from nncore.engine import Engine, Hook, comm

sys.path.insert(0, os.path.dirname(__file__))
from net import loaders, seeded, stages

AWARE = 'aware' in sys.argv


class Die(Hook):
    begun = False

    def before_train_iter(self, engine):
        if not self.begun:
            print(f'rank {comm.get_rank()} begins at epoch {engine.epoch}, iter {engine.iter}')
            self.begun = True
        first = os.environ.get('ATTEMPT', os.environ.get('TORCHELASTIC_RESTART_COUNT')) == '0'
        if first and os.environ['RANK'] == '1' and (engine.epoch, engine.iter_in_epoch) == (2, 1):
            os.kill(os.getpid(), signal.SIGKILL)


if AWARE:
    comm.init_dist()
main = comm.is_main_process() or not AWARE
engine = Engine(
    seeded(),
    loaders(),
    stages=stages(),
    hooks=[{'type': 'CheckpointHook', 'every_n_iters': 13 if AWARE else 7}, Die()],
    work_dir=sys.argv[1] if main else None,
)
engine.launch()
