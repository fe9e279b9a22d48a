"""Reports: what is written is read back, and what is no report is an error."""

from pathlib import Path

import pytest

from wsiseg.errors import ConfigError, OutputError, SlideOpenError
from wsiseg.outcome import REPORT_FILE, Outcome, read_outcomes, recording, write_report


def test_a_report_comes_back(tmp_path: Path) -> None:
    outcomes = [Outcome("a.svs", counts={"tiles": 3}, seconds=1.25), Outcome("b.svs", "failed", "no mpp")]
    write_report(tmp_path, "tile", outcomes, mpp=0.5)
    assert read_outcomes(tmp_path) == outcomes
    assert read_outcomes(tmp_path / "elsewhere") == []


def test_a_damaged_report_is_named(tmp_path: Path) -> None:
    (tmp_path / REPORT_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(OutputError, match=r"report\.json cannot be read"):
        read_outcomes(tmp_path)


def test_only_a_wrong_configuration_stops_a_batch() -> None:
    outcomes: list[Outcome] = []
    with recording("a.svs", outcomes):
        raise SlideOpenError("a.svs is no slide")
    with pytest.raises(ConfigError), recording("b.svs", outcomes):
        raise ConfigError("tiling.mpp")
    assert [(o.slide, o.status, o.reason) for o in outcomes] == [
        ("a.svs", "failed", "a.svs is no slide"),
        ("b.svs", "ok", None),
    ]


def test_an_interrupted_slide_is_not_taken_for_a_finished_one() -> None:
    outcomes: list[Outcome] = []
    with pytest.raises(KeyboardInterrupt), recording("a.svs", outcomes):
        raise KeyboardInterrupt
    assert [(o.status, o.reason) for o in outcomes] == [("failed", "interrupted")]
