"""The plan of a run: what a launch would do, in fields, as text, and as a figure."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._preflight import Problem
from . import facts
from .course import Rates

if TYPE_CHECKING:
    from .._lightning.timeline import Timeline


@dataclass(repr=False)
class Plan:
    """What a launch would do, as hooks and settings stand now; printed, a page of text.

    Args:
        model: Class of the model.
        parameters: Number of its parameters.
        trainable: How many of them are trained.
        device: Where this process computes, such as ``'cuda:0'``.
        strategy: Lightning's strategy.
        processes: Number of processes.
        precision: What the model computes in.
        work_dir: Where files would go.
        resume: Where the run would go on, in words; None for a run from the beginning.
        quirks: The quirks of nncore 0.4.7 that are switched on.
        differences: Quirks that are not, but that the run meets, with what it does instead.
        loaders: The loaders, by split.
        stages: The stages that are left.
        rates: The learning rates.
        checkpoints: The epochs that are saved.
        checkpoint_iters: After how many iterations each there is a checkpoint in between; None for
            none.
        changers: Hooks and callbacks of the script's that could set other rates.
        timeline: Who is called when.
        evaluates: The splits of a launch that evaluates only, empty for a training.
        problems: What is wrong, errors first.
    """

    model: str
    parameters: int
    trainable: int
    device: str
    strategy: str
    processes: int
    precision: str
    work_dir: str
    resume: str | None = None
    quirks: list[str] = field(default_factory=list)
    differences: dict[str, str] = field(default_factory=dict)
    loaders: dict[str, facts.Loader] = field(default_factory=dict)
    stages: list[facts.Stage] = field(default_factory=list)
    rates: Rates = field(default_factory=Rates)
    checkpoints: list[int] = field(default_factory=list)
    checkpoint_iters: int | None = None
    changers: list[str] = field(default_factory=list)
    timeline: Timeline | None = None
    evaluates: tuple[str, ...] = ()
    problems: list[Problem] = field(default_factory=list)
    # The warm-ups, for the figure: from iteration to iteration.
    _warmups: list[tuple[int, int]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was found that would end the run with an error."""
        return not any(problem.fatal for problem in self.problems)

    @property
    def iterations(self) -> int:
        """Training iterations of all stages that are left, of each process."""
        return sum(stage.iterations for stage in self.stages)

    def text(self, width: int = 80) -> str:
        """Return the plan as text.

        Args:
            width: Columns to keep to.
        """
        from .text import page

        return page(self, width)

    def __repr__(self) -> str:
        return self.text()

    def plot(self, file: str | os.PathLike[str] | None = None) -> Any:
        """Draw the learning rates of all parameter groups.

        Args:
            file: Where to write the figure: png, svg, pdf, html or another ending that
                matplotlib knows. Without one, nothing is written.

        Returns:
            matplotlib's figure, which a notebook shows.

        Raises:
            ValueError: The file cannot be written as a figure, or matplotlib is missing.
        """
        from .figure import draw

        return draw(self, file)
