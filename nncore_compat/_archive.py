"""Checks of a checkpoint file before anything of it is believed.

torch.load does not compare the checksums that torch.save writes, and has trusted the sizes in a
file more than once. The file must be laid out as torch.save does it: so all readers see the same.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tarfile
import zipfile
import zlib
from typing import IO, Any

from ._pickles import Refused, scan

_HEADER = struct.Struct('<4s5H3I2H')
_BLOCK = 1 << 20
_MAGIC = 0x1950A86A20F9469CFC6C
OPT_IN = ' If you trust the file: get_checkpoint(..., weights_only=False)'
_KINDS = (
    (b'version https://git-lfs', 'it is a pointer of Git LFS: fetch the file itself, git lfs pull'),
    (b'<!doctype html', 'it is a web page: the download gave a page and not the file'),
    (b'<html', 'it is a web page: the download gave a page and not the file'),
    (b'\x1f\x8b', 'it is compressed by gzip: unpack it first'),
    (b'\x89png', 'it is an image'),
    (b'\xff\xd8\xff', 'it is an image'),
    (b'\x93numpy', 'it is an array of NumPy'),
    (b'\x89hdf', 'it is an HDF5 file'),
)


def check(file: IO[bytes], trusted: bool) -> None:
    """Check a file as far as can be told without loading it.

    Args:
        file: The file.
        trusted: Whether it may hold any object.

    Raises:
        Refused: It is damaged, or no checkpoint, or would harm the one who loads it.
    """
    head = file.read(512)
    file.seek(0)
    if not head:
        raise Refused('it is empty')
    for start, words in _KINDS:
        if head.lstrip().lower().startswith(start):
            raise Refused(words)
    if head[:4] == b'PK\x03\x04':
        _check_zip(file, trusted)
    elif not any(head):
        raise Refused('it holds zeros: it was never brought to the disk, or the disk has lost it')
    elif _is_tar(file):
        # In torch before 2.6, weights_only does not keep those from running code.
        if not trusted:
            raise Refused('it has the tar format of torch before 0.2, which may run code.' + OPT_IN)
    elif head[:1] == b'\x80':
        if not trusted:
            file.seek(0)
            _check_legacy(file)
    elif all(byte > 8 for byte in head):
        raise Refused('it is a text')
    else:
        raise Refused('it is no checkpoint, or its start is damaged')
    file.seek(0)


def _is_tar(file: IO[bytes]) -> bool:
    with contextlib.suppress(tarfile.TarError), tarfile.open(fileobj=file, mode='r:'):
        return True
    return False


def _check_zip(file: IO[bytes], trusted: bool) -> None:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
        raise Refused(f'it is cut off or damaged at its end: {error}') from error
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise Refused('its directory is damaged') from error
    entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    if archive.comment or not entries or entries[0].header_offset:
        raise Refused('its directory is damaged: torch.save writes no such file')
    names = [entry.orig_filename.partition('/')[2] for entry in entries]
    if len(set(names)) < len(names):
        raise Refused('its directory is damaged: a name is there twice')
    if len({entry.orig_filename.partition('/')[0] for entry in entries}) > 1:
        raise Refused('its directory is damaged: torch.save writes one folder')
    if 'data.pkl' not in names:
        raise Refused('it is a zip file, but no checkpoint: data.pkl is missing')
    if 'constants.pkl' in names and not trusted:
        raise Refused('it is a TorchScript program, which may run code.' + OPT_IN)
    # Where checksums were switched off, all are 0.
    summed = any(entry.CRC for entry in entries)
    ends = [entry.header_offset for entry in entries[1:]] + [archive.start_dir]
    starts = []
    for entry, name, end in zip(entries, names, ends, strict=True):
        start = _start(file, entry, name)
        if start + entry.file_size > end:
            raise Refused(f'{name} is damaged: it claims {entry.file_size:,} bytes')
        if summed and _sum(file, start, entry.file_size) != entry.CRC:
            raise Refused(f'{name} is damaged: its checksum is wrong')
        starts.append(start)
    if trusted:
        return
    sizes = {name: entry.file_size for name, entry in zip(names, entries, strict=True)}
    file.seek(starts[names.index('data.pkl')])
    found = scan(_Part(file, sizes['data.pkl']))
    for key, (_, needed) in found.storages.items():
        if needed > sizes.get(f'data/{key}', -1):
            raise Refused(f'data/{key} is missing or damaged: {needed:,} bytes are asked of it')


def _start(file: IO[bytes], entry: zipfile.ZipInfo, name: str) -> int:
    """Return where the content of an entry starts, after its own header."""
    folder = entry.external_attr & 0x10
    if folder or entry.volume or entry.reserved or entry.flag_bits & ~0x808:
        # In place of the content of a folder, torch gives memory as it finds it.
        raise Refused(f'{name} is damaged: its place in the directory is')
    if entry.compress_type or entry.compress_size != entry.file_size:
        raise Refused(f'{name} is compressed or damaged: torch.save writes plain entries')
    file.seek(entry.header_offset)
    raw = file.read(_HEADER.size)
    if len(raw) < _HEADER.size:
        raise Refused(f'{name} is damaged: it has no header')
    fields = _HEADER.unpack(raw)
    written = file.read(fields[9])
    if fields[0] != b'PK\x03\x04' or fields[3] or written != entry.orig_filename.encode():
        raise Refused(f'{name} is damaged: its header is another one')
    return entry.header_offset + _HEADER.size + fields[9] + fields[10]


def _sum(file: IO[bytes], start: int, size: int) -> int:
    file.seek(start)
    crc = 0
    while size:
        block = file.read(min(size, _BLOCK))
        if not block:
            raise Refused('it is cut off')
        crc = zlib.crc32(block, crc)
        size -= len(block)
    return crc


class _Part:
    """The next bytes of a file, and no more of them."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data

    def readline(self) -> bytes:
        data = self._file.readline(self._left)
        self._left -= len(data)
        return data


def _check_legacy(file: IO[bytes]) -> None:
    """Check the format before torch 1.6: five pickles, then the tensors, without checksums."""
    part = _Part(file, os.fstat(file.fileno()).st_size)
    if scan(part).value != _MAGIC:
        raise Refused('it is a pickle, but no checkpoint of torch.save')
    scan(part)
    scan(part)
    storages = scan(part).storages
    keys: Any = scan(part).value
    whole = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not whole or sorted(keys) != sorted(storages):
        raise Refused('it is damaged: its list of tensors is wrong')
    for key in keys:
        count, size = storages[key]
        header = file.read(8)
        if len(header) < 8 or struct.unpack('<q', header)[0] != count:
            raise Refused('it is cut off or damaged: a tensor has another size')
        here = file.tell()
        if file.seek(0, 2) - here < size:
            raise Refused('it is cut off: a tensor is missing')
        file.seek(here + size)
