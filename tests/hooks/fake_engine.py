"""An engine small enough to drive the hooks of nncore and of nncore_compat alike."""

import logging
from collections import OrderedDict
from typing import Any

import torch
from torch.utils.data import DataLoader


class Clock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Lines(logging.Handler):
    """Keeps the messages of a logger."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f'{record.levelname}: {record.getMessage()}')


class FakeEngine:
    """Calls hooks in nncore's order, in plain Python.

    Args:
        buffer: The buffer to use.
        hooks: The hooks, in order.
        loaders: Data loaders by split.
        stages: Stage configs; `optimizer` may also be a function of the parameters.
        model: Called as nncore does. Default: one layer that returns a loss.
        work_dir: Working directory.
        clock: Moves by 1/8 s with each iteration.
    """

    _quirks_met: tuple[str, ...] = ()
    _quirks_of_launch: tuple[str, ...] = ()
    failure: BaseException | None = None

    def __init__(
        self,
        buffer: Any,
        hooks: list[Any],
        loaders: dict[str, Any],
        stages: list[dict[str, Any]],
        model: torch.nn.Module | None = None,
        work_dir: str = '.',
        clock: Clock | None = None,
        debug: bool = False,
        meta: Any = None,
    ) -> None:
        self.model = Linear() if model is None else model
        self.buffer = buffer
        self.hooks = OrderedDict((hook.name, hook) for hook in hooks)
        self.data_loaders = loaders
        self.data_loader: Any = None
        self.stages = stages
        self.work_dir = work_dir
        self.debug = debug
        self.meta = meta
        self.kwargs: dict[str, Any] = {}
        self.clock = clock or Clock()
        self.mode = ''
        self._stopped = False
        self.stage = self.epoch = self.iter = self.start_iter = 0
        self.losses: dict[str, Any] = {}
        self.optimizer: Any = None
        self.syncs: list[bool] = []
        self.amp_type: str | None = None
        self.handler = Lines()
        self.logger = logging.Logger('fake')
        self.logger.addHandler(self.handler)

    @property
    def lines(self) -> list[str]:
        return self.handler.lines

    @property
    def cur_stage(self) -> dict[str, Any]:
        return self.stages[self.stage]

    @property
    def max_stages(self) -> int:
        return len(self.stages)

    @property
    def max_epochs(self) -> int:
        return sum(stage['epochs'] for stage in self.stages)

    @property
    def max_iters(self) -> int:
        return self.max_epochs * len(self.data_loaders['train'])

    @property
    def _epochs_before(self) -> int:
        return sum(stage['epochs'] for stage in self.stages[: self.stage])

    @property
    def epoch_in_stage(self) -> int:
        return self.epoch - self._epochs_before

    @property
    def iter_in_stage(self) -> int:
        return self.iter - self._epochs_before * len(self.data_loaders['train'])

    @property
    def iter_in_epoch(self) -> int:
        return self.iter - self.epoch * len(self.data_loaders['train'])

    def get_amp_type(self) -> str | None:
        return self.amp_type

    def call(self, event: str) -> None:
        for hook in self.hooks.values():
            getattr(hook, event)(self)

    def _given_scaler(self) -> None:
        return None

    def _backpropagate(self, loss: torch.Tensor, scaler: Any, sync: bool) -> None:
        self.syncs.append(sync)
        scaler.scale(loss).backward()

    def _clip_gradients(self, params: Any, cfg: Any) -> torch.Tensor:
        return torch.nn.utils.clip_grad_norm_(params, **cfg)

    def _when_at_rest(self, action: Any) -> None:
        action(self)

    def _save_checkpoint(
        self, path: str, epoch: int, optimizer: bool, then: Any, **kwargs: Any
    ) -> None:
        # What nncore has in a file; the rest is the real engine's to add.
        from nncore_compat._plain import described
        from nncore_compat.comm import is_main_process
        from nncore_compat.utils import save_checkpoint

        if is_main_process():
            meta = {'epoch': epoch, 'iter': self.iter, 'stages': described(self.stages)}
            save_checkpoint(self.model, path, self.optimizer if optimizer else None, meta)
            then()

    def _must_average_gradients(self) -> bool:
        return False

    def _step_optimizer(self, scaler: Any, look: Any) -> None:
        # Only our hook comes here.
        from nncore_compat import _amp

        _amp.step(self.optimizer, scaler, look)

    def test_epoch(self) -> None:
        self.mode = 'test'
        self.data_loader = self.data_loaders['test']

    def evaluate(self) -> Any:
        return self.data_loader.dataset.evaluate([])

    def _forward(self, data: Any) -> dict[str, Any]:
        self.clock.now += 0.125
        output = self.model(data, mode=self.mode, **self.kwargs)
        for key, value in output.items():
            self.buffer.update(key, value.detach() if torch.is_tensor(value) else value)
        return output

    def _train_epoch(self) -> None:
        self.mode = 'train'
        self.model.train()
        self.data_loader = self.data_loaders['train']
        self.call('before_train_epoch')
        for data in self.data_loader:
            self.clock.now += 0.0625
            self.call('before_train_iter')
            output = self._forward(data)
            self.losses = {k: v for k, v in output.items() if 'loss' in k}
            self.call('after_train_iter')
            self.iter += 1
        self.call('after_train_epoch')
        self.epoch += 1

    def _val_epoch(self) -> None:
        self.mode = 'val'
        self.model.eval()
        self.data_loader = self.data_loaders['val']
        self.call('before_val_epoch')
        for data in self.data_loader:
            self.call('before_val_iter')
            with torch.no_grad():
                self._forward(data)
            self.call('after_val_iter')
        self.call('after_val_epoch')

    def _build(self, made: Any) -> Any:
        if isinstance(made, dict):
            rest = {k: v for k, v in made.items() if k != 'type'}
            return getattr(torch.optim, made['type'])(self.model.parameters(), **rest)
        return made(self.model.parameters()) if callable(made) else made

    def run(self) -> 'FakeEngine':
        self.call('before_launch')
        for index, stage in enumerate(self.stages):
            self.stage = index
            self.optimizer = self._build(stage['optimizer'])
            self.call('before_stage')
            for _ in range(stage['epochs']):
                self._train_epoch()
                if stage.get('validation'):
                    self._val_epoch()
            self.call('after_stage')
        self.call('after_launch')
        return self


class Linear(torch.nn.Module):
    """A layer with a loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, data: Any, mode: str = 'train', **kwargs: Any) -> dict[str, Any]:
        loss = self.layer(data).square().mean()
        return {'loss': loss, 'other_loss': 2 * loss, '_avg_factor': len(data)}


class Data(torch.utils.data.Dataset):
    """Ten fixed samples; `metrics` are handed out one evaluation after the other."""

    def __init__(self, size: int = 10, metrics: list[Any] | None = None) -> None:
        self.samples = torch.linspace(-1, 1, size * 3).reshape(size, 3)
        if metrics is not None:
            self.metrics = iter(metrics)
            self.evaluate = self._evaluate

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.samples[index]

    def _evaluate(self, blob: Any, **kwargs: Any) -> Any:
        return next(self.metrics)


def loaders(size: int = 10, metrics: list[Any] | None = None, **kwargs: Any) -> dict[str, Any]:
    """Returns the same loader for all splits, of batches of 2."""
    loader = DataLoader(Data(size, metrics), batch_size=2, **kwargs)
    return {'train': loader, 'val': loader, 'test': loader}


def sgd(params: Any) -> torch.optim.Optimizer:
    """Returns a plain optimizer."""
    return torch.optim.SGD(params, lr=0.1)
