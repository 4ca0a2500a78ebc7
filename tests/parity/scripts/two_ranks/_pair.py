"""What the scripts of two ranks share: the process group, and loaders built from configs."""

import sys
from datetime import timedelta
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from _lab import (  # noqa: F401
    Net,
    Points,
    attempt,
    digest,
    finish,
    loaders,
    note,
    seed,
    watch,
)
from nncore.dataset import DATASETS
from nncore.engine import (
    get_dist_info,
    get_launcher,
    init_dist,
    is_distributed,
    is_main_process,
)

DATASETS.register()(Points)


def begin():
    """Make the process group as a script does; returns this process's rank."""
    info = init_dist(launcher='torch', timeout=timedelta(seconds=60))
    note('group', info=[info, get_launcher(), is_distributed(), *get_dist_info()])
    return get_dist_info()[0]


def main_folder(name):
    """A work_dir for the main process; the other one gets None."""
    return name if is_main_process() else None


def configs(train=22, val=10, test=9, type='Points', batch_size=4, shuffle=True, **options):
    """Configs of the three loaders, each with a ragged last batch on every rank."""
    sizes = dict(train=train, val=val, test=test)
    return {
        name: dict(
            type=type,
            size=size,
            seed=i,
            name=name,
            loader=dict(batch_size=batch_size, shuffle=shuffle and name == 'train', **options),
        )
        for i, (name, size) in enumerate(sizes.items())
    }
