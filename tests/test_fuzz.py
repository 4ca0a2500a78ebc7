"""Damaged, foreign and hostile files, by thousands and one by one."""

import collections
import os
import random
import tarfile
import threading
import warnings
import zipfile

import fuzz
import pytest
import torch
from torch import nn

from nncore_compat import get_checkpoint


@pytest.mark.slow
def test_2000_files_do_no_harm():
    found, bad = fuzz.run(2000, seed=1)
    assert bad == {}
    # They are of all kinds, and not all the same happens.
    total = collections.Counter()
    for (kind, what), count in found.items():
        total[kind] += count
        total[what.partition(':')[0]] += count
    assert sum(found.values()) == 2000
    assert min(total[kind] for kind in ('flip', 'cut', 'splice', 'pickle', 'legacy')) > 50
    assert total['rejected'] > 1000 and total['accepted'] > 100 and total['accepted, equal'] > 50


@pytest.mark.slow
def test_a_loader_without_protection_does_harm():
    found, _ = fuzz.run(24, seed=3, name='unsafe')
    assert any(what == 'CODE' for _, what in found)
    assert any(what == 'WRONG' for _, what in found)


def everything():
    """What may be in a checkpoint, in all the forms that torch.load(weights_only=True) takes."""
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(4, 2)).sum().backward()
    optimizer.step()
    attributed = nn.Parameter(torch.ones(2))
    attributed.note = 'text'
    return {
        **fuzz.checkpoint(),
        'adam': optimizer.state_dict(),
        'random': random.getstate(),
        'torch': torch.get_rng_state(),
        'numbers': [0, -1, 10**30, 1.5, float('inf'), 2j, True, None],
        'bytes': [b'\x00\xff' * 200, bytearray(b'ab')],
        'texts': ['', 'é\ud800', 'x' * 100_000],
        'kinds': [torch.float16, torch.device('cpu'), torch.Size([2, 3]), torch.strided],
        'mappings': [collections.OrderedDict(a=1), collections.Counter('aba'), {(1, 'a'): 2}],
        'sets': [set(), {1, 2}],
        'shared': [[1]] * 3,
        'attributed': attributed,
        'empty': torch.empty(0, 3),
        'scalar': torch.tensor(2.0),
        'expanded': torch.ones(1).expand(1000),
        'strided': torch.arange(24.0).view(2, 3, 4).transpose(0, 2)[1:],
        'csr': torch.eye(3).to_sparse_csr(),
        'types': [torch.ones(2, dtype=t) for t in (torch.bfloat16, torch.complex64, torch.bool)],
    }


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('form', ['usual', 'legacy', 'no checksums', 'stored by zipfile'])
def test_all_that_a_checkpoint_may_hold_is_read(form, tmp_path):
    path, data = tmp_path / 'a.pth', everything()
    if form == 'no checksums' and not hasattr(torch.serialization, 'set_crc32_options'):
        pytest.skip('this torch always writes checksums')
    if form == 'no checksums':
        torch.serialization.set_crc32_options(False)
    try:
        torch.save(data, path, _use_new_zipfile_serialization=form != 'legacy')
    finally:
        if form == 'no checksums':
            torch.serialization.set_crc32_options(True)
    if form == 'stored by zipfile':
        path.write_bytes(fuzz.packed(fuzz.entries(path.read_bytes())))
    expected, found = torch.load(path, weights_only=True), get_checkpoint(path)
    assert repr(found) == repr(expected)
    assert fuzz.equal(found, expected)


def test_every_byte_of_the_tensors_is_protected(tmp_path):
    path, data = tmp_path / 'a.pth', torch.arange(100, 200, dtype=torch.uint8)
    torch.save(data, path)
    whole = path.read_bytes()
    start = whole.index(bytes(data))
    for at in range(100):
        path.write_bytes(whole[: start + at] + b'\x01' + whole[start + at + 1 :])
        # torch sees nothing: that is why.
        assert torch.load(path, weights_only=True)[at] == 1
        with pytest.raises(RuntimeError, match='data/0 is damaged: its checksum is wrong'):
            get_checkpoint(path)


def bomb(path):
    items = [('a/data.pkl', b'\x80\x02]q\x00.'), ('a/data/0', bytes(10**8))]
    path.write_bytes(fuzz.packed(items, compress_type=zipfile.ZIP_DEFLATED))


def tape(path):
    with tarfile.open(path, 'w') as archive:
        archive.add(__file__)


def program(path):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.save(torch.jit.script(nn.Linear(1, 1)), path)


def cut(path):
    torch.save(torch.ones(1000), path)
    path.write_bytes(path.read_bytes()[:-300])


def shared(path):
    value = []
    for _ in range(60):
        value = [value, value]
    torch.save(value, path)


def cyclic(path):
    value = []
    value.append(value)
    torch.save(value, path)


def nested(path):
    value = b']' * 100_000 + b'a' * 99_999
    path.write_bytes(fuzz.packed([('a/data.pkl', b'\x80\x02' + value + b'.'), ('a/version', b'3')]))


KINDS = {
    'it is empty': lambda path: path.write_bytes(b''),
    'it is a text': lambda path: path.write_text('a recipe\n' * 100),
    'it is a pointer of Git LFS': lambda path: path.write_text(
        'version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 12\n'
    ),
    'it is a web page': lambda path: path.write_text('\n<!DOCTYPE html><html></html>'),
    'it holds zeros': lambda path: path.write_bytes(bytes(5000)),
    'it is an image': lambda path: path.write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(50)),
    'it is an array of NumPy': lambda path: path.write_bytes(b'\x93NUMPY\x01\x00v'),
    'it is compressed by gzip': lambda path: path.write_bytes(b'\x1f\x8b\x08' + bytes(50)),
    'it is no checkpoint, or its start is damaged': lambda path: path.write_bytes(
        b'\x07\x00\x01' * 50
    ),
    'it is cut off or damaged at its end': cut,
    'it is a zip file, but no checkpoint': lambda path: path.write_bytes(
        fuzz.packed([('a/b', b'c')])
    ),
    'data.pkl is compressed or damaged': bomb,
    'it has the tar format of torch before 0.2, which may run code': tape,
    'it is a TorchScript program, which may run code': program,
    'it is a folder': lambda path: path.mkdir(),
    'which is absurd': shared,
    'a part of it holds itself': cyclic,
    'it is nested 201 deep': nested,
    'it is a pickle, but no checkpoint of torch.save': lambda path: path.write_bytes(
        b'\x80\x02}q\x00.'
    ),
    r'it holds a Python object \(threading.Thread\), and loading that may run code.*'
    r'weights_only=False': lambda path: torch.save(threading.Thread, path),
}


@pytest.mark.parametrize('words', KINDS)
def test_the_error_says_what_the_file_is(words, tmp_path):
    path = tmp_path / 'a.pth'
    KINDS[words](path)
    with pytest.raises(RuntimeError, match=f"cannot read checkpoint '{path}': .*{words}"):
        get_checkpoint(path)


def test_a_file_that_may_not_be_read(tmp_path):
    if os.geteuid() != 0:
        pytest.skip('needs another user')
    path = tmp_path / 'a.pth'
    torch.save({}, path)
    os.chmod(path, 0)
    handle = os.open(tmp_path, os.O_RDONLY)
    here = os.getcwd()
    try:
        # Relative, as the folders above may be closed to others, too.
        os.fchdir(handle)
        os.chmod(tmp_path, 0o755)
        os.seteuid(65534)
        with pytest.raises(RuntimeError, match="'a.pth': there is no permission to read it"):
            get_checkpoint('a.pth')
    finally:
        os.seteuid(0)
        os.chdir(here)
        os.close(handle)
