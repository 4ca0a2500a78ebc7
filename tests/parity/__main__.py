"""Compare scripts by hand: `cd tests && python -m parity [--self] [--keep DIR] [SCRIPT ...]`."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from parity.compare import compare_runs
from parity.sides import PAIRS, SCRIPTS, STOCK, Side, run_both


def main():
    parser = argparse.ArgumentParser(prog='python -m parity', description=__doc__)
    parser.add_argument('scripts', nargs='*', help='names of scripts; all by default')
    parser.add_argument('--ranks', type=int, choices=(1, 2), help='only scripts of so many')
    parser.add_argument('--self', action='store_true', help='reference against reference')
    parser.add_argument('--keep', help='folder for the files of the runs')
    args = parser.parse_args()
    patterns = ['[!_]*.py', f'{PAIRS}/[!_]*.py'][slice(args.ranks and args.ranks - 1, args.ranks)]
    names = args.scripts or [
        str(path.relative_to(SCRIPTS)) for p in patterns for path in sorted(SCRIPTS.glob(p))
    ]
    folder = Path(args.keep or tempfile.mkdtemp()).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    sides = [
        Side(reference, folder / f'driver_{i}.log') for i, reference in enumerate((True, args.self))
    ]
    failed = 0
    for name in names:
        begun = time.monotonic()
        out = folder / Path(name).with_suffix('')
        shutil.rmtree(out, ignore_errors=True)
        runs = run_both(*sides, name, out)
        if not args.self:
            runs.append((out / 'stock', sides[1].run(name, out / 'stock', env=STOCK)))
        found = []
        codes = [code for _, code in runs]
        for other, code in runs[1:]:
            found += [f'{other.name}: {text}' for text in compare_runs(runs[0][0], other)]
            if code != codes[0]:
                found.append(f'{other.name}: exit status: {codes[0]} != {code}')
        if codes[0] != 0:
            found.insert(0, f'the reference failed: {runs[0][0]}.stderr')
        failed += bool(found)
        verdict = 'DIFFERENT' if found else 'identical'
        print(f'{verdict} {name} (exit {codes[0]}, {time.monotonic() - begun:.1f} s)', flush=True)
        for text in found:
            print(f'  {text}')
    for side in sides:
        side.close()
    print(f'{len(names) - failed} of {len(names)} identical; files in {folder}')
    return min(failed, 1)


if __name__ == '__main__':
    sys.exit(main())
