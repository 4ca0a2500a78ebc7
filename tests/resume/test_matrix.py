"""A resumed run ends exactly as one that was never interrupted, wherever it is resumed."""

import itertools

import pytest

from resume.cases import AXES, MATRIX, PROCESSES, by_config, reduced
from resume.controls import CONTROLS
from resume.matrix import results

ALONE, TOGETHER = map(reduced, PROCESSES)


def different(cases, folder, control=None):
    """What differs, by case; nothing for cases that end alike."""
    found = {str(case): texts for case, texts in results(cases, folder, control)}
    assert len(found) == len(cases)
    return {name: texts for name, texts in found.items() if texts}


@pytest.mark.parametrize('cases', [ALONE, TOGETHER], ids=['alone', 'together'])
def test_the_reduced_matrix_has_all_pairs(cases):
    assert len(MATRIX) == len(set(MATRIX)) == 720
    for a, b in itertools.combinations(range(len(AXES) - 1), 2):
        seen = {(case[a], case[b]) for case in cases}
        assert seen == set(itertools.product(AXES[a], AXES[b]))


@pytest.mark.parametrize('config', by_config(ALONE), ids=str)
def test_one_process(config, tmp_path):
    assert different(by_config(ALONE)[config], tmp_path) == {}


def test_two_processes(tmp_path):
    assert different(TOGETHER, tmp_path) == {}


@pytest.mark.parametrize('control', CONTROLS)
def test_what_is_not_restored_is_noticed(control, tmp_path):
    """The comparison can fail: whatever a checkpoint lacks, the end is another one."""
    case, _, seen = CONTROLS[control]
    found = different([case], tmp_path, control)
    assert any(seen in text for text in found[str(case)])


@pytest.mark.whole_matrix
def test_the_whole_matrix(tmp_path):
    assert different(MATRIX, tmp_path) == {}
