"""What cannot be compared, told before anything runs."""

from __future__ import annotations

import argparse
import os
from typing import Any

from .. import _options


def obstacle(options: argparse.Namespace) -> str | None:
    """Return what stands in the way of a comparison, if anything does.

    Args:
        options: Those of the command line; they have been put into the environment.
    """
    if options.verify < 1:
        return f'N must be at least 1, but is {options.verify}'
    for name in ('resume', 'timeline', 'dry_run', 'plot_lr', 'report'):
        if getattr(options, name, None):
            option = f'--{name.replace("_", "-")}'
            return f'{option} has no meaning for nncore, which the script runs under as well'
    for name in ('WORLD_SIZE', 'SLURM_NTASKS'):
        if os.environ.get(name, '1') != '1':
            value = os.environ[name]
            return f'one process is compared with one, but a launcher has set {name}={value}'
    asked = _options.asked()
    for name in ('devices', 'num_nodes'):
        value = asked.get(name, 1)
        one = value == 1 or (name == 'devices' and _is_index(value))
        if not one:
            option = f'--{name.replace("_", "-")}'
            return f'one process is compared with one: leave out {option} {value}'
    if any(word in str(asked.get('strategy')) for word in ('spawn', 'fork', 'notebook')):
        return f'--strategy {asked["strategy"]} trains in other processes, which are not seen'
    return None


def _is_index(devices: Any) -> bool:
    if isinstance(devices, list):
        return len(devices) == 1
    return isinstance(devices, str) and devices.rstrip().rstrip(',').isdigit()
