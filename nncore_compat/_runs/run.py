"""One run: its records, launches, stages and checkpoints, put together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

from .._pickles import Refused
from . import log
from .best import Direction, direction
from .course import Course, course
from .find import Place, metrics_file
from .means import epoch_times
from .records import Records, place_of
from .saved import Saved, checkpoints, contents

# Neither losses nor metrics.
NO_METRICS = ('time', 'data_time')


class Stage(NamedTuple):
    """A stage of the training.

    Args:
        first: Its first epoch, from 1.
        epochs: How many it has.
        optimizer: The optimizer, as the log writes it.
        config: The rest of its config, where a checkpoint tells it.
    """

    first: int
    epochs: int
    optimizer: str
    config: Mapping[str, Any]


class Run:
    """What is known of a run. All of it is read when it is asked for.

    Args:
        place: Its folder, and its file of metrics if another than the usual one.
        high: Metrics whose highest value is the best.
        low: Metrics whose lowest value is.
        whole: Whether checkpoints are read whole, for their checksums.
    """

    def __init__(
        self,
        place: Place,
        high: Iterable[str] = (),
        low: Iterable[str] = (),
        whole: bool = False,
    ) -> None:
        self.folder = place.folder
        self.metrics = place.metrics or metrics_file(place.folder)
        self.logs = [path for path in log.files(place.folder) if log.is_log(path)]
        self._high, self._low, self._whole = tuple(high), tuple(low), whole

    @cached_property
    def records(self) -> Records:
        """The losses and metrics; those in the log where there is no file of them."""
        if self.metrics is None:
            found = Records()
            for record in log.records(self._in_order()):
                found.add(record)
            return found
        with open(self.metrics, 'rb') as file:
            return Records().read(file)

    def _in_order(self) -> list[str]:
        begun = {path: log.launches([path])[:1] for path in self.logs}
        return sorted(self.logs, key=lambda path: [str(one.begun) for one in begun[path]])

    @cached_property
    def launches(self) -> list[log.Launch]:
        """The launches that the log tells of, the earliest first."""
        return log.launches(self.logs)

    @cached_property
    def saved(self) -> list[Saved]:
        """The checkpoints in the folder, and those that the run has saved outside of it.

        What it saved in its folder is looked for in this one alone: of a copy, the original has
        files of the same names, and where a folder has been moved from there may be another run.
        """
        folders, outside = {self.folder: None}, dict[str, None]()
        for launch in self.launches:
            work_dir = os.path.expanduser(launch.work_dir) or '.'
            for path in launch.saved:
                folder, name = os.path.split(path)
                within = os.path.relpath(folder or '.', work_dir)
                # Both may have been moved together, or been relative to where the script ran.
                moved = os.path.normpath(os.path.join(self.folder, within))
                if not _leads_out(within):
                    folders[moved] = None
                    continue
                for place in (moved, folder):
                    if os.path.lexists(os.path.join(place, name)):
                        # Others may write to that folder too.
                        outside[os.path.join(place, name)] = None
                        break
        links = [link for path in outside if (link := _link_to(path)) is not None]
        return checkpoints(folders, [*outside, *links], self._whole)

    def shown(self, saved: Saved) -> str:
        """Return how to call a checkpoint: from the folder, by its whole path if it is outside."""
        within = os.path.relpath(saved.path, self.folder)
        return os.path.abspath(saved.path) if _leads_out(within) else within

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """What the newest checkpoint that can be read holds, without tensors."""
        known = [one for one in self.saved if not one.problem and one.link is None]
        for one in sorted(known, key=lambda one: (one.made, one.iter or 0), reverse=True):
            try:
                found = contents(one.path)
            except (Refused, OSError):
                continue
            if isinstance(found.get('meta'), dict):
                return found
        return {}

    @property
    def meta(self) -> Mapping[str, Any]:
        """What checkpoints tell of the run under `meta`."""
        return self.content.get('meta') or {}

    @cached_property
    def stages(self) -> list[Stage]:
        """The stages: as the checkpoint has them, or those that the log has come to."""
        told = dict(self.launches[-1].stages) if self.launches else {}
        for launch in self.launches:
            told = {**launch.stages, **told}
        configs = self.meta.get('stages')
        stages: list[tuple[int, str, Mapping[str, Any]]] = []
        for config in configs if isinstance(configs, list) else []:
            if isinstance(config, dict) and isinstance(config.get('epochs'), int):
                number = len(stages) + 1
                known = told.get(number)
                # Of another launch, after the checkpoint.
                epochs = known[0] if known else config['epochs']
                optimizer = known[1] if known else _optimizer(config.get('optimizer'))
                stages.append((epochs, optimizer, config))
        for number in sorted(told):
            if number == len(stages) + 1:
                stages.append((*told[number], {}))
        firsts = accumulate((epochs for epochs, *_ in stages), initial=1)
        return [Stage(first, *stage) for first, stage in zip(firsts, stages, strict=False)]

    @property
    def planned(self) -> int | None:
        """The number of epochs of all stages; None where only some of them are known."""
        known = isinstance(self.meta.get('stages'), list)
        done = self.launches and self.launches[-1].done and not self.launches[-1].stopped
        return sum(stage.epochs for stage in self.stages) if known or done else None

    @cached_property
    def course(self) -> Course:
        """Where in the run each epoch lies."""
        told: dict[int, int] = {}
        for launch in self.launches:
            told.update(launch.lengths)
        iters, epochs = self.meta.get('iter'), self.meta.get('epoch')
        if not told and isinstance(iters, int) and isinstance(epochs, int) and epochs:
            told[1] = iters // epochs
        return course(self.records, told)

    @cached_property
    def epoch_times(self) -> dict[int, tuple[float, float, int]]:
        """The seconds that the training of each epoch took, those of data_time, and iterations."""
        return epoch_times(self.records)

    @cached_property
    def resumes(self) -> list[tuple[int, float]]:
        """Where the run was taken up again: iterations and epochs that were done then."""
        marks: list[tuple[int, float]] = []
        for launch in self.launches:
            epoch, iteration = launch.resumed or (0, 0)
            marks = [mark for mark in marks if mark[0] < iteration]
            if iteration:
                within = iteration - self.course.begins(epoch + 1)[0]
                marks.append(self.course.at(place_of(epoch + 1, max(within, 0))))
        for kept, new in self.records.cuts:
            first, last = self.course.at(kept), self.course.at(new)
            known = any(first[0] <= mark[0] <= last[0] for mark in marks)
            if kept and kept < self.records.last and not known:
                marks.append(first)
        return sorted(marks)

    @cached_property
    def hook_states(self) -> Mapping[str, Any]:
        """The states of hooks in the checkpoint, where it is one of ours."""
        section = self.content.get('nncore_compat')
        ranks = section.get('ranks') if isinstance(section, dict) else None
        first = ranks[0] if isinstance(ranks, list) and ranks else None
        states = first.get('hooks') if isinstance(first, dict) else None
        return states if isinstance(states, dict) else {}

    def direction(self, key: str) -> Direction | None:
        """Tell which value of a metric is the best; None where nothing tells."""
        return direction(key, self.records, self.hook_states, self._high, self._low)


def _leads_out(path: str) -> bool:
    return path.split(os.sep, 1)[0] == os.pardir


def _link_to(path: str) -> str | None:
    """Return the link to the newest checkpoint, if this is the one."""
    folder, name = os.path.split(path)
    link = os.path.join(folder, 'latest.pth')
    return link if os.path.islink(link) and os.readlink(link) == name else None


def _optimizer(config: Any) -> str:
    if isinstance(config, dict):
        given = ', '.join(f'{key}: {value}' for key, value in config.items() if key != 'type')
        return f'{config.get("type", "")}({given})'
    return f'{config}()' if isinstance(config, str) else 'an object of the script'
