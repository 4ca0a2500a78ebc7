"""The script that is killed: `python -m nncore_compat --resume auto training.py FOLDER EPOCHS`."""

import sys
from pathlib import Path

import torch
from nncore.engine import Engine, set_random_seed

from resume import project
from resume.cases import Config
from resume.runs import finish
from resume.status import BATCHES, Status

CONFIG = Config('adam', 'fp32', 'two', processes=1, interval=3)
# As many numbers, so that a checkpoint takes a while to be written.
BALLAST = 5_000_000


def main():
    folder, epochs = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    set_random_seed(1)
    engine = Engine(
        project.Net(BALLAST),
        project.loaders(CONFIG.workers, BATCHES),
        stages=project.stages(CONFIG.optimizer, (epochs, epochs)),
        hooks=project.hooks(CONFIG, every_n_iters=1, keep_last=3),
        work_dir=str(folder),
    )
    engine.register_hook(Status(folder.parent / f'{folder.name}.status'), before='TimerHook')
    engine.register_hook(project.Trace(), before='EventWriterHook')
    end = finish(engine)
    # Kept for its weights' sake: of a killed run only the last life is in it.
    del end['trace']
    torch.save(end, folder.parent / f'{folder.name}.end')


if __name__ == '__main__':
    main()
