"""A resumed run ends exactly as one that was never interrupted, wherever it is resumed."""

import itertools

import pytest

from resume.cases import AXES, MATRIX, PAIRS, PROCESSES, Case, by_config, reduced
from resume.controls import CONTROLS, controls
from resume.matrix import results

ALONE, TOGETHER = map(reduced, PROCESSES)
# Whatever a checkpoint lacks, the end is another one: the comparison can fail.
NOTICED_ALONE, NOTICED_TOGETHER = map(controls, PROCESSES)
GROUPS = by_config([*ALONE, *NOTICED_ALONE])


def check(cases, folder):
    """See cases end as they must: alike, but for those whose checkpoint lacks something."""
    found = dict(results(cases, folder))
    assert found.keys() == set(cases)
    assert {case: texts for case, texts in found.items() if texts and not case.lacks} == {}
    for case, texts in found.items():
        if case.lacks:
            assert any(CONTROLS[case.lacks].seen in text for text in texts), case


@pytest.mark.parametrize('cases', [ALONE, TOGETHER], ids=['alone', 'together'])
def test_the_reduced_matrix_has_all_pairs(cases):
    assert len(MATRIX) == len(set(MATRIX)) == 720
    values = dict(zip(Case._fields, AXES, strict=False))
    for a, b in PAIRS[cases[0].processes]:
        seen = {(getattr(case, a), getattr(case, b)) for case in cases}
        assert seen == set(itertools.product(values[a], values[b]))


@pytest.mark.parametrize('config', GROUPS, ids=str)
def test_one_process(config, tmp_path):
    check(GROUPS[config], tmp_path)


@pytest.mark.slow
def test_two_processes(tmp_path):
    check([*TOGETHER, *NOTICED_TOGETHER], tmp_path)


@pytest.mark.whole_matrix
def test_the_whole_matrix(tmp_path):
    check(MATRIX, tmp_path)
