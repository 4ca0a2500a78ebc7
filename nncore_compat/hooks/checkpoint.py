"""Checkpoints after epochs, and in between."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import _files, comm
from .._work_dir import Place
from ..builder import HOOKS
from ..comm import main_only
from ._checks import check_choice, check_count
from .base import Hook, length_of

if TYPE_CHECKING:
    from ..engine import Engine

_OWN = re.compile(r'(epoch|iter)_\d+\.pth')


@HOOKS.register()
class CheckpointHook(Hook):
    """Saves `epoch_<n>.pth` after every n-th epoch and after the last.

    When training is stopped before its time, the last epoch that ran to its end is saved too,
    unless another one has begun since. A file is the old one or the whole new one at every moment.

    Args:
        interval: Saves after every n-th epoch.
        save_optimizer: Whether the optimizer's state is saved as well.
        create_symlink: Whether `latest.pth` points to the newest file; where links cannot be made,
            it is one more name of it, or a copy.
        out: The folder. Default: the engine's `work_dir`.
        every_n_iters: Saves `iter_<n>.pth` after every n-th iteration too.
        keep_last: How many of these files are kept; older ones are removed when a new one is safe.
            Default: all.
        save_best: Saves `best_<metric>.pth` after a validation with a better value of this metric,
            which has the name that a Lightning callback would monitor: what `evaluate` returned
            (`acc`), or an average (`val_loss`).
        best_mode: `max` or `min`. Default: `min` for names with `loss` or `error`, else `max`.
        on_error: `raise`, or `warn` to go on when a file cannot be written.
        background: Whether training goes on while a file is being written.

    Raises:
        TypeError, ValueError: An argument is of the wrong kind; the message says what is accepted.
        OSError: At the launch, when a file cannot be written and `on_error` is `raise`.

    Examples:
        >>> import os
        >>> hook = CheckpointHook(every_n_iters=2, keep_last=2, save_best='acc')
        >>> engine = Engine(model, loaders, stages=stages, hooks=['EvalHook', hook])
        >>> engine.launch()
        >>> sorted(name for name in os.listdir(engine.work_dir) if name.endswith('.pth'))
        ['best_acc.pth', 'epoch_2.pth', 'iter_4.pth']
    """

    def __init__(
        self,
        interval: int = 1,
        save_optimizer: bool = True,
        create_symlink: bool = False,
        out: str | None = None,
        *,
        every_n_iters: int | None = None,
        keep_last: int | None = None,
        save_best: str | None = None,
        best_mode: str | None = None,
        on_error: str = 'raise',
        background: bool = False,
    ) -> None:
        super().__init__()
        where = 'CheckpointHook'
        self._interval = check_count(interval, f'{where}.interval', minimum=None)
        self._save_optimizer = save_optimizer
        self._create_symlink = create_symlink
        self._out = out
        self._place = None if out is None else Place(out)
        self._every_n_iters = every_n_iters
        if every_n_iters is not None:
            check_count(every_n_iters, f'{where}.every_n_iters')
            vars(self)['after_train_iter'] = self._after_train_iter
        self._keep_last = keep_last
        if keep_last is not None:
            check_count(keep_last, f'{where}.keep_last')
        if save_best is not None and not isinstance(save_best, str):
            raise TypeError(f'{where}.save_best must be the name of a metric, got {save_best!r}')
        if save_best is not None:
            vars(self)['after_val_epoch'] = self._after_val_epoch
        self._save_best = save_best
        self._best_mode = best_mode or ('min' if _is_low(save_best or '') else 'max')
        check_choice(self._best_mode, f'{where}.best_mode', ('max', 'min'))
        check_choice(on_error, f'{where}.on_error', ('raise', 'warn'))
        self._goes_on = on_error == 'warn'
        self._background = background
        # The iteration at the end of an epoch that was not saved.
        self._passed: int | None = None
        self._best: float | None = None
        # Names of the files that are there, the newest last.
        self._kept: list[str] = []
        # The iteration of the newest file that is safe.
        self._safe: int | None = None

    @property
    def monitors(self) -> str | None:
        """The metric that is looked at after validations.

        Examples:
            >>> CheckpointHook(save_best='val_loss').monitors
            'val_loss'
        """
        return self._save_best

    @main_only
    def before_launch(self, engine: Engine) -> None:
        """Makes the folder."""
        self._out = self.folder(engine)
        self._place = Place(self._out)
        os.makedirs(self._out, exist_ok=True)

    def folder(self, engine: Engine) -> str:
        """Where the checkpoints go.

        Args:
            engine: The engine.

        Returns:
            A path; `~` is expanded.

        Examples:
            >>> CheckpointHook(out='checkpoints').folder(engine)
            'checkpoints'
        """
        return os.path.expanduser(engine.work_dir if self._place is None else self._place.path)

    def _after_train_iter(self, engine: Engine) -> None:
        # When all hooks have had their turn. The end of an epoch is saved in a moment.
        if self.every_n_iters(engine, self._every_n_iters or 0) and not (
            self.last_iter_in_epoch(engine) and self._is_due(engine)
        ):
            engine._when_at_rest(self.save_now)

    def save_now(self, engine: Engine) -> None:
        """Saves `iter_<n>.pth`; for when an iteration is over.

        Args:
            engine: The engine.

        Examples:
            >>> def save_at_start(engine):
            ...     engine.hooks['CheckpointHook'].save_now(engine)
            >>> engine.register_hook(ClosureHook('before_train_epoch', save_at_start))
            >>> engine.launch()
        """
        self._save(engine, f'iter_{engine.iter}.pth', engine.epoch)

    def has_saved(self, engine: Engine) -> bool:
        """Tells whether nothing was trained since the newest file; known in the main process only.

        Args:
            engine: The engine.

        Returns:
            True if so.

        Examples:
            >>> engine.launch()
            >>> engine.hooks['CheckpointHook'].has_saved(engine)
            True
        """
        return self._safe == engine.iter

    def after_train_epoch(self, engine: Engine) -> None:
        """Saves the checkpoint, when it is time."""
        due = self._is_due(engine)
        self._passed = None if due else engine.iter
        if due:
            self._save(engine, f'epoch_{engine.epoch + 1}.pth', engine.epoch + 1)

    def _after_val_epoch(self, engine: Engine) -> None:
        # When the results are known, of hooks that come later too.
        engine._when_at_rest(self._save_if_best)

    def after_launch(self, engine: Engine) -> None:
        """Saves the checkpoint that would have come later, when training was stopped."""
        if engine._stopped and self._passed == engine.iter:
            self._save(engine, f'epoch_{engine.epoch}.pth', engine.epoch)

    def state_dict(self) -> dict[str, Any]:
        """Returns which files there are, and the best value."""
        return {'kept': list(self._kept), 'best': self._best, 'passed': self._passed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over which files there are, and the best value."""
        # Of a file that may be anybody's: these will be removed.
        self._kept = [name for name in state_dict['kept'] if _OWN.fullmatch(name)]
        self._best, self._passed = state_dict['best'], state_dict['passed']

    def _is_due(self, engine: Engine) -> bool:
        return self.last_epoch(engine) or self.every_n_epochs(engine, self._interval)

    def _save_if_best(self, engine: Engine) -> None:
        if self._save_best is None or length_of(engine, engine.data_loaders['val']) == 0:
            return
        value = engine._metric(self._save_best, 'CheckpointHook.save_best')
        better = self._best is None or (
            value < self._best if self._best_mode == 'min' else value > self._best
        )
        if better:
            self._best = value
            name = re.sub(r'[^\w.-]+', '_', f'best_{self._save_best}.pth')
            self._save(engine, name, engine.epoch, listed=False)

    def _save(self, engine: Engine, name: str, epoch: int, listed: bool = True) -> None:
        # Every process has the list, though only one has the files.
        gone = self._listed(name) if listed else []
        path = os.path.join(self.folder(engine), name)
        if comm.is_main_process():
            engine.logger.info(f'Saving checkpoint to {path}...')
        failed: Callable[[OSError], None] | None = None
        if self._goes_on:

            def failed(error: OSError) -> None:
                engine.logger.warning(f'{error} Training goes on without it.')

        iteration = engine.iter

        def then() -> None:
            self._safe = iteration
            folder = os.path.dirname(path)
            if self._create_symlink and listed:
                _files.point(os.path.join(folder, 'latest.pth'), name)
            for old in gone:
                _remove(os.path.join(folder, old))

        engine._save_checkpoint(
            path,
            epoch,
            optimizer=self._save_optimizer,
            then=then,
            failed=failed,
            background=self._background,
        )

    def _listed(self, name: str) -> list[str]:
        """Put a file on the list, and take those off that are too many."""
        if self._keep_last is None:
            return []
        self._kept = [*(other for other in self._kept if other != name), name]
        gone = self._kept[: -self._keep_last]
        # The last to go stays on the list: it outlives a run that is killed before it is removed.
        self._kept = self._kept[-self._keep_last - 1 :]
        return gone


def _is_low(metric: str) -> bool:
    return 'loss' in metric or 'error' in metric


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.remove(path)
