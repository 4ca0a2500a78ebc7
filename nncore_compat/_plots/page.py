"""Curves as a page for the browser: one file, which needs nothing else."""

from __future__ import annotations

import json
import math
from array import array
from importlib.resources import files
from typing import Any

from .panels import Curve, Drawing
from .picture import COLOURS, MODES
from .thin import thinned

# Points of a curve: the browser can zoom into a picture, but the page has to be small.
POINTS = 4000
_MARK = '/*data*/null'


def page(drawing: Drawing, x: str = 'iter', log: bool = False) -> str:
    """Return the page.

    Args:
        drawing: What to draw.
        x: What is along the x axis at first, 'iter' or 'epoch'.
        log: Whether losses have a logarithmic axis at first.
    """
    data = {
        'x': x,
        'log': log,
        'colours': COLOURS,
        'modes': MODES,
        'notes': drawing.notes,
        'runs': [
            {'label': run.label, 'stages': run.stages, 'resumes': run.resumes}
            for run in drawing.runs
        ],
        'panels': [
            {
                'key': panel.key,
                'kind': panel.kind,
                'high': panel.high,
                'curves': [_curve(curve) for curve in panel.curves],
            }
            for panel in drawing.panels
        ],
    }
    # A name could close the element that it stands in.
    text = json.dumps(data, separators=(',', ':'), allow_nan=False).replace('<', '\\u003c')
    template = files(__package__).joinpath('page.html').read_text(encoding='utf-8')
    return template.replace(_MARK, text)


def _curve(curve: Curve) -> dict[str, Any]:
    kept = thinned(curve.values, POINTS)
    if curve.smooth is not None:
        kept = sorted({*kept, *thinned(curve.smooth, POINTS)})
    if curve.best is not None:
        kept = sorted({*kept, curve.best})
    result: dict[str, Any] = {
        'run': curve.run,
        'mode': curve.mode,
        'old': curve.old,
        'iter': [curve.iters[index] for index in kept],
        'epoch': [round(curve.epochs[index], 4) for index in kept],
        'value': _numbers(curve.values, kept),
        'best': None if curve.best is None else kept.index(curve.best),
    }
    if curve.smooth is not None:
        result['smooth'] = _numbers(curve.smooth, kept)
    return result


def _numbers(values: array[float], kept: list[int]) -> list[float | str]:
    """Return values as JSON has them, which knows no NaN and no infinity."""
    chosen = (values[index] for index in kept)
    return [float(f'{v:.7g}') if math.isfinite(v) else str(v) for v in chosen]
