"""Learning rates as a figure of matplotlib's."""

from __future__ import annotations

import io
import os
from html import escape
from typing import TYPE_CHECKING, Any

from .. import _preview
from .chart import is_logarithmic, sampled

if TYPE_CHECKING:
    from .plan import Plan

COLOURS = ('#1f6fb4', '#d9632a', '#2a8f4f', '#8a4fb0', '#b5892b', '#c23b6b', '#3aa3a3', '#6b6b6b')
STEEP = 0.02
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>body {{ margin: 2em }} svg {{ max-width: 100%; height: auto }}</style>
{svg}
</html>
"""


def draw(plan: Plan, file: str | os.PathLike[str] | None) -> Any:
    """Draw the learning rates of a plan.

    Args:
        plan: The plan.
        file: Where to write the figure, if anywhere.

    Raises:
        ValueError: The file cannot be written as a figure, matplotlib is missing, or there are no
            rates.
    """
    if file is None:
        _preview.check_figure('x.png', 'plot')
    else:
        _preview.check_figure(file, 'plot')
    if not plan.rates.iterations:
        raise ValueError('there are no learning rates to draw')
    # Not pyplot, which would choose a window system and keep every figure.
    from matplotlib.figure import Figure

    class Shown(Figure):
        """A figure that a notebook shows without pyplot as well."""

        def _repr_png_(self) -> bytes:
            data = io.BytesIO()
            self.savefig(data, dpi=100)
            return data.getvalue()

    figure = Shown(figsize=(9, 4), layout='constrained')
    _draw(plan, figure.subplots())
    if file is not None:
        _write(figure, os.path.expanduser(os.fspath(file)))
    return figure


def _draw(plan: Plan, axes: Any) -> None:
    rates = plan.rates
    first, last = rates.iterations[0] + 1, rates.iterations[-1] + 1
    groups = max(len(values) for values in rates.values)
    logarithmic = is_logarithmic(sampled(rates, 0, 400))
    bounds = _bounds(plan)
    for index, (begin, end) in enumerate(bounds):
        if index % 2:
            axes.axvspan(begin, end, color='#000000', alpha=0.04, lw=0)
        if index:
            axes.axvline(begin, color='#999999', lw=0.8)
    for index, (begin, end) in enumerate(plan._warmups):
        label = 'warm-up' if index == 0 else None
        axes.axvspan(begin + 1, end + 1, color='#f2b134', alpha=0.25, lw=0, label=label)
    names = max(rates.names.values(), key=len)
    for group in range(groups):
        x, y = _line(plan, group)
        name = names[group]
        label = f'group {name}' if name.isdigit() else name
        axes.plot(
            x,
            y,
            color=COLOURS[group % len(COLOURS)],
            lw=1.8,
            label=label if groups > 1 else None,
        )
    if logarithmic:
        axes.set_yscale('log')
    else:
        axes.set_ylim(bottom=0)
        axes.margins(y=0.08)
    room = max(1.0, 0.01 * (last - first))
    axes.set_xlim(first - room, last + room)
    axes.set_xlabel('iteration')
    axes.set_ylabel('learning rate')
    axes.grid(alpha=0.25)
    axes.spines[['right', 'top']].set_visible(False)
    for index, (begin, end) in enumerate(bounds):
        if len(bounds) <= 12:
            stage = plan.stages[index]
            epochs = f'{stage.epochs[0]}' + (
                f'-{stage.epochs[-1]}' if len(stage.epochs) > 1 else ''
            )
            wide = (end - begin) / max(1, last - first) > 0.17
            text = f'stage {stage.number}\nepochs {epochs}' if wide else f'{stage.number}'
            axes.text(
                (begin + end) / 2,
                1.02,
                text,
                transform=axes.get_xaxis_transform(),
                ha='center',
                va='bottom',
                fontsize=9,
                color='#555555',
            )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc='best', frameon=False, fontsize=9)


def _bounds(plan: Plan) -> list[tuple[int, int]]:
    """The iterations, from 1, at which stages begin and end."""
    rates = plan.rates
    bounds = []
    for stage in dict.fromkeys(rates.stages):
        places = rates.of_stage(stage)
        bounds.append((rates.iterations[places[0]] + 1, rates.iterations[places[-1]] + 1))
    return bounds


def _line(plan: Plan, group: int) -> tuple[list[float], list[float]]:
    """A group's rates by iteration, from 1; a gap where a stage has no such group."""
    rates = plan.rates
    peak = max(values[group] for values in rates.values if group < len(values))
    x: list[float] = []
    y: list[float] = []
    for iteration, values in zip(rates.iterations, rates.values, strict=True):
        value = values[group] if group < len(values) else float('nan')
        # A drop is upright, and not the way from one iteration to the next.
        if y and (len(rates.values) < 200 or abs(value - y[-1]) > STEEP * max(peak, 1e-300)):
            x.append(iteration + 1)
            y.append(y[-1])
        x.append(iteration + 1)
        y.append(value)
    return x, y


def _write(figure: Any, file: str) -> None:
    if not file.lower().endswith('.html'):
        figure.savefig(file, dpi=150)
        return
    text = io.StringIO()
    figure.savefig(text, format='svg')
    # The page has a head of its own.
    svg = text.getvalue()
    svg = svg[svg.index('<svg') :]
    with open(file, 'w', encoding='utf-8') as page:
        page.write(PAGE.format(title=escape('Learning rate'), svg=svg))
