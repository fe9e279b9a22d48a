"""The import report says what became of a file in one line."""

import pytest

from wsiseg.annotation import AnnotationFile, ImportReport, Problem
from wsiseg.errors import AnnotationParseError


def report():
    result = ImportReport(kept=5, notes=["a note"])
    for index in range(5):
        result.repair(index, "crossed")
    result.drop(7, "a point")
    result.drop(None, "an entry")
    return result


def test_the_summary_counts_and_groups():
    assert report().summary() == (
        "5 kept, 5 repaired, 2 dropped; repaired 5 x crossed (object 0, 1, 2, ...); "
        "dropped 1 x a point (object 7); dropped an entry; a note"
    )
    assert ImportReport().summary() == "0 kept, 0 repaired, 0 dropped"


def test_strictness():
    ImportReport(notes=["harmless"]).raise_if_any("a.xml")
    with pytest.raises(AnnotationParseError, match=r"a\.xml: 7 problems in strict reading"):
        report().raise_if_any("a.xml")


def test_a_problem_names_its_object():
    assert str(Problem(3, "bad")) == "object 3: bad"
    assert str(Problem(None, "bad")) == "bad"


def test_a_file_without_a_resolution_warns_of_nothing():
    assert AnnotationFile([], "asap", ImportReport()).mpp_warning(0.5) is None
