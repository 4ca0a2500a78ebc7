"""The parameters of a model, without the names that `parameters()` makes on its way."""

from typing import Any

from torch import nn

# What `parameters()` goes through, at the model itself and at the modules in it.
_OF_MODEL = ('parameters', 'named_parameters', '_named_members', 'named_modules')
_METHODS = tuple(getattr(nn.Module, name) for name in _OF_MODEL)
_named_modules = nn.Module.named_modules
_UNKNOWN = object()


def with_grad(model: nn.Module) -> list[Any]:
    """Return the trainable parameters that have a gradient, in the order of `parameters()`."""
    found: dict[int, Any] = {}
    if not _overrides(model) and _collect(model, set(), found):
        return list(found.values())
    return [p for p in model.parameters() if p.requires_grad and p.grad is not None]


def first(model: nn.Module) -> Any:
    """Return the first parameter, None if there is none."""
    found = None if _overrides(model) else _first(model, set())
    if found is None or found is _UNKNOWN:
        return next(model.parameters(), None)
    return found


def size(parameter: Any) -> int:
    """Return the number of elements of a parameter; those of lazy modules do not know it yet."""
    return 0 if isinstance(parameter, nn.parameter.UninitializedParameter) else parameter.numel()


def count(model: nn.Module) -> tuple[int, int]:
    """Return how many parameters a model has, and how many of them are trained."""
    sizes = [(size(one), one.requires_grad) for one in model.parameters()]
    return sum(number for number, _ in sizes), sum(number for number, trained in sizes if trained)


def _overrides(model: nn.Module) -> bool:
    kind: Any = type(model)
    methods = (kind.parameters, kind.named_parameters, kind._named_members, kind.named_modules)
    return methods != _METHODS or not vars(model).keys().isdisjoint(_OF_MODEL)


def _first(module: Any, seen: set[Any]) -> Any:
    if type(module).named_modules is not _named_modules:
        return _UNKNOWN
    seen.add(module)
    for param in module._parameters.values():
        if param is not None:
            return param
    for child in module._modules.values():
        found = None if child is None or child in seen else _first(child, seen)
        if found is not None:
            return found
    return None


def _collect(module: Any, seen: set[Any], found: dict[int, Any]) -> bool:
    """Collect what `parameters()` would find, without making names for it: twice as fast.

    Returns:
        Whether all modules are such that it would.
    """
    if type(module).named_modules is not _named_modules:
        return False
    seen.add(module)
    for param in module._parameters.values():
        if param is not None and param.grad is not None and param.requires_grad:
            found[id(param)] = param
    for child in module._modules.values():
        if child is not None and child not in seen and not _collect(child, seen, found):
            return False
    return True
