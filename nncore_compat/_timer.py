"""A stopwatch that can be paused."""

from time import perf_counter


class Timer:
    """Counts seconds since the last reset, without the pauses."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start again from zero, running."""
        self._start = perf_counter()
        self._paused_at: float | None = None
        self._paused_for = 0.0

    def is_paused(self) -> bool:
        """Tell whether the timer stands still."""
        return self._paused_at is not None

    def pause(self) -> None:
        """Stop counting.

        Raises:
            RuntimeError: If the timer is paused already.
        """
        if self._paused_at is not None:
            raise RuntimeError('the timer is already paused')
        self._paused_at = perf_counter()

    def resume(self) -> None:
        """Go on counting.

        Raises:
            RuntimeError: If the timer is not paused.
        """
        if self._paused_at is None:
            raise RuntimeError('the timer is not paused')
        self._paused_for += perf_counter() - self._paused_at
        self._paused_at = None

    def seconds(self) -> float:
        """Return the seconds counted so far."""
        now = perf_counter() if self._paused_at is None else self._paused_at
        return now - self._start - self._paused_for
