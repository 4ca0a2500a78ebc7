"""From the start of a process to its first iteration. Imports nothing heavy by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any


def script(spec: dict[str, Any]) -> dict[str, float]:
    """Seconds of a script's parts, in a fresh process.

    Returns:
        ``torch``: to import it. ``import``: to import the engine, or Lightning, after that.
        ``construct``: to build the engine or the Trainer, model and loaders not included.
        ``launch``: until the first batch is asked for. ``first``: until the second is, all that is
        imported or set up late. ``total``: from the start of the process until then.
    """
    stamps = [time.perf_counter()]
    import torch  # noqa: F401

    stamps.append(time.perf_counter())
    construct = _import(spec['kind'])
    stamps.append(time.perf_counter())

    from ..clock import Clock
    from ..models import build, length, loader

    clock = Clock(0, 1)
    spec = {**spec, 'skip': 0, 'iters': 1}
    net, data = build(spec), loader(spec, length(spec), clock)
    begin = time.perf_counter()
    launch = construct(spec, net, data)
    built = time.perf_counter()
    launch()
    since = clock.times[1] - time.perf_counter() + time.time()
    return {
        'torch': stamps[1] - stamps[0],
        'import': stamps[2] - stamps[1],
        'construct': built - begin,
        'launch': clock.times[0] - built,
        'first': clock.times[1] - clock.times[0],
        'total': since - float(os.environ['BENCHMARK_STARTED']),
    }


def _import(kind: str) -> Any:
    """What builds the engine and returns what launches it."""
    if kind == 'engine':
        from nncore.engine import Engine

        def construct(spec: Any, net: Any, data: Any) -> Any:
            stages = [dict(epochs=1, optimizer=dict(type='SGD', lr=0.01))]
            return Engine(net, dict(train=data), stages=stages, work_dir=os.getcwd()).launch

    elif kind == 'lightning':
        from ..contestants.lightning import Module, trainer

        def construct(spec: Any, net: Any, data: Any) -> Any:
            one, module = trainer(spec), Module(spec, len(data))
            return lambda: one.fit(module, data)

    else:
        from ..contestants.raw import loop

        def construct(spec: Any, net: Any, data: Any) -> Any:
            return lambda: loop(spec, net, data)

    return construct


def command(spec: dict[str, Any]) -> dict[str, float]:
    """Seconds that a Python command line takes, start and end of the interpreter included."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *spec['argv']], check=True, stdout=subprocess.DEVNULL)
    return {'wall': time.perf_counter() - begin}
