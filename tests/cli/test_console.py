"""What is printed stays as it is: names and paths are no markup, and no line of a path is broken."""

from pathlib import Path

import pytest

from wsiseg.cli.console import print_outcomes
from wsiseg.outcome import Outcome


def test_names_and_reasons_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_outcomes([Outcome("/data/a[b].svs", "failed", reason="found [/x], expected [red]")])
    out = capsys.readouterr().out
    assert "a[b].svs" in out
    assert "found [/x], expected [red]" in out


def test_a_long_path_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    report = Path("/", *["a long folder"] * 20, "[b]", "report.json")
    print_outcomes([], report)
    assert f"report: {report}\n" in capsys.readouterr().out
