"""The page and the tables of a study."""

from pathlib import Path
from typing import Any

import pytest
from studycells import make_study, write_cells

from wsiseg.report.sheets import sheets
from wsiseg.report.study import markdown, page, write_study_report
from wsiseg.study.collect import by_config, collect
from wsiseg.study.plan import all_cells
from wsiseg.study.tables import build_table

FIVE = [0, 1, 2, 3, 4]


def table(out: Path, **settings: Any) -> dict[str, Any]:
    study = make_study(**{"shares": ["1/8", "1"], "seeds": FIVE, **settings})
    write_cells(out, study, dict.fromkeys(study.arms, 0.9) | {study.baseline: 0.8})
    return build_table("discs", collect(study, all_cells(study), out, by_config(study)))


def test_the_page_stands_alone_and_shows_everything(tmp_path: Path) -> None:
    found = table(tmp_path)
    text = page(found)
    assert text.count("<img") == 4
    assert text.count("data:image/png;base64,") == 4
    assert "http" not in text
    for sheet in sheets(found):
        assert sheet.title.replace("'", "&#x27;") in text
    assert "<b>gain</b>" in text
    assert "H against A+: gain at 2 of 2 shares of the labels" in text


def test_the_same_cells_give_the_same_bytes(tmp_path: Path) -> None:
    found = table(tmp_path)
    write_study_report(found, tmp_path / "one")
    write_study_report(found, tmp_path / "two")
    for name in ("table.md", "study.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_tables_in_words(tmp_path: Path) -> None:
    text = markdown(table(tmp_path))
    assert text.startswith(
        "# discs\n\nData: painted discs.\n\n20 of 20 cells: 2 arms, 2 shares of the labels, 5 seeds"
    )
    assert "| arm | 1/8 | 1 |\n| --- | ---: | ---: |" in text
    assert "5/5 gain" in text
    assert "nan" not in text


def test_every_row_has_a_cell_for_each_heading(tmp_path: Path) -> None:
    for sheet in sheets(table(tmp_path)):
        assert all(len(row) == len(sheet.headings) for row in sheet.rows), sheet.title


@pytest.mark.parametrize(
    "settings",
    [
        {"seeds": [0]},
        {"shares": ["1/8"], "seeds": [0, 1]},
        {"arms": {"A+": {}}},
        {"test_slides": [], "folds": {"one": ["b"], "two": ["d"]}},
    ],
)
def test_small_grids_have_a_page_too(settings: dict[str, Any], tmp_path: Path) -> None:
    found = table(tmp_path, **settings)
    assert "<html" in page(found)
    sentence = "Nothing was compared" if len(found["arms"]) == 1 else "H against A+"
    assert sentence in markdown(found)


def test_an_unfinished_study_has_a_page_and_says_so(tmp_path: Path) -> None:
    study = make_study(shares=["1/8", "1"], seeds=FIVE)
    write_cells(
        tmp_path, make_study(shares=["1/8", "1"], seeds=FIVE, arms={"A+": study.arms["A+"]}), {"A+": 0.8}
    )
    found = build_table("discs", collect(study, all_cells(study), tmp_path, by_config(study)))
    assert "unfinished: 10 cells are missing" in page(found)
    empty = build_table("discs", collect(study, all_cells(study), tmp_path / "nowhere", by_config(study)))
    assert "<img" not in page(empty)
    assert "0 of 20 cells" in page(empty)


def test_text_from_a_study_cannot_become_markup(tmp_path: Path) -> None:
    assert "<script>" not in page(table(tmp_path, data="<script>alert(1)</script>"))
