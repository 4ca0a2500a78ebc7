"""What comes between the last batch of an evaluation and the metrics."""

from __future__ import annotations

import time
from typing import Any

from ..clock import Clock
from ..contestants.engine import make
from ..models import loader


def evaluate(spec: dict[str, Any]) -> dict[str, float]:
    """Seconds from the last batch to ``dataset.evaluate``, on the main process.

    One forward pass, the gathering of all ``_out`` from all processes, and their order.
    """
    clock = Clock(0, spec['batches'] - 1)
    begun: list[float] = []
    val = loader(
        spec, spec['batches'], clock, at_evaluate=lambda: begun.append(time.perf_counter())
    )
    make(spec, loader(spec, 1), val).launch(eval=True)
    # the other processes have no metrics to compute
    return {'wall': begun[0] - clock.times[-1] if begun else 0.0}
