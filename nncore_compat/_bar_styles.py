"""Lines with a bar in them, as rich and tqdm draw it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import NamedTuple

from ._random import unnoticed

LONGEST = 40
SHORTEST = 10


class Line(NamedTuple):
    """What a line says.

    Args:
        title: What is being done.
        done: How much of it is done.
        total: How much there is to do, None if nobody knows.
        details: What else there is to say, the most important first.
    """

    title: str
    done: int
    total: int | None
    details: Sequence[str]

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def numbers(self) -> str:
        """How much of it is done, in numbers."""
        return f'{self.done}/{"?" if self.total is None else self.total}'


Style = Callable[[Sequence[Line], int], list[str]]


def rich_style(stream: io.TextIOWrapper) -> Style:
    """Return what draws lines with rich.

    Args:
        stream: The terminal.
    """
    with unnoticed():
        from rich.console import Console
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        console = Console(file=stream, force_jupyter=False)

    def words(line: Line, title: int, count: int, details: Sequence[str]) -> tuple[str, str]:
        after = [f'{line.numbers:>{count}}', *details]
        return f'{line.title:<{title}} ', ' ' + '  '.join(after)

    def draw(line: Line, before: str, after: str, bar: int) -> str:
        total = None if line.total is None else max(1, line.total)
        parts = ProgressBar(total, line.done, bar, pulse=total is None, animation_time=0)
        text = Text(before)
        for part in console.render(parts, console.options.update(width=bar)) if bar else ():
            text.append(part.text, part.style)
        with console.capture() as captured:
            console.print(text, Text(after), sep='', end='', soft_wrap=True)
        return captured.get()

    return lambda lines, width: _drawn(lines, width, words, draw)


def tqdm_style(stream: io.TextIOWrapper) -> Style:
    """Return what draws lines with tqdm.

    Args:
        stream: The terminal.
    """
    from tqdm import tqdm

    def words(line: Line, title: int, count: int, details: Sequence[str]) -> tuple[str, str]:
        share = '' if line.total is None else f'{line.share:4.0%}'
        after = f'{line.numbers:>{count}}' + (f' [{", ".join(details)}]' if details else '')
        return f'{line.title + ":":<{title + 1}} {share}|', f'| {after}'

    try:
        '█▏'.encode(stream.encoding)
        ascii = False
    except UnicodeEncodeError:
        ascii = True

    def draw(line: Line, before: str, after: str, bar: int) -> str:
        if not bar:
            return before + after
        return tqdm.format_meter(
            0 if line.total is None else min(line.done, line.total),
            line.total,
            elapsed=0,
            ncols=len(before) + bar + len(after),
            ascii=ascii,
            bar_format='{before}{bar}{after}',
            before=before,
            after=after,
        )

    return lambda lines, width: _drawn(lines, width, words, draw)


STYLES = {'rich': rich_style, 'tqdm': tqdm_style}


def best() -> str:
    """Return the name of the style that is taken where none is named."""
    return 'rich' if find_spec('rich') else 'tqdm'


def _drawn(
    lines: Sequence[Line],
    width: int,
    words: Callable[[Line, int, int, Sequence[str]], tuple[str, str]],
    draw: Callable[[Line, str, str, int], str],
) -> list[str]:
    """Draw lines below each other, all bars of one length, with all details that fit."""
    title = max((len(line.title) for line in lines), default=0)
    count = max((len(line.numbers) for line in lines), default=0)
    chosen, bar = [], LONGEST
    for line in lines:
        details = list(line.details)
        while True:
            before, after = words(line, title, count, details)
            room = width - len(before) - len(after)
            if room >= SHORTEST or not details:
                break
            details.pop()
        chosen.append((line, before, after))
        bar = min(bar, room)
    if bar < SHORTEST:
        return [f'{line.title} {line.numbers}'[:width] for line in lines]
    return [draw(line, before, after, bar) for line, before, after in chosen]
