"""Curves as a picture, drawn by matplotlib."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .._runs.find import shortened
from .panels import Curve, Drawing, Panel, digits
from .thin import thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Okabe and Ito's, which can be told apart by the colour-blind; the yellow is left out as too light.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000', '#8C6D31')
MODES = {'train': COLOURS[0], 'val': COLOURS[1], 'test': COLOURS[2]}
GREY = '#7F7F7F'
# So many a curve; a picture is some 400 dots wide.
POINTS = 5000
STEPS = [1, 2, 2.5, 5, 10]
# So many letters of a name.
NAME, TITLE = 60, 32
# What differs by less than this share of itself is drawn as a constant.
FLAT = 1e-9
_WIDTH, _HEIGHT = 4.6, 2.9


def picture(drawing: Drawing, x: str = 'iter', log: bool = False) -> Figure:
    """Return the figure.

    Args:
        drawing: What to draw.
        x: What is along the x axis, 'iter' or 'epoch'.
        log: Whether losses have a logarithmic axis.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"pictures need matplotlib ({error}): pip install 'nncore-compat[plot]'. Without it, "
            '-o curves.html makes a page, and no -o at all a chart of text'
        ) from error

    columns, rows = grid(len(drawing.panels))
    style: Any = {'axes.spines.top': False, 'axes.spines.right': False, 'font.size': 9}
    # Names are text: neither formulas nor commands of TeX.
    with rc_context({**style, 'text.usetex': False, 'text.parse_math': False}):
        width = max(columns * _WIDTH, 6.4)
        handles = _legend(drawing)
        # In points, as wide as letters are in general.
        longest = max((len(str(handle.get_label())) for handle in handles), default=1)
        beside = max(1, min(len(handles), int(width * 72 / (longest * 5.2 + 40))))
        height = rows * _HEIGHT + 0.3 + 0.21 * math.ceil(len(handles) / beside)
        figure = Figure(figsize=(width, height), layout='constrained')
        figure.get_layout_engine().set(h_pad=0.1, w_pad=0.1)  # type: ignore[union-attr, call-arg]
        axes = figure.subplots(rows, columns, squeeze=False).flat
        for index, (ax, panel) in enumerate(zip(axes, drawing.panels, strict=False)):
            _draw(ax, panel, drawing, x, log)
            _mark(ax, drawing, x)
            if index + columns >= len(drawing.panels):
                ax.set_xlabel('iteration' if x == 'iter' else 'epoch')
        for ax in figure.axes[len(drawing.panels) :]:
            ax.remove()
        figure.legend(handles=handles, loc='outside lower center', ncols=beside, frameon=False)
    return figure


def grid(count: int) -> tuple[int, int]:
    """Return the columns and rows for so many panels."""
    columns = count if count < 4 else 2 if count == 4 else 3
    return columns, math.ceil(count / columns)


def _draw(ax: Axes, panel: Panel, drawing: Drawing, x: str, log: bool) -> None:
    from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

    several = len(drawing.runs) > 1
    for index, curve in enumerate(panel.curves):
        if not (several and curve.old):
            _draw_curve(ax, panel, curve, _colour(curve, several, panel, index), x)
    values = [v for curve in panel.curves for v in curve.values if math.isfinite(v)]
    if log and panel.kind == 'loss' and values and min(values) > 0:
        ax.set_yscale('log')
    else:
        # Without a factor in the corner, which is easily overlooked.
        ticks = ax.yaxis.get_majorticklocs
        ax.yaxis.set_major_formatter(
            FuncFormatter(lambda v, _: f'{v:.{digits(ticks().tolist(), 5)}g}')
        )
        ax.yaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
        if values and 0 < max(values) - min(values) < FLAT * max(map(abs, values)):
            # Noise of the last digits is no course.
            ax.set_ylim(*sorted((0.95 * values[0], 1.05 * values[0])))
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=STEPS, integer=True))
    if x == 'iter':
        ax.xaxis.set_major_formatter(EngFormatter(sep=''))
    title = {'lr': 'learning rate'}.get(panel.key, panel.key)
    ax.set_title(shortened(title, TITLE), loc='left', weight='bold', size=10, pad=15)
    text, winner = _best(panel)
    colour = COLOURS[winner % len(COLOURS)] if several else '#404040'
    ax.set_title(text, loc='right', size=8.5, color=colour, pad=15)


def _colour(curve: Curve, several: bool, panel: Panel, index: int) -> str:
    if several:
        return COLOURS[curve.run % len(COLOURS)]
    if panel.kind == 'lr':
        return COLOURS[index % len(COLOURS)]
    return MODES.get(curve.mode, COLOURS[3])


def _draw_curve(ax: Axes, panel: Panel, curve: Curve, colour: str, x: str) -> None:
    along = curve.iters if x == 'iter' else curve.epochs
    kept = thinned(curve.values, POINTS)
    where = [along[index] for index in kept]
    validated = curve.mode in ('val', 'test')
    style: dict[str, Any] = {'color': colour, 'linewidth': 1.4, 'zorder': 3}
    label = curve.mode
    if validated:
        style.update(linestyle='--' if curve.mode == 'val' else ':', linewidth=1.3)
        if len(kept) <= 60:
            style.update(marker='o', markersize=3.2)
    elif len(kept) == 1:
        style.update(marker='o', markersize=3.2)
    elif panel.kind == 'lr' and curve.run >= len(COLOURS):
        style.update(linestyle='-.')
    if curve.old:
        style.update(alpha=0.3, linewidth=1, zorder=2)
        label = '_old'
    if curve.smooth is not None:
        faint = {**style, 'alpha': 0.25, 'linewidth': 0.8, 'zorder': 2}
        ax.plot(where, [curve.values[i] for i in kept], label='_raw', **faint)
        kept = thinned(curve.smooth, POINTS)
        where = [along[index] for index in kept]
        drawn = curve.smooth
    else:
        drawn = curve.values
    values = [drawn[index] for index in kept]
    # matplotlib leaves a gap for NaN, and would stretch the axis for infinity.
    ax.plot(where, [v if math.isfinite(v) else math.nan for v in values], label=label, **style)
    odd = [place for place, value in zip(where, values, strict=True) if not math.isfinite(value)]
    if odd and not curve.old:
        ax.plot(
            odd,
            [0.015] * len(odd),
            'x',
            color=colour,
            markersize=5,
            transform=ax.get_xaxis_transform(),
            label='_not finite',
            zorder=4,
        )
    if curve.best is not None:
        place, value = along[curve.best], curve.values[curve.best]
        edge: Any = {'markeredgecolor': 'white', 'markeredgewidth': 0.8}
        ax.plot([place], [value], '*', color=colour, ms=12, zorder=5, label='_best', **edge)


def _best(panel: Panel) -> tuple[str, int]:
    """Return what is said of the best value of all runs, and whose it is."""
    found = [(curve.values[curve.best], curve) for curve in panel.curves if curve.best is not None]
    if not found:
        return '', 0
    choose = max if panel.high else min
    value, curve = choose(found, key=lambda one: one[0])
    return f'best {value:.4g}, epoch {curve.epochs[curve.best or 0]:.6g}', curve.run


def _mark(ax: Axes, drawing: Drawing, x: str) -> None:
    """Mark where stages begin and runs were resumed, in the same stretch of all panels."""
    which = 0 if x == 'iter' else 1
    runs = drawing.runs
    ends = [
        (curve.iters if x == 'iter' else curve.epochs)[-1]
        for panel in drawing.panels
        for curve in panel.curves
    ]
    width = max(ends, default=0) or 1
    ax.set_xlim(-0.02 * width, 1.03 * width)
    same = all(run.stages == runs[0].stages for run in runs)
    for number, run in enumerate(runs[:1] if same else runs):
        colour = GREY if same else COLOURS[number % len(COLOURS)]
        places = [stage[which] for stage in run.stages]
        for place in places[1:]:
            ax.axvline(place, color=colour, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1)
        if same and len(places) > 1:
            _name_stages(ax, places, width)
    for number, run in enumerate(runs):
        colour = GREY if len(runs) == 1 else COLOURS[number % len(COLOURS)]
        for resume in run.resumes:
            ax.axvline(resume[which], color=colour, linewidth=1.1, linestyle=':', zorder=1)


def _name_stages(ax: Axes, places: list[float], width: float) -> None:
    gaps = [after - before for before, after in pairwise(places)]
    name = 'stage {}' if min(gaps) > 0.15 * width else '{}'
    last = -math.inf
    for number, place in enumerate(places, start=1):
        # Of many short ones, those that have room for their number.
        if place - last > 0.04 * width:
            ax.annotate(
                name.format(number),
                (place, 1),
                (2, 2),
                xycoords=('data', 'axes fraction'),
                textcoords='offset points',
                size=7.5,
                color='#606060',
                annotation_clip=False,
            )
            last = place


def _legend(drawing: Drawing) -> list[Line2D]:
    """Return what stands in the legend."""
    from matplotlib.lines import Line2D

    def line(label: str, **style: Any) -> Line2D:
        return Line2D([], [], label=label, **{'color': GREY, 'linewidth': 1.4, **style})

    several = len(drawing.runs) > 1
    curves = [curve for panel in drawing.panels for curve in panel.curves]
    plain = [c for panel in drawing.panels if panel.kind != 'lr' for c in panel.curves]
    handles = []
    if several:
        for number, run in enumerate(drawing.runs):
            colour = COLOURS[number % len(COLOURS)]
            handles.append(line(shortened(run.label, NAME), color=colour, linewidth=2.5))
    for mode in dict.fromkeys(curve.mode for curve in plain):
        style: dict[str, Any] = {'linestyle': '-'}
        if mode != 'train':
            style = {'linestyle': '--' if mode == 'val' else ':', 'marker': 'o', 'markersize': 3.2}
        colour = GREY if several else MODES.get(mode, COLOURS[3])
        handles.append(line(mode, color=colour, **style))
    rates = [c for panel in drawing.panels if panel.kind == 'lr' for c in panel.curves]
    if not several and len(rates) > 1:
        for index, curve in enumerate(rates):
            colour = COLOURS[index % len(COLOURS)]
            handles.append(line(f'lr {shortened(curve.mode, 20)}', color=colour))
    if any(curve.best is not None for curve in curves):
        handles.append(line('best', linestyle='', marker='*', markersize=10))
    if any(len(run.stages) > 1 for run in drawing.runs):
        handles.append(line('next stage', linewidth=0.9, linestyle=(0, (5, 3))))
    if any(run.resumes for run in drawing.runs):
        handles.append(line('resumed', linewidth=1.1, linestyle=':'))
    if not several and any(curve.old for curve in curves):
        handles.append(line('before the resume', alpha=0.35, linewidth=1))
    if any(not math.isfinite(value) for curve in curves for value in curve.values):
        handles.append(line('not finite', linestyle='', marker='x', markersize=5))
    return handles
