import json

import pytest
from click.testing import CliRunner

from wsiseg.cli.synth import command
from wsiseg.errors import ConfigError

SMALL = ["--size", "1400x1200", "--preset", "easy", "--seed", "3", "--shape", "wedge", "--workers", "1"]


def run(*options: str):
    return CliRunner().invoke(command, [*options], catch_exceptions=False)


def test_it_makes_a_slide_with_its_truth_and_a_report(tmp_path):
    result = run("--out", str(tmp_path), "--held-out", "1", "--levels-by", "2", *SMALL)
    assert result.exit_code == 0
    assert "slide-01.svs" in result.output
    assert {path.name for path in tmp_path.iterdir()} == {
        "held-out-01.svs",
        "report.json",
        "slide-01.geojson",
        "slide-01.svs",
        "truth",
    }
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["command"] == "synth"
    assert report["slides"][0]["counts"]["glomerulus"] >= 1


@pytest.mark.parametrize("size", ["4096", "axb", "10x", "1.5x2", "-3x4"])
def test_a_size_is_two_whole_numbers(tmp_path, size):
    result = run("--out", str(tmp_path), f"--size={size}")
    assert result.exit_code == 2
    assert "write it as 3072x3072" in result.output


def test_bad_options_stop_before_anything_is_written(tmp_path):
    out = tmp_path / "new"
    with pytest.raises(ConfigError, match="nothing to make"):
        run("--out", str(out), "--slides", "0")
    with pytest.raises(ConfigError, match=r"mpp: found 9\.0"):
        run("--out", str(out), "--mpp", "9")
    assert not out.exists()
