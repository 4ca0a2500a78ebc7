"""Checkpoints read from a file, a URL or torchvision's published weights."""

import contextlib
import hashlib
import os
import re
import zipfile
from difflib import get_close_matches
from pickle import UnpicklingError
from typing import Any

import torch
from torch.hub import load_state_dict_from_url

from ._archive import OPT_IN, check
from ._pickles import Refused
from ._trees import check_tree
from .comm import is_main_process, sync


def load_file(filename: str, map_location: Any, weights_only: bool) -> Any:
    """Read a local file.

    Args:
        filename: The file.
        map_location: Where the tensors go.
        weights_only: Whether to refuse anything but tensors and plain data.

    Raises:
        FileNotFoundError: If there is no such file.
        RuntimeError: If the file is damaged, no checkpoint, or refused.
    """
    try:
        return _load(filename, map_location, weights_only)
    except FileNotFoundError:
        raise
    except Exception as error:
        # torch.load has no common exception for damaged files: it raises whatever unpickling,
        # the archive reader or the file system do.
        raise RuntimeError(f'cannot read checkpoint {filename!r}: {_reason(error)}') from error


def _load(filename: str, map_location: Any, weights_only: bool) -> Any:
    if filename.endswith('.safetensors'):
        return torch.load(filename, map_location=map_location, weights_only=weights_only)
    with open(filename, 'rb') as file:
        check(file, trusted=not weights_only)
        data = torch.load(file, map_location=map_location, weights_only=weights_only)
    if weights_only:
        check_tree(data)
    return data


def _reason(error: Exception) -> str:
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, IsADirectoryError):
        return 'it is a folder'
    if isinstance(error, PermissionError):
        return 'there is no permission to read it'
    # Of torch's page of advice on weights_only, the sentence that tells what is wrong.
    cause = error.__context__ if isinstance(error, UnpicklingError) else None
    text = f'{type(error).__name__}: {cause or error}'
    found = re.search(r'unsupported global.* ([\w.]+)(?: was not| whose)', text, re.IGNORECASE)
    if found:
        return f'it holds a Python object ({found[1]}), and loading that may run code.{OPT_IN}'
    return text


def load_url(url: str, **kwargs: Any) -> Any:
    """Read a URL; the main process downloads it before the others look.

    Args:
        url: The URL.
        **kwargs: Arguments of ``torch.hub.load_state_dict_from_url``.

    Raises:
        RuntimeError: If it cannot be had, is damaged, no checkpoint, or refused.
    """
    # torch.hub caches by base name, and every run has an epoch_1.pth.
    name = f'{hashlib.sha256(url.encode()).hexdigest()[:12]}-{os.path.basename(url)}'
    kwargs.setdefault('file_name', name)
    try:
        if is_main_process():
            return _download(url, **kwargs)
    finally:
        sync()
    return _download(url, **kwargs)


def _download(url: str, **kwargs: Any) -> Any:
    folder = kwargs.get('model_dir') or os.path.join(torch.hub.get_dir(), 'checkpoints')
    path = os.path.join(folder, kwargs['file_name'])
    try:
        if not os.path.exists(path):
            os.makedirs(folder, exist_ok=True)
            named = re.search(r'-([a-f0-9]*)\.', kwargs['file_name'])
            prefix = named[1] if named and kwargs.get('check_hash') else None
            torch.hub.download_url_to_file(url, path, prefix, kwargs.get('progress', True))
        if _is_packed(path):
            return load_state_dict_from_url(url, **kwargs)
        return _load(path, kwargs.get('map_location'), kwargs.get('weights_only', True))
    except Exception as error:
        # Half a file would be found in the cache for ever.
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        raise RuntimeError(f'cannot read checkpoint {url!r}: {_reason(error)}') from error


def _is_packed(path: str) -> bool:
    # torch.hub unpacks a zip file that holds a checkpoint.
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return len(archive.namelist()) == 1


def load_torchvision(name: str, **kwargs: Any) -> Any:
    """Read the weights that torchvision publishes for a model.

    Args:
        name: The name of the model, or of weights such as 'ResNet50_Weights.IMAGENET1K_V2'.
        **kwargs: Arguments of ``torch.hub.load_state_dict_from_url``.

    Raises:
        ImportError: If torchvision is missing or too old.
        ValueError: If there is no such model.
    """
    try:
        from torchvision import models
        from torchvision.models import get_model_weights, get_weight, list_models
    except ImportError as error:
        raise ImportError(
            f"'torchvision://{name}' needs torchvision 0.14 or later: pip install torchvision"
        ) from error
    try:
        if '.' in name:
            return _load_published(get_weight(name).url, **kwargs)
        weights = get_model_weights(name)
    except ValueError as error:
        near = get_close_matches(name, list_models(models))
        hint = f'did you mean {" or ".join(map(repr, near))}? ' if near else ''
        raise ValueError(
            f'torchvision has no model {name!r}: {hint}Accepted: a name from '
            'torchvision.models.list_models()'
        ) from error
    # The name alone has always meant the first weights; DEFAULT moves to better ones.
    first = getattr(weights, 'IMAGENET1K_V1', weights.DEFAULT)
    return _load_published(first.url, **kwargs)


def _load_published(url: str, **kwargs: Any) -> Any:
    # Under the name that torchvision itself looks for in the cache.
    return load_url(url, **{'file_name': os.path.basename(url), **kwargs})
