"""A resumed run ends exactly as one that was never interrupted, wherever it is resumed."""

import itertools

import pytest

from resume.cases import AXES, MATRIX, Case, by_config, reduced
from resume.controls import CONTROLS
from resume.matrix import results

REDUCED = reduced()
ALONE = by_config([case for case in REDUCED if case.processes == 1])
TOGETHER = [case for case in REDUCED if case.processes == 2]


def different(cases, folder, control=None):
    """What differs, by case; nothing for cases that end alike."""
    found = {str(case): texts for case, texts in results(cases, folder, control)}
    assert len(found) == len(cases)
    return {name: texts for name, texts in found.items() if texts}


def test_the_reduced_matrix_has_all_triples():
    assert len(MATRIX) == len(set(MATRIX)) == 432
    for a, b, c in itertools.combinations(range(len(AXES)), 3):
        seen = {(case[a], case[b], case[c]) for case in REDUCED}
        assert seen == set(itertools.product(AXES[a], AXES[b], AXES[c]))


@pytest.mark.parametrize('config', ALONE, ids=str)
def test_one_process(config, tmp_path):
    assert different(ALONE[config], tmp_path) == {}


def test_two_processes(tmp_path):
    assert different(TOGETHER, tmp_path) == {}


@pytest.mark.parametrize('control', CONTROLS)
def test_what_is_not_restored_is_noticed(control, tmp_path):
    """The comparison can fail: a resumption that leaves something out is found."""
    assert different([CONTROLS[control].case], tmp_path, control)


def test_it_is_noticed_in_two_processes(tmp_path):
    case = Case('inside', 'middle', 'sgd', 'fp32', 'none', 2)
    (found,) = different([case], tmp_path, 'random').values()
    assert {text[:6] for text in found} == {'rank 0', 'rank 1'}


@pytest.mark.whole_matrix
def test_the_whole_matrix(tmp_path):
    assert different(MATRIX, tmp_path) == {}
