"""What the log of an engine tells of its launches.

Lines are known by their words; what stands before them is up to the logger that a script made.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

_TIME = re.compile(rb'\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d')
_LINE = re.compile(
    rb'(?P<train>Epoch \[(\d+)\]\[(\d+)/(\d+)\] lr: )|(?P<val>Epoch \((\w+)\) \[(\d+)\]\[\d+\])|'
    rb'(?P<launch>Launch engine, host: (.*), work_dir: (.*))|'
    rb'(?P<stage>Stage: (\d+), epochs: (\d+), optimizer: (.*))|'
    rb'(?P<resumed>Resumed stage (\d+), epoch (\d+), iter (\d+))|'
    rb'(?P<saved>Saving checkpoint to (.*)\.\.\.)|(?P<done>Done running in (.*) \()|'
    rb'(?P<stopped>Stopped (?:after|in) epoch .*, as a callback asked.*)|'
    rb'(?P<signal>(SIG\w+|A signal): saving a checkpoint after this iteration)|'
    rb'(?P<amp>Distributed: (.*), AMP: (.*), Debug: )'
)
_HEAD = 1 << 16


@dataclass
class Launch:
    """One launch of an engine, as far as its log tells.

    Args:
        stages: Epochs and optimizer, by number.
        resumed: Finished epochs and iterations that it began with.
        lengths: Iterations of each epoch.
        saved: Checkpoints.
        seconds: What the engine itself says that it took.
        done: Whether it came to its end.
        stopped: Why it ended before its time.
    """

    begun: datetime | None = None
    last: datetime | None = None
    work_dir: str = ''
    processes: str = ''
    amp: str = ''
    stages: dict[int, tuple[int, str]] = field(default_factory=dict)
    resumed: tuple[int, int] | None = None
    lengths: dict[int, int] = field(default_factory=dict)
    saved: list[str] = field(default_factory=list)
    seconds: float | None = None
    done: bool = False
    stopped: str = ''


def files(folder: str) -> list[str]:
    """Return the files of a folder that may be logs."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if name.endswith(('.log', '.txt'))]


def is_log(path: str) -> bool:
    """Tell whether a file is the log of an engine."""
    try:
        with open(path, 'rb') as file:
            return _LINE.search(file.read(_HEAD)) is not None
    except OSError:
        return False


def launches(paths: Iterable[str]) -> list[Launch]:
    """Return the launches that logs tell of, the earliest first."""
    found = [launch for path in paths for launch in _launches(path)]
    # Without times, in the order of the names of the files.
    return sorted(found, key=lambda launch: launch.begun or datetime.min)


def _launches(path: str) -> Iterator[Launch]:
    launch = Launch()
    with open(path, 'rb') as file:
        for line in _telling(file):
            found = _LINE.search(line)
            if found is None:
                continue
            kind = found.lastgroup
            # What a script does before: it resumes, and the engine says what it runs on.
            begins = kind in ('amp', 'resumed', 'launch')
            if begins and (launch.stages or launch.done or launch.lengths):
                yield launch
                launch = Launch()
            _note(launch, kind or '', [part for part in found.groups() if part is not None])
            moment = _TIME.search(line, 0, 48)
            if moment is not None:
                launch.last = datetime.fromisoformat(moment[0].decode())
                launch.begun = launch.begun or launch.last
    if launch.begun or launch.stages or launch.lengths:
        yield launch


def _telling(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Leave out lines of an epoch's training but for the last one: there may be millions."""
    held, start = b'', b''
    for line in lines:
        at = line.find(b'Epoch [')
        if at < 0:
            if held:
                yield held
                held, start = b'', b''
            yield line
        elif start and line.startswith(start, at):
            held = line
        else:
            if held:
                yield held
            held, start = line, line[at : line.find(b']', at) + 1]
    if held:
        yield held


def _note(launch: Launch, kind: str, parts: list[bytes]) -> None:
    """Note what a line tells.

    Args:
        launch: What is known so far.
        kind: The kind of line.
        parts: The whole of it, and its parts.
    """
    if kind == 'train':
        launch.lengths[int(parts[1])] = int(parts[3])
        return
    words = [part.decode(errors='replace').strip() for part in parts]
    if kind == 'launch':
        launch.work_dir = words[2]
    elif kind == 'amp':
        launch.processes, launch.amp = words[1:3]
    elif kind == 'stage':
        launch.stages[int(words[1])] = int(words[2]), words[3]
    elif kind == 'resumed':
        launch.resumed = int(words[2]), int(words[3])
    elif kind == 'saved':
        launch.saved.append(words[1])
    elif kind == 'done':
        launch.done, launch.seconds = True, _seconds(words[1])
    elif kind == 'stopped':
        launch.stopped = words[0]
    elif kind == 'signal':
        launch.stopped = words[1]


def _seconds(text: str) -> float | None:
    found = re.fullmatch(r'(?:(\d+) days?, )?(\d+):(\d\d):(\d\d)', text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()


def records(paths: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Return what logs tell of losses and metrics, as metrics.json would, with four decimals."""
    for path in paths:
        with open(path, 'rb') as file:
            for line in file:
                found = _LINE.search(line)
                if found is not None and found.lastgroup in ('train', 'val'):
                    yield _record(found, line[found.end() :].decode(errors='replace'))


def _record(found: re.Match[bytes], rest: str) -> dict[str, Any]:
    record: dict[str, Any] = {'mode': 'train', 'iter': 0}
    if found.lastgroup == 'train':
        record['epoch'], record['iter'] = int(found[2]), int(found[3])
        text = re.match(r'\[.*?\](?=, |\s*$)|[^,\s]+', rest)
        if text is not None:
            record['lr'] = ast.literal_eval(text[0])
            rest = rest[text.end() :]
    else:
        record['mode'], record['epoch'] = found[6].decode(), int(found[7])
    for part in rest.strip().removeprefix(', ').split(', '):
        key, _, value = part.rpartition(': ')
        try:
            record[key.strip()] = float(value)
        except ValueError:
            # The eta, which may have days before its colons.
            continue
    record.pop('', None)
    record.pop('memory', None)
    return record
