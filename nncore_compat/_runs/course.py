"""Where in a run its epochs lie: from places to iterations and epochs of the whole."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping

from .records import Records, epoch_of, iteration_of, place_of


def course(records: Records, told: Mapping[int, int]) -> Course:
    """Return the course of a run.

    Args:
        records: Its records. The last iteration of an epoch is always written.
        told: Iterations of epochs, as far as others know them.
    """
    ends, last = records.ends(), records.last
    lengths: dict[int, int] = {}
    for epoch, end in sorted(ends.items()):
        running = epoch == max(ends) and epoch_of(last) == epoch and iteration_of(last) is not None
        # Of the running epoch, the last one may be to come.
        expected = max(told.get(epoch, 0), lengths.get(epoch - 1, 0)) if running else 0
        lengths[epoch] = max(end, expected)
    if len(lengths) == 1:
        (only,) = lengths
        lengths[only] = max(lengths[only], told.get(1, 0))
    return Course(lengths or dict(told) or {1: 1})


class Course:
    """The iterations and epochs that are done at each place.

    Args:
        lengths: The number of iterations of epochs. What is missing, since the file of an earlier
            run was removed or an epoch is still to come, is taken to be like its neighbour.
    """

    def __init__(self, lengths: Mapping[int, int]) -> None:
        self.lengths = dict(lengths)
        self._epochs = sorted(lengths)
        self._offsets: list[int] = []
        done, before, usual = 0, 0, lengths[self._epochs[0]]
        for epoch in self._epochs:
            done += (epoch - before - 1) * usual
            self._offsets.append(done)
            before, usual = epoch, lengths[epoch]
            done += usual

    def length(self, epoch: int) -> int:
        """Return the number of iterations of an epoch."""
        return self.lengths[self._epochs[self._nearest(epoch)]]

    def begins(self, epoch: int) -> tuple[int, float]:
        """Return the iterations and epochs that are done when an epoch begins."""
        index = self._nearest(epoch)
        missing = epoch - self._epochs[index]
        return self._offsets[index] + missing * self.length(epoch), float(epoch - 1)

    def at(self, place: int) -> tuple[int, float]:
        """Return the iterations and epochs, with a fraction, that are done at a place."""
        epoch, iteration = epoch_of(place), iteration_of(place)
        if epoch < 1:
            return 0, 0.0
        if iteration is None:
            return self.begins(epoch)[0] + self.length(epoch), float(epoch)
        begun, length = self.begins(epoch)[0], max(self.length(epoch), iteration, 1)
        return begun + iteration, epoch - 1 + iteration / length

    def along(self, places: array[int]) -> tuple[array[int], array[float]]:
        """Return what :meth:`at` does, for many places in order."""
        iters, epochs = array('q'), array('d')
        row = 0
        while row < len(places):
            epoch = epoch_of(places[row])
            first, next_one = place_of(epoch, 0), place_of(epoch + 1, 0)
            end = bisect_left(places, next_one, row)
            if iteration_of(places[end - 1]) is None or epoch < 1:
                points = [self.at(place) for place in places[row:end]]
                iters.extend(point[0] for point in points)
                epochs.extend(point[1] for point in points)
            else:
                within = [(place - first) >> 1 for place in places[row:end]]
                begun, length = self.begins(epoch)[0], max(self.length(epoch), within[-1], 1)
                iters.extend([begun + iteration for iteration in within])
                epochs.extend([epoch - 1 + iteration / length for iteration in within])
            row = end
        return iters, epochs

    def _nearest(self, epoch: int) -> int:
        return max(bisect_right(self._epochs, epoch) - 1, 0)
