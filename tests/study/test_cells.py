"""The JSON of a cell, and when it is the one that is wanted."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from studycells import make_cell, make_study, matrices

from wsiseg.config.study import arm_config, cell_config
from wsiseg.errors import StoreFormatError
from wsiseg.study.cells import Acquired, Cell, CellKey, read_cell, write_cell

CELL = Cell("H", Fraction(1, 32), 3)
STORES = {"a": "1", "b": "2"}


def key(**changes: Any) -> CellKey:
    settings = {"arms": {"A+": {}, "H": changes}} if changes else {}
    config = cell_config(arm_config(make_study(**settings), "H"), CELL.share, CELL.seed)
    return CellKey(config.train, STORES, ("b",))


ACQUIRED = Acquired("entropy", Fraction(1, 4), key().train)


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (CELL, "H_1-32_3"),
        (Cell("A+", Fraction(1), 0), "A+_1_0"),
        (Cell("A+", Fraction(1), 0, "one"), "A+_1_0_one"),
    ],
)
def test_names_of_files(cell: Cell, name: str) -> None:
    assert cell.file(Path("out")) == Path("out") / "cells" / f"{name}.json"


def test_a_result_survives_the_file_with_its_counts_on_one_line_each(tmp_path: Path) -> None:
    data = make_cell(make_study(), CELL, matrices(0.9), judged=True)
    write_cell(tmp_path / "cell.json", data)
    assert read_cell(tmp_path / "cell.json") == json.loads(json.dumps(data))
    row = data["slides"][0]["counts"][0]
    assert str(row).replace(" ", "") in (tmp_path / "cell.json").read_text()


def test_a_full_result_is_small(tmp_path: Path) -> None:
    data = make_cell(make_study(), CELL, matrices(0.9, units=750), judged=True)
    write_cell(tmp_path / "cell.json", data)
    assert (tmp_path / "cell.json").stat().st_size < 50_000


def test_no_result_yet(tmp_path: Path) -> None:
    assert read_cell(tmp_path / "cell.json") is None


def test_no_result_where_a_file_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "cells").write_text("a file")
    assert read_cell(tmp_path / "cells" / "cell.json") is None


def test_a_result_that_lacks_a_part_is_named(tmp_path: Path) -> None:
    data = make_cell(make_study(), CELL, matrices(0.9))
    del data["slides"]
    write_cell(tmp_path / "cell.json", data)
    with pytest.raises(StoreFormatError, match=r"cell\.json is no result of a study"):
        read_cell(tmp_path / "cell.json")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"key": 3}'])
def test_a_damaged_result_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "cell.json").write_text(text)
    with pytest.raises(StoreFormatError, match=r"cell\.json.*Remove it"):
        read_cell(tmp_path / "cell.json")


def test_a_key_fits_itself_also_from_a_file() -> None:
    assert key().fits(json.loads(json.dumps(key().to_json())))


@pytest.mark.parametrize(
    "other",
    [
        key(**{"train.augment.hed": 0.0}),
        CellKey(key().train, {**STORES, "a": "3"}, ("b",)),
        CellKey(key().train, {**STORES, "c": "3"}, ("b",)),
        CellKey(key().train, STORES, ("a",)),
        CellKey(key().train, STORES, ("b",), weights="5"),
        CellKey(key().train, STORES, ("b",), acquired=ACQUIRED),
    ],
)
def test_whatever_decides_the_result_is_in_the_key(other: CellKey) -> None:
    assert not key().fits(other.to_json())
    assert not other.fits(key().to_json())


@pytest.mark.parametrize(
    "other",
    [
        Acquired("random", Fraction(1, 4), key().train),
        Acquired("entropy", Fraction(1, 8), key().train),
        Acquired("entropy", Fraction(1, 4), key(**{"train.augment.hed": 0.0}).train),
        Acquired("entropy", Fraction(1, 4), key().train, weights="5"),
    ],
)
def test_whatever_decides_further_labels_is_in_the_key(other: Acquired) -> None:
    own = replace(key(), acquired=ACQUIRED)
    assert own.fits(json.loads(json.dumps(own.to_json())))
    assert not own.fits(replace(key(), acquired=other).to_json())
    for odd in (3, {}, {**own.to_json()["acquired"], "add": "1/0"}):
        assert not own.fits({**own.to_json(), "acquired": odd})


def test_another_version_does_not_fit() -> None:
    assert not key().fits({**key().to_json(), "format": 0})


def test_a_setting_that_came_later_counts_as_at_its_default() -> None:
    older = key().to_json()
    del older["train"]["split"]["max_validation_tiles"]
    assert key().fits(older)
    assert not key(**{"train.split.max_validation_tiles": 3}).fits(older)


def test_a_setting_that_is_gone_does_not_fit() -> None:
    older = key().to_json()
    older["train"]["magic"] = 3
    assert not key().fits(older)
