# What nncore builds from configs is known at run time alone; read without types, build_model seems
# to return a list or None most of the time.

from typing import Any

from nncore_compat._registry import Registry

MODELS: Registry
ACTIVATIONS: Registry
CONVS: Registry
MESSAGE_PASSINGS: Registry
NORMS: Registry
LOSSES: Registry
MODULES: Registry

def build_model(
    cfg: Any,
    *args: Any,
    bundler: str | None = 'sequential',
    dist: bool | None = None,
    dp_cfg: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Any: ...
def build_act_layer(cfg: Any, *args: Any, **kwargs: Any) -> Any: ...
def build_conv_layer(cfg: Any, *args: Any, **kwargs: Any) -> Any: ...
def build_msg_pass_layer(cfg: Any, *args: Any, **kwargs: Any) -> Any: ...
def build_norm_layer(cfg: Any, *args: Any, dims: int | None = None, **kwargs: Any) -> Any: ...
def build_loss(cfg: Any, *args: Any, **kwargs: Any) -> Any: ...
