"""`--verify`: the first iterations of a script under nncore and under us, compared to the bit.

The script runs twice, each time in a process of its own (`child`), one after the other: so both
find the same files, have the memory and the cores for themselves, and do not write to the same
place at once. A `Recorder` writes down every call of a hook and all that changes in between
(`state`), `trace` finds where the two part, `search` which quirk it is, and `words` says so.
"""
