"""What was measured, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLORS = {
    'raw': '#8c8c8c',
    'raw+log': '#b3b3b3',
    'nncore': '#d95f02',
    'ours': '#1b7f5c',
    'lightning': '#9d8ec7',
    'lightning+log': '#6a4fa3',
}
OTHERS = ('#2b83ba', '#e7298a', '#a6761d', '#222222')


def draw(result: dict[str, Any], path: Path) -> None:
    """Write a PNG: bars with their range over the rounds, or lines where cost grows with x."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(result['cases'])
    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout='constrained')
    FigureCanvasAgg(figure)
    figure.suptitle(result['title'])
    for index, (title, cases) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        axes.set_title(title, fontsize='medium')
        (_lines if cases[0]['x'] is not None else _bars)(axes, cases)
        axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(path, dpi=120)


def _panels(cases: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """One for each case, and one for all cases of a growth."""
    panels: dict[str, list[dict[str, Any]]] = {}
    for case in cases:
        title = case['name'] if case['x'] is None else case['name'].partition(':')[0]
        panels.setdefault(title, []).append(case)
    return list(panels.items())


def _bars(axes: Any, cases: list[dict[str, Any]]) -> None:
    rows = cases[0]['contestants']
    factor, unit = _scale(cases)
    labels = list(rows)[::-1]
    medians = [rows[label]['median'] * factor for label in labels]
    ranges = [
        [(rows[label]['median'] - rows[label]['min']) * factor for label in labels],
        [(rows[label]['max'] - rows[label]['median']) * factor for label in labels],
    ]
    colors = [_color(label, index) for index, label in enumerate(labels)]
    axes.barh(labels, medians, xerr=ranges, color=colors, ecolor='#444444', capsize=2)
    axes.set_xlabel(unit)


def _lines(axes: Any, cases: list[dict[str, Any]]) -> None:
    factor, unit = _scale(cases)
    xs = [case['x'] for case in cases]
    for index, label in enumerate(cases[0]['contestants']):
        rows = [case['contestants'][label] for case in cases]
        color = _color(label, index)
        axes.plot(xs, [row['median'] * factor for row in rows], 'o-', color=color, label=label)
        low, high = ([row[key] * factor for row in rows] for key in ('min', 'max'))
        axes.fill_between(xs, low, high, color=color, alpha=0.2, linewidth=0)
    if xs[-1] > 50 * max(xs[0], 1):
        axes.set_xscale('log')
        axes.set_yscale('log')
    else:
        axes.set_ylim(bottom=0)
    axes.set_ylabel(unit)
    axes.legend(frameon=False, fontsize='small')


def _scale(cases: list[dict[str, Any]]) -> tuple[float, str]:
    if cases[0]['unit'] != 's':
        return 1, cases[0]['unit']
    largest = max(row['median'] for case in cases for row in case['contestants'].values())
    return next(
        (factor, name)
        for factor, name in ((1, 's'), (1e3, 'ms'), (1e6, 'µs'))
        if largest * factor >= 1 or name == 'µs'
    )


def _color(label: str, index: int) -> str:
    return COLORS.get(label, OTHERS[index % len(OTHERS)])
