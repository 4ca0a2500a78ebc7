"""What travels between processes, counted by torch's profiler: gradients once per step."""

import json

import pytest

from parity.sides import run_both

EPOCHS, ITERS = 2, 5
STEPS = {1: EPOCHS * 5, 3: EPOCHS * 2}
MOMENTS = ('before_train_iter', 'after_train_iter', 'before_val_iter', 'after_val_iter')


def by_event(names):
    """(event, collectives until the next event) of a run, from the first iteration on."""
    found = []
    for name in names:
        kind, _, rest = name.replace('c10d::', 'c10d ').partition(' ')
        if kind == 'event':
            found.append((rest, []))
        elif found:
            found[-1][1].append(rest)
    return found


@pytest.fixture(scope='module')
def seen(sides, tmp_path_factory):
    """Side, wrapper of the model and interval -> what the two processes did."""
    folder = tmp_path_factory.mktemp('collectives')
    runs = run_both(*sides, 'two_ranks/_collectives.py', folder)
    assert [code for _, code in runs] == [0, 0]
    found = {}
    for name in ('collectives.trace.json', 'collectives.1.trace.json'):
        for side, (out, _) in zip(('reference', 'ours'), runs, strict=True):
            for row in json.loads((out / name).read_text()):
                if row['what'] == 'seen':
                    key = side, row['wrapper'], row['interval']
                    found.setdefault(key, []).append(by_event(row['names']))
    assert len(found) == 12
    return found


@pytest.mark.parametrize('interval', STEPS)
@pytest.mark.parametrize('wrapper', ['bare', 'nncore'])
def test_one_reduction_per_step_and_nothing_else(wrapper, interval, seen):
    for rank in (0, 1):
        ours = seen['ours', wrapper, interval][rank]
        inside = [pair for pair in ours if pair[0] in MOMENTS]
        reductions = [pair for pair in inside if pair[1]]
        assert reductions == [('after_train_iter', ['allreduce_'])] * STEPS[interval]
        # Only on the iterations that step: each other one is there, without.
        assert [bool(made) for event, made in inside if event == 'after_train_iter'] == [
            (i + 1) % interval == 0 or i + 1 == ITERS for i in range(ITERS)
        ] * EPOCHS
        reference = seen['reference', wrapper, interval][rank]
        assert inside == [pair for pair in reference if pair[0] in MOMENTS]


@pytest.mark.parametrize('interval', STEPS)
def test_a_model_in_the_wrapper_of_torch_is_not_reduced_twice(interval, seen):
    """As it is in nncore, on a GPU with nncore's own wrapper too."""
    counts = {
        side: [
            sum(made.count('allreduce_') for event, made in run if event == 'after_train_iter')
            for run in seen[side, 'torch', interval]
        ]
        for side in ('reference', 'ours')
    }
    assert counts['reference'] == [EPOCHS * ITERS + STEPS[interval]] * 2
    assert counts['ours'] == [STEPS[interval]] * 2


@pytest.mark.parametrize('wrapper', ['bare', 'nncore'])
def test_between_epochs_only_evaluation_and_checkpoints_speak(wrapper, seen):
    """Saving gathers what each process has of its own."""
    for rank in (0, 1):
        ours, reference = (seen[side, wrapper, 1][rank] for side in ('ours', 'reference'))
        assert [pair[0] for pair in ours] == [pair[0] for pair in reference]
        changed = [mine for mine, real in zip(ours, reference, strict=True) if mine != real]
        assert {event for event, _ in changed} == {'after_train_epoch'}
        assert len(changed) == EPOCHS
        for _, made in changed:
            assert set(made) <= {'barrier', 'allreduce_', 'broadcast_', 'allgather_', 'gather_'}
            assert len(made) < 25
        assert [made for event, made in ours if event == 'after_val_epoch'] == [
            ['allgather_', 'gather_', 'barrier']
        ] * EPOCHS
