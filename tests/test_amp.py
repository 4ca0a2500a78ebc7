"""Autocast on devices that PyTorch has none for."""

import subprocess
import sys

import pytest
import torch

from nncore_compat import _amp

# The name of a backend can be set once in a process.
FOREIGN = """
import torch
from nncore_compat import _amp
torch.utils.rename_privateuse1_backend('npu')
with _amp.autocast({'enabled': False}, 'npu'):
    pass
try:
    _amp.autocast({'enabled': True}, 'npu')
except AssertionError as error:
    print(error)
"""


def test_a_device_without_autocast_needs_none_to_have_it_off():
    with _amp.autocast({'enabled': False}, 'meta'):
        pass
    with pytest.raises(RuntimeError):
        _amp.autocast({'enabled': True}, 'meta')
    done = subprocess.run(
        [sys.executable, '-c', FOREIGN], capture_output=True, text=True, timeout=300, check=True
    )
    assert 'npu' in done.stdout


def test_where_there_is_autocast_it_is_switched_off():
    with torch.autocast('cpu'), _amp.autocast({'enabled': False}, 'cpu'):
        assert not torch.is_autocast_enabled('cpu')
