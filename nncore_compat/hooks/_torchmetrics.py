"""torchmetrics' metrics from objects, names and configs."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from importlib import import_module
from inspect import isclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_origin

from .._build import find_known
from .._errors import located

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

# The package itself comes last: it has old names for some of their classes.
_MODULES = (
    'classification',
    'regression',
    'retrieval',
    'segmentation',
    'detection',
    'image',
    'text',
    'audio',
    'clustering',
    'nominal',
    'aggregation',
    'wrappers',
    'shape',
    'video',
    'multimodal',
    '',
)


def build_metrics(cfg: Any, where: str) -> MetricCollection:
    """Builds a collection of metrics.

    Args:
        cfg: A metric, a collection, the name or the config of one, a list of these, or a dict of
            them by the names that the results shall have.
        where: The place of the config, for messages.

    Raises:
        KeyError: A config has no 'type'.
        TypeError: Something is no metric.
        ValueError: A name is unknown, or the result could not be written.
    """
    from torchmetrics import MetricCollection

    built = _build(cfg, where)
    if not isinstance(built, MetricCollection):
        with located(where):
            # Groups of metrics that share their state are guessed from the first batch, and two
            # that happen to agree on it are taken for one.
            built = MetricCollection(built, compute_groups=False)
    for key in map(str, built.keys()):
        if key[:1] == '_' or key[-1:] == '_':
            raise ValueError(
                f'{where}: {key!r} cannot be the name of a metric: keys of the buffer that begin '
                'with an underscore are private, and those that end with one are records'
            )
    return built


def _build(cfg: Any, where: str) -> Any:
    from torchmetrics import Metric, MetricCollection

    if isinstance(cfg, (Metric, MetricCollection)):
        return cfg
    if isinstance(cfg, str) or (isinstance(cfg, dict) and 'type' in cfg):
        return _from_config({'type': cfg} if isinstance(cfg, str) else cfg, where)
    if isinstance(cfg, (list, tuple)) and cfg:
        return [_build(one, f'{where}[{index}]') for index, one in enumerate(cfg)]
    if isinstance(cfg, dict) and cfg:
        return {str(name): _build(one, f'{where}[{name!r}]') for name, one in cfg.items()}
    hint = ' (a class: make an object of it, or give its name)' if isclass(cfg) else ''
    raise TypeError(
        f"{where} must be a torchmetrics Metric or MetricCollection, a name, a dict with a 'type', "
        f'a list of these or a dict of them by name, but got {cfg!r}{hint}'
    )


def _from_config(cfg: dict[str, Any], where: str) -> Any:
    names = _Names()
    name = cfg['type']
    if isinstance(name, str) and names.get(name) is None:
        near = get_close_matches(name, names.keys(), n=1)
        hint = f' Did you mean {near[0]!r}?' if near else ''
        raise ValueError(
            f'unknown metric {name!r} ({where}.type).{hint} Accepted: every class of torchmetrics '
            'whose own requirements are installed'
        )
    factory = find_known(cfg, [names], 'metric', where)
    nested = name == 'MetricCollection'
    arguments = {
        key: _build(value, f'{where}.metrics')
        if nested and key == 'metrics'
        else _argument(value, f'{where}.{key}')
        for key, value in cfg.items()
        if key != 'type'
    }
    with located(where):
        return factory(**arguments)


def _argument(value: Any, where: str) -> Any:
    """Builds the metrics inside a wrapper."""
    if isinstance(value, dict):
        if 'type' in value:
            return _from_config(value, where)
        return {key: _argument(item, f'{where}[{key!r}]') for key, item in value.items()}
    if isinstance(value, list):
        return [_argument(item, f'{where}[{index}]') for index, item in enumerate(value)]
    return value


class _Names:
    """The classes of torchmetrics by name, as a registry has them."""

    def get(self, name: str) -> Any:
        # Module by module, and no further: some of them are slow to import.
        return next((vars(m)[name] for m in self._modules() if self._has(m, name)), None)

    def keys(self) -> list[str]:
        return [name for m in self._modules() for name in vars(m) if self._has(m, name)]

    @staticmethod
    def _modules() -> Iterator[ModuleType]:
        for name in _MODULES:
            try:
                yield import_module(f'torchmetrics.{name}'.rstrip('.'))
            except ModuleNotFoundError:  # Not in this version.
                continue

    @staticmethod
    def _has(module: ModuleType, name: str) -> bool:
        from torchmetrics import Metric, MetricCollection

        found = vars(module).get(name)
        # Python 3.10 takes a generic alias, such as list[int], for a class.
        if not isinstance(found, type) or get_origin(found) is not None:
            return False
        known = issubclass(found, (Metric, MetricCollection))
        return known and not name.startswith('_')
