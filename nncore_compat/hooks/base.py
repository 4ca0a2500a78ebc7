"""The hook interface: which events exist, and what a hook does when it defines none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import quirks

if TYPE_CHECKING:
    from ..engine import Engine

HOOK_NAMES = [
    'before_launch',
    'after_launch',
    'before_stage',
    'after_stage',
    'before_epoch',
    'after_epoch',
    'before_iter',
    'after_iter',
    'before_train_epoch',
    'after_train_epoch',
    'before_val_epoch',
    'after_val_epoch',
    'before_train_iter',
    'after_train_iter',
    'before_val_iter',
    'after_val_iter',
]


class Hook:
    """Something the engine calls on events, each time with itself as the only argument.

    A subclass defines the events it wants. `before_train_epoch` and `before_val_epoch` fall back
    to `before_epoch`, the iteration events to `before_iter` and `after_iter`, and so on.

    A hook that has something to remember may define `state_dict()`, which returns plain data and
    tensors, and `load_state_dict(state_dict)`: its state then goes into checkpoints, and comes back
    when a run is resumed.

    Args:
        name: What the engine knows the hook by. Default: the name of the class.

    Examples:
        >>> class Patience(Hook):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.best = float('inf')
        ...
        ...     def after_val_epoch(self, engine):
        ...         self.best = min(self.best, engine.buffer.avg('loss'))
        ...
        ...     def state_dict(self):
        ...         return {'best': self.best}
        ...
        ...     def load_state_dict(self, state_dict):
        ...         self.best = state_dict['best']
        >>> engine.register_hook(Patience(), before='EventWriterHook')
        >>> engine.launch()
        >>> engine.hooks['Patience'].best < 2
        True
    """

    # What the undefined three-word events call when the quirk 'hook-defaults' is active.
    _late_target = 'after_iter'

    # The hook that this one is inserted before, where nothing else is asked for.
    _goes_before: str | None = None

    def __init__(self, name: str | None = None) -> None:
        self._name = name or type(self).__name__
        # nncore 0.4.7 makes the defaults in a loop and all of them see its last name: that is the
        # last event which the class leaves undefined, so it is found before anything is set here.
        last = [event for event in _FALLBACKS if _is_default(self, event)][-1:]
        self._late_target = _FALLBACKS[last[0]] if last else 'after_iter'

    @property
    def name(self) -> str:
        """What the engine knows the hook by.

        Examples:
            >>> Hook('mine').name
            'mine'
        """
        return self._name

    def __eq__(self, other: object) -> bool:
        return self.name == other.name if isinstance(other, Hook) else NotImplemented

    def __repr__(self) -> str:
        return f'{self.name}()'

    def before_launch(self, engine: Engine) -> None:
        """Called once, before the first stage, whose optimizer is made later.

        Examples:
            >>> def show(engine):
            ...     print('of', engine.max_epochs, 'epochs')
            >>> engine.register_hook(ClosureHook('before_launch', show))
            >>> engine.launch()
            of 2 epochs
        """

    def after_launch(self, engine: Engine) -> None:
        """Called once, after the last stage.

        Examples:
            >>> def show(engine):
            ...     print('did', engine.iter, 'iterations')
            >>> engine.register_hook(ClosureHook('after_launch', show))
            >>> engine.launch()
            did 6 iterations
        """

    def before_stage(self, engine: Engine) -> None:
        """Called before each stage, with its optimizer in place.

        Examples:
            >>> def show(engine):
            ...     print(type(engine.optimizer).__name__)
            >>> engine.register_hook(ClosureHook('before_stage', show))
            >>> engine.launch()
            SGD
        """

    def after_stage(self, engine: Engine) -> None:
        """Called after each stage.

        Examples:
            >>> def show(engine):
            ...     print('stage', engine.stage, 'is over')
            >>> engine.register_hook(ClosureHook('after_stage', show))
            >>> engine.launch()
            stage 0 is over
        """

    def before_epoch(self, engine: Engine) -> None:
        """Called before training and validation epochs that have no event of their own.

        Examples:
            >>> seen = []
            >>> hook = ClosureHook('before_epoch', lambda engine: seen.append(engine.mode))
            >>> engine.register_hook(hook)
            >>> engine.launch()
            >>> seen
            ['train', 'val', 'train', 'val']
        """

    def after_epoch(self, engine: Engine) -> None:
        """Called after training and validation epochs that have no event of their own.

        Examples:
            >>> seen = []
            >>> hook = ClosureHook('after_epoch', lambda engine: seen.append(engine.mode))
            >>> engine.register_hook(hook)
            >>> engine.launch()
            >>> seen
            ['train', 'val', 'train', 'val']
        """

    def before_iter(self, engine: Engine) -> None:
        """Called before training and validation iterations that have no event of their own.

        Examples:
            >>> seen = []
            >>> hook = ClosureHook('before_iter', lambda engine: seen.append(engine.mode))
            >>> engine.register_hook(hook)
            >>> engine.launch()
            >>> seen[2:4]
            ['train', 'val']
        """

    def after_iter(self, engine: Engine) -> None:
        """Called after training and validation iterations that have no event of their own.

        Examples:
            >>> seen = []
            >>> hook = ClosureHook('after_iter', lambda engine: seen.append(engine.mode))
            >>> engine.register_hook(hook)
            >>> engine.launch()
            >>> seen[2:4]
            ['train', 'val']
        """

    def before_train_epoch(self, engine: Engine) -> None:
        """Called before each training epoch.

        Examples:
            >>> seen = []
            >>> hook = ClosureHook('before_train_epoch', lambda engine: seen.append(engine.epoch))
            >>> engine.register_hook(hook)
            >>> engine.launch()
            >>> seen
            [0, 1]
        """
        self._fall_back('before_epoch', engine)

    def after_train_epoch(self, engine: Engine) -> None:
        """Called after each training epoch, before its validation.

        Examples:
            >>> seen = []
            >>> hook = ClosureHook('after_train_epoch', lambda engine: seen.append(engine.epoch))
            >>> engine.register_hook(hook)
            >>> engine.launch()
            >>> seen
            [0, 1]
        """
        self._fall_back('after_epoch', engine)

    def before_val_epoch(self, engine: Engine) -> None:
        """Called before each validation; the epoch is counted as done by now.

        Examples:
            >>> seen = []
            >>> hook = ClosureHook('before_val_epoch', lambda engine: seen.append(engine.epoch))
            >>> engine.register_hook(hook)
            >>> engine.launch()
            >>> seen
            [1, 2]
        """
        self._fall_back('before_epoch', engine)

    def after_val_epoch(self, engine: Engine) -> None:
        """Called after each validation.

        Examples:
            >>> seen = []
            >>> hook = ClosureHook('after_val_epoch', lambda engine: seen.append(engine.epoch))
            >>> engine.register_hook(hook)
            >>> engine.launch()
            >>> seen
            [1, 2]
        """
        self._fall_back('after_epoch', engine)

    def before_train_iter(self, engine: Engine) -> None:
        """Called before the model sees a training batch.

        Examples:
            >>> seen = []
            >>> hook = ClosureHook('before_train_iter', lambda engine: seen.append(engine.iter))
            >>> engine.register_hook(hook)
            >>> engine.launch()
            >>> seen
            [0, 1, 2, 3, 4, 5]
        """
        self._fall_back('before_iter', engine)

    def after_train_iter(self, engine: Engine) -> None:
        """Called when the losses of a training batch are known.

        Examples:
            >>> seen = []
            >>> def note(engine):
            ...     seen.append(list(engine.losses))
            >>> engine.register_hook(ClosureHook('after_train_iter', note))
            >>> engine.launch()
            >>> seen[2:4]
            [['loss'], ['loss']]
        """
        self._fall_back('after_iter', engine)

    def before_val_iter(self, engine: Engine) -> None:
        """Called before the model sees a validation batch.

        Examples:
            >>> seen = []
            >>> hook = ClosureHook('before_val_iter', lambda engine: seen.append(engine.epoch))
            >>> engine.register_hook(hook)
            >>> engine.launch()
            >>> seen
            [1, 1, 1, 2, 2, 2]
        """
        self._fall_back('before_iter', engine)

    def after_val_iter(self, engine: Engine) -> None:
        """Called when the outputs of a validation batch are known.

        Examples:
            >>> seen = []
            >>> hook = ClosureHook('after_val_iter', lambda engine: seen.append(engine.mode))
            >>> engine.register_hook(hook)
            >>> engine.launch()
            >>> seen[2:4]
            ['val', 'val']
        """
        self._fall_back('after_iter', engine)

    def _fall_back(self, event: str, engine: Engine) -> None:
        late = quirks.active('hook-defaults')
        getattr(self, self._late_target if late else event)(engine)

    def every_n_stages(self, engine: Engine, n: int) -> bool:
        """Tell whether the current stage is the n-th, 2n-th, ... of the run.

        Args:
            engine: The engine.
            n: The period; never where it is below 1.

        Returns:
            True in all events of such a stage.

        Examples:
            >>> Hook().every_n_stages(engine, 1), Hook().every_n_stages(engine, 2)
            (True, False)
        """
        return _every(engine.stage, n)

    def every_n_epochs(self, engine: Engine, n: int) -> bool:
        """Tell whether the current epoch is the n-th, 2n-th, ... of the run.

        Args:
            engine: The engine.
            n: The period; never where it is below 1.

        Returns:
            True in all events of such an epoch.

        Examples:
            >>> Hook().every_n_epochs(engine, 1), Hook().every_n_epochs(engine, 2)
            (True, False)
        """
        return _every(engine.epoch, n)

    def every_n_iters(self, engine: Engine, n: int) -> bool:
        """Tell whether the current iteration is the n-th, 2n-th, ... of the run.

        Args:
            engine: The engine.
            n: The period; never where it is below 1.

        Returns:
            True in all events of such an iteration.

        Examples:
            >>> Hook().every_n_iters(engine, 1), Hook().every_n_iters(engine, 2)
            (True, False)
        """
        return _every(engine.iter, n)

    def every_n_epochs_in_stage(self, engine: Engine, n: int) -> bool:
        """Tell whether the current epoch is the n-th, 2n-th, ... of its stage.

        Args:
            engine: The engine.
            n: The period; never where it is below 1.

        Returns:
            True in all events of such an epoch.

        Examples:
            >>> Hook().every_n_epochs_in_stage(engine, 2)
            False
        """
        return _every(engine.epoch_in_stage, n)

    def every_n_iters_in_stage(self, engine: Engine, n: int) -> bool:
        """Tell whether the current iteration is the n-th, 2n-th, ... of its stage.

        Args:
            engine: The engine.
            n: The period; never where it is below 1.

        Returns:
            True in all events of such an iteration.

        Examples:
            >>> Hook().every_n_iters_in_stage(engine, 2)
            False
        """
        return _every(engine.iter_in_stage, n)

    def every_n_iters_in_epoch(self, engine: Engine, n: int) -> bool:
        """Tell whether the current iteration is the n-th, 2n-th, ... of its epoch.

        Args:
            engine: The engine.
            n: The period; never where it is below 1.

        Returns:
            True in all events of such an iteration.

        Examples:
            >>> Hook().every_n_iters_in_epoch(engine, 2)
            False
        """
        return _every(engine.iter_in_epoch, n)

    def first_epoch_in_stage(self, engine: Engine) -> bool:
        """Tell whether the current epoch is the first of its stage.

        Args:
            engine: The engine.

        Returns:
            True in all events of that epoch.

        Examples:
            >>> Hook().first_epoch_in_stage(engine)
            True
        """
        return engine.epoch_in_stage == 0

    def first_iter_in_stage(self, engine: Engine) -> bool:
        """Tell whether the current iteration is the first of its stage.

        Args:
            engine: The engine.

        Returns:
            True in all events of that iteration.

        Examples:
            >>> Hook().first_iter_in_stage(engine)
            True
        """
        return engine.iter_in_stage == 0

    def first_iter_in_epoch(self, engine: Engine) -> bool:
        """Tell whether the current iteration is the first of its epoch.

        Args:
            engine: The engine.

        Returns:
            True in all events of that iteration.

        Examples:
            >>> Hook().first_iter_in_epoch(engine)
            True
        """
        return engine.iter_in_epoch == 0

    def last_epoch_in_stage(self, engine: Engine) -> bool:
        """Tell whether the current epoch is the last of its stage.

        Args:
            engine: The engine.

        Returns:
            True in all events of that epoch.

        Examples:
            >>> Hook().last_epoch_in_stage(engine)
            False
        """
        return engine.epoch_in_stage + 1 == engine.cur_stage['epochs']

    def last_iter_in_stage(self, engine: Engine) -> bool:
        """Tell whether the current iteration is the last of its stage.

        Args:
            engine: The engine.

        Returns:
            True in all events of that iteration.

        Examples:
            >>> Hook().last_iter_in_stage(engine)
            False
        """
        total = _length(engine) * engine.cur_stage['epochs']
        return engine.iter_in_stage + 1 == total

    def last_iter_in_epoch(self, engine: Engine) -> bool:
        """Tell whether the current iteration is the last of its epoch.

        Args:
            engine: The engine.

        Returns:
            True in all events of that iteration.

        Examples:
            >>> Hook().last_iter_in_epoch(engine)
            False
        """
        return engine.iter_in_epoch + 1 == _length(engine)

    def last_stage(self, engine: Engine) -> bool:
        """Tell whether the current stage is the last of the run.

        Args:
            engine: The engine.

        Returns:
            True in all events of that stage.

        Examples:
            >>> Hook().last_stage(engine)
            True
        """
        return engine.stage + 1 == engine.max_stages

    def last_epoch(self, engine: Engine) -> bool:
        """Tell whether the current epoch is the last of the run.

        Args:
            engine: The engine.

        Returns:
            True in all events of that epoch.

        Examples:
            >>> Hook().last_epoch(engine)
            False
        """
        return engine.epoch + 1 == engine.max_epochs

    def last_iter(self, engine: Engine) -> bool:
        """Tell whether the current iteration is the last of the run.

        Args:
            engine: The engine.

        Returns:
            True in all events of that iteration.

        Examples:
            >>> Hook().last_iter(engine)
            False
        """
        return engine.iter + 1 == engine.max_iters


_FALLBACKS = {
    event: f'{when}_{what}'
    for event in HOOK_NAMES
    if event.count('_') == 2
    for when, _, what in [event.split('_')]
}


def meets_hook_defaults(hook: Hook) -> bool:
    """Whether nncore 0.4.7 would call other methods of a hook than the documented ones."""
    late = hook._late_target
    return any(
        short != late and not (_is_default(hook, short) and _is_default(hook, late))
        for event, short in _FALLBACKS.items()
        if _is_default(hook, event)
    )


def method_for(hook: Hook, event: str) -> str | None:
    """Return the method of a hook that an event gets to; None if nothing is done there."""
    if event in _FALLBACKS and _is_default(hook, event):
        late = quirks.active('hook-defaults')
        event = hook._late_target if late else _FALLBACKS[event]
    return None if _is_default(hook, event) else event


def _is_default(hook: Hook, event: str) -> bool:
    return getattr(getattr(hook, event), '__func__', None) is getattr(Hook, event)


def _length(engine: Engine) -> int:
    return length_of(engine, engine.data_loaders['train'])


def length_of(engine: Engine, loader: Any) -> int:
    """Return the number of a loader's batches."""
    # An engine asks a loader once in an event; another object may stand in for an engine.
    return getattr(engine, '_length', len)(loader)


def _every(count: int, n: int) -> bool:
    return n > 0 and (count + 1) % n == 0
