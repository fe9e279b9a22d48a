"""What is printed stays as it is: names and paths are no markup, and no line of a path is broken."""

import io
import re
from pathlib import Path

import click
import pytest
from rich.console import Console

from wsiseg.cli.console import print_outcomes, progress_bars
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


@pytest.mark.parametrize("width", [80, 140])
def test_a_long_note_takes_nothing_from_count_and_time(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), width=width, force_terminal=True)
    monkeypatch.setattr("wsiseg.cli.console.stderr", screen)
    with click.Context(click.Command("train")), progress_bars() as bars:
        bars.start("training, semi-supervised", 1500)
        bars.advance(750, "CE 0.63 adv 0.20 D 0.43 pseudo 0.34 IoU 0.436")
    last = "".join(screen.file.getvalue().splitlines()[-2:])
    assert "750/1500" in last
    assert re.search(r"\d:\d\d:\d\d|-:--:--", last)
    assert "CE 0.63" in last
