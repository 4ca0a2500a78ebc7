"""What torchrun's restarts (``--max-restarts``) tell: which checkpoints are this very run's."""

from __future__ import annotations

import json
import os

MARK = '.torchelastic.json'


def restarts() -> int | None:
    """Return how often torchrun has started these processes again; None if it never would."""
    if int(os.environ.get('TORCHELASTIC_MAX_RESTARTS', 0)) < 1:
        return None
    return int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0))


def mark(folder: str, found: dict[str, int]) -> None:
    """Note which checkpoints are there before the run, so that they are not taken for its own.

    Args:
        folder: The folder of the checkpoints.
        found: Their names, with times.
    """
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, MARK), 'w') as file:
        json.dump(found, file)


def marked(folder: str) -> dict[str, int] | None:
    """Return the checkpoints that were there before the run; None if it has noted nothing."""
    try:
        with open(os.path.join(folder, MARK)) as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return None
