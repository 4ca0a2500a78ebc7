"""`python -m nncore_compat convert IN OUT --to nncore|lightning|weights`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any

EXAMPLES = """\
examples:
  convert epoch_3.pth epoch_3.ckpt --to lightning
      Trainer.fit(module, ckpt_path='epoch_3.ckpt') goes on after epoch 3, where the module has the
      model as self.model (else: --prefix net.)
  convert last.ckpt epoch_3.pth --to nncore
      engine.resume('epoch_3.pth'); the names lose what the module put before them
  convert epoch_3.pth model.safetensors --to weights
  convert last.ckpt ema.pth --to weights --which average
  convert sharded/ whole.ckpt --to lightning
"""


def main(argv: Sequence[str], prog: str = 'python -m nncore_compat convert') -> None:
    """Convert a checkpoint and say in one line what was written.

    Args:
        argv: The command line after the word `convert`.
        prog: What stands before it.

    Raises:
        SystemExit: With code 2, if it cannot be done.
    """
    parser = _parser(prog)
    options = parser.parse_args(argv)
    try:
        _refuse(options.source, options.target, options.force)
        print(_convert(options))
    except (OSError, ImportError, RuntimeError, ValueError) as error:
        text = ' '.join(str(error).split()).replace(
            'get_checkpoint(..., weights_only=False)', '--trust'
        )
        parser.exit(2, f'{prog}: error: {text}\n')


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f'{prog} IN OUT --to nncore|lightning|weights [options]',
        description='Turn a checkpoint of nncore, nncore_compat, Lightning or plain PyTorch into '
        'one of another kind.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        'source', metavar='IN', help='a file, or the folder of a sharded checkpoint'
    )
    parser.add_argument(
        'target', metavar='OUT', help='the file to write; with --to weights, maybe .safetensors'
    )
    parser.add_argument(
        '--to',
        required=True,
        choices=('nncore', 'lightning', 'weights'),
        help='nncore: meta, state_dict, optimizer. lightning: what Trainer.fit(ckpt_path=...) and '
        'load_from_checkpoint read. weights: a plain state_dict',
    )
    parser.add_argument(
        '--prefix',
        help='what the names of a Lightning file begin with: put before them by --to lightning '
        "(default: 'model.'), else taken off (default: 'model.' or 'net.', if all have it)",
    )
    parser.add_argument(
        '--which',
        choices=('average', 'current'),
        help='where weights were averaged: the averages, or those that training goes on with '
        '(default: for nncore current, for weights what state_dict holds, for lightning both)',
    )
    parser.add_argument(
        '--trust',
        action='store_true',
        help='unpickle any Python object of IN, which may run code',
    )
    parser.add_argument('--force', action='store_true', help='replace OUT if it is there')
    return parser


def _refuse(source: str, target: str, force: bool) -> None:
    if not os.path.exists(source):
        raise FileNotFoundError(f'there is no {source!r}')
    here, there = os.path.realpath(source), os.path.realpath(target)
    if here == there or (os.path.exists(target) and os.path.samefile(source, target)):
        raise ValueError(f'IN and OUT are the same: {source!r}')
    if os.path.isdir(target):
        raise IsADirectoryError(f'OUT is a folder: {target!r}')
    if os.path.isdir(source) and os.path.commonpath((here, there)) == here:
        raise ValueError(f'OUT is inside of IN: {target!r}')
    if os.path.lexists(target) and not force:
        raise FileExistsError(f'{target!r} is there already: --force replaces it')


def _convert(options: argparse.Namespace) -> str:
    # Only now: --help need not wait for torch.
    from . import _conversion, _files, _safetensors

    packed = options.target.endswith(_safetensors.SUFFIX)
    if packed and options.to != 'weights':
        raise ValueError(f'a {_safetensors.SUFFIX} file holds weights only: use --to weights')
    if packed:
        _safetensors.library()
    checkpoint = _conversion.read(options.source, options.trust)
    convert = getattr(_conversion, f'to_{options.to}')
    try:
        named = {} if options.to == 'weights' else {'name': repr(options.source)}
        result = convert(checkpoint, options.prefix, options.which, **named)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise RuntimeError(
            f'cannot convert {options.source!r}, which is not formed like a checkpoint: '
            f'{type(error).__name__}: {error}'
        ) from error
    if packed:
        contents = _safetensors.pack(result)
        with _files.replacing(options.target) as file:
            file.write(contents)
    else:
        _files.write(result, options.target)
    return _summary(options, checkpoint, result)


def _summary(
    options: argparse.Namespace, checkpoint: Mapping[str, Any], result: Mapping[str, Any]
) -> str:
    import torch

    from . import _conversion

    weights = result if options.to == 'weights' else result['state_dict']
    tensors = [value for value in weights.values() if torch.is_tensor(value)]
    # Tied weights are one.
    parts = {(value.data_ptr(), value.shape): value.numel() for value in tensors}
    facts = [f'{len(tensors)} tensors', f'{sum(parts.values()):,} values']
    at = _conversion.place(checkpoint)
    resumable = 'optimizer' in result or 'optimizer_states' in result
    if at is not None and (resumable or options.to == 'weights'):
        inside = f' and {at.batches_done} batches' if at.batches_done else ''
        facts.append(f'epoch {at.epoch}{inside}, iter {at.iter}')
    facts.append(f'{os.path.getsize(options.target):,} bytes')
    if options.to != 'weights' and not resumable:
        facts.append('no optimizer: can be loaded, but not resumed from')
    missing = len(_conversion.weights_of(checkpoint)) - len(weights)
    if missing:
        facts.append(f'{missing} tensors without the prefix left out')
    kind = 'weights' if options.to == 'weights' else f'{options.to} checkpoint'
    return f'{options.target}: {kind}, {", ".join(facts)}'
