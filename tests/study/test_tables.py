"""From cells to figures."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from studycells import CLASSES, make_cell, make_study, matrices, write_cells

from wsiseg.errors import StoreFormatError
from wsiseg.metrics import Scores
from wsiseg.study.cells import Cell, write_cell
from wsiseg.study.collect import Results, by_config, collect
from wsiseg.study.plan import all_cells
from wsiseg.study.tables import build_table

GRID = {"shares": ["1/8", "1/2", "1"], "seeds": [0, 1, 2, 3, 4], "test_slides": ["b", "d"]}


def gather(out: Path, **settings: object) -> Results:
    study = make_study(**{**GRID, **settings})
    return collect(study, all_cells(study), out, by_config(study))


def test_a_better_arm_gains_and_a_twin_does_not(tmp_path: Path) -> None:
    arms = {"A+": {}, "H": {"train.ema_decay": 0.5}, "twin": {"train.ema_decay": 0.6}}
    study = make_study(**{**GRID, "arms": arms})
    write_cells(tmp_path, study, {"A+": 0.8, "H": 0.9, "twin": 0.8})
    table = build_table("discs", gather(tmp_path, arms=arms))
    assert {arm: found["verdict"] for arm, found in table["verdicts"].items()} == {
        "H": "gain",
        "twin": "no measurable gain",
    }
    for row in table["differences"]["twin"].values():
        assert (row["mean"], row["interval"], row["counts_as"]) == (0.0, [0.0, 0.0], "neither")
    assert all(row["agreeing"] == 5 for row in table["differences"]["H"].values())
    assert json.loads(json.dumps(table, allow_nan=False)) == table


def test_scores_are_those_of_one_confusion_matrix(tmp_path: Path) -> None:
    study = make_study(test_slides=["b", "d"])
    write_cells(tmp_path, study, {"A+": 0.8, "H": 0.9})
    results = collect(study, all_cells(study), tmp_path, by_config(study))
    row = build_table("discs", results)["scores"]["H"]["1/2"]
    expected = Scores.from_confusion(matrices(0.9).sum(axis=0), CLASSES)
    assert row["mean"] == row["mean_iou"] == pytest.approx(expected.mean["iou"], abs=1e-6)
    assert row["mean_f1"] == pytest.approx(expected.mean["f1"], abs=1e-6)
    assert row["classes"]["disc"]["iou"] == pytest.approx(expected.iou[1], abs=1e-6)
    assert row["confusion"] == expected.matrix.tolist()
    assert row["interval"] is None


def test_only_seeds_that_both_arms_have_are_compared(tmp_path: Path) -> None:
    write_cells(tmp_path, make_study(**GRID), {"A+": 0.8, "H": 0.9})
    for seed in (3, 4):
        Cell("H", Fraction(1, 8), seed).file(tmp_path).unlink()
    table = build_table("discs", gather(tmp_path))
    assert list(table["differences"]["H"]["1/8"]["seeds"]) == ["0", "1", "2"]
    assert table["differences"]["H"]["1/8"]["counts_as"] == "neither"
    assert table["cells"] == {"wanted": 30, "finished": 28}
    assert table["missing"] == ["H_1-8_3", "H_1-8_4"]
    assert table["verdicts"]["H"]["verdict"] == "gain"  # at the two other shares


def test_a_fold_that_is_missing_leaves_its_seed_out(tmp_path: Path) -> None:
    folds = {"test_slides": [], "folds": {"one": ["b"], "two": ["d"]}}
    study = make_study(**{**GRID, **folds})
    write_cells(tmp_path, study, {"A+": 0.8, "H": 0.9})
    Cell("H", Fraction(1), 2, "two").file(tmp_path).unlink()
    table = build_table("discs", gather(tmp_path, **folds))
    assert list(table["scores"]["H"]["1"]["seeds"]) == ["0", "1", "3", "4"]
    assert sum(map(sum, table["scores"]["H"]["1"]["confusion"])) == 4 * 2 * 6000


def test_results_of_another_configuration_are_left_out_and_named(tmp_path: Path) -> None:
    write_cells(tmp_path, make_study(**GRID), {"A+": 0.8, "H": 0.9})
    results = gather(tmp_path, arms={"A+": make_study().arms["A+"], "H": {"train.ema_decay": 0.5}})
    assert {cell.arm for cell in results.cells} == {"A+"}
    assert any(note.startswith("15 results of another configuration") for note in results.notes)


def test_results_of_other_tiles_than_most_are_left_out_and_named(tmp_path: Path) -> None:
    study = make_study(**GRID)
    write_cells(tmp_path, study, {"A+": 0.8, "H": 0.9})
    odd = Cell("H", Fraction(1), 2)
    write_cell(odd.file(tmp_path), make_cell(study, odd, matrices(0.9), stores={"a": "new", "b": "k"}))
    results = gather(tmp_path)
    assert odd not in results.cells
    assert results.notes == ("1 results of other tiles than most were left out: H_1_2",)


def test_results_of_two_versions_of_the_program_are_said_to_be(tmp_path: Path) -> None:
    study = make_study(**GRID)
    write_cells(tmp_path, study, {"A+": 0.8, "H": 0.9})
    newer = Cell("H", Fraction(1), 2)
    cell = make_cell(study, newer, matrices(0.9))
    write_cell(newer.file(tmp_path), {**cell, "made": {**cell["made"], "method": 2}})
    results = gather(tmp_path)
    assert newer in results.cells
    assert results.notes == (
        "cells were made by versions 1 and 2 of the training, which differ (1 are unlike the others: H_1_2); "
        "remove one kind to have it made anew",
    )


def test_results_that_are_not_of_the_grid_are_named(tmp_path: Path) -> None:
    write_cells(tmp_path, make_study(**GRID), {"A+": 0.8, "H": 0.9})
    # Left by a process that was killed while it wrote.
    (tmp_path / "cells" / ".A+_1_4.json.partial-x1.json").touch()
    results = gather(tmp_path, seeds=[0, 1, 2, 3])
    assert len(results.cells) == 24
    assert results.notes == (
        "6 results in the folder are not of this grid: A+_1-2_4, A+_1-8_4, A+_1_4, H_1-2_4, H_1-8_4 ...",
    )


def test_blocks_that_do_not_match_are_refused(tmp_path: Path) -> None:
    study = make_study(**GRID)
    write_cells(tmp_path, study, {"A+": 0.8, "H": 0.9})
    odd = Cell("H", Fraction(1), 2)
    write_cell(odd.file(tmp_path), make_cell(study, odd, matrices(0.9, units=5)))
    with pytest.raises(StoreFormatError, match=r"H_1_2 and A.* are not of the same tiles"):
        gather(tmp_path)


def test_labels_are_worth_what_the_curve_of_the_baseline_says(tmp_path: Path) -> None:
    study = make_study(**{**GRID, "seeds": [0]})
    quality = {Fraction(1, 8): 0.7, Fraction(1, 2): 0.8, Fraction(1): 0.9}
    for share, right in quality.items():
        for arm, better in (("A+", 0.0), ("H", 0.1)):
            cell = Cell(arm, share, 0)
            write_cell(cell.file(tmp_path), make_cell(study, cell, matrices(round(right + better, 3))))
    labels = build_table("discs", gather(tmp_path, seeds=[0]))["labels"]["H"]
    # At 1/8 H is as good as the baseline at 1/2, and at 1/2 as the baseline with all labels.
    assert labels["worth"]["1/8"]["factor"] == 4.0
    assert labels["worth"]["1/2"]["factor"] == 2.0
    assert labels["worth"]["1"]["bound"] == ">"
    assert labels["for_all_labels"] == {"share": 0.5, "bound": "="}


def test_what_limits_the_figures_is_said(tmp_path: Path) -> None:
    write_cells(tmp_path, make_study(), {"A+": 0.8, "H": 0.9})
    study = make_study()
    table = build_table("discs", collect(study, all_cells(study), tmp_path, by_config(study)))
    assert table["notes"] == ["one test slide: the intervals say nothing about other slides"]
    assert table["verdicts"]["H"]["verdict"] == "undecidable"
    assert table["made"] == {"wsiseg": ["0"], "torch": ["0"], "devices": ["cpu"], "hours": 0.02}


def test_the_discriminator_is_averaged_over_the_seeds(tmp_path: Path) -> None:
    write_cells(tmp_path, make_study(**GRID), {"A+": 0.8, "H": 0.9})
    table = build_table("discs", gather(tmp_path))
    assert table["discriminator"]["A+"] == {}
    row = table["discriminator"]["H"]["1/8"]
    assert row["auc"] == {"discriminator": 0.9, "entropy": 0.8}
    assert row["gauges"]["d_other"] == 0.2
    assert row["calibration"]["ece"] == table["calibration"]["H"]["1"]["ece"] == pytest.approx(0.1)
