"""Autocast on devices that PyTorch has none for."""

import contextlib
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


def state():
    return (
        torch.is_autocast_enabled('cpu'),
        torch.get_autocast_dtype('cpu'),
        torch.is_autocast_cache_enabled(),
    )


@pytest.mark.parametrize('around', [True, False])
def test_switched_off_is_what_torch_switches_off(around):
    """Within another autocast or not, with a model that uses its own, and whatever that leaves."""
    before = state()

    def run(context):
        weight = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
        batch, total, seen = torch.ones(2, 3), 0, []
        outer = torch.autocast('cpu', torch.float16) if around else contextlib.nullcontext()
        with outer:
            for _ in range(2):
                seen.append(state())
                with context():
                    seen.append(state())
                    # With one cast, which is kept for as long as the outermost one lasts.
                    for _ in range(2):
                        with torch.autocast('cpu', torch.bfloat16):
                            total = total + (batch @ weight).sum() * 1.01
                    seen.append(casts(total.grad_fn, set()))
                    torch.set_autocast_enabled('cpu', True)
                    torch.set_autocast_dtype('cpu', torch.float16)
                    torch.set_autocast_cache_enabled(False)
                seen.append(state())
        total.backward()
        return seen, weight.grad.tolist()

    def casts(node, known):
        if node is None or node in known:
            return 0
        known.add(node)
        mine = 'ToCopy' in node.name()
        return mine + sum(casts(other, known) for other, _ in node.next_functions)

    try:
        ours = run(lambda: _amp.autocast({'enabled': False}, 'cpu'))
        assert state() == before
        assert type(_amp.autocast({'enabled': False}, 'cpu')) is not torch.autocast
        assert ours == run(lambda: torch.autocast('cpu', enabled=False))
    finally:
        torch.set_autocast_enabled('cpu', before[0])
        torch.set_autocast_dtype('cpu', before[1])
        torch.set_autocast_cache_enabled(before[2])


def test_settings_beside_it_are_torchs_own():
    context = _amp.autocast({'enabled': False, 'dtype': torch.float16}, 'cpu')
    assert type(context) is torch.autocast
