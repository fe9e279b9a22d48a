"""``wsiseg info`` as its user sees it."""

import json
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from slides import damage_tile, texture_image, write_slide

from wsiseg.cli.info import command
from wsiseg.cli.main import cli
from wsiseg.geometry import PLAUSIBLE_MPP


@pytest.fixture
def slide(tmp_path):
    image = np.full((600, 900, 3), 243, dtype=np.uint8)
    image[150:450, 200:700] = texture_image(500, 300) // (1, 3, 2)
    return write_slide(tmp_path / "a.svs", image, levels=2, mpp=0.5)


def run(*arguments):
    return CliRunner().invoke(cli, ["-q", "info", *map(str, arguments)])


def test_a_slide_in_a_few_lines(slide):
    result = run(slide)
    assert result.exit_code == 0
    for said in (
        "a.svs",
        "aperio",
        "direct",
        "900 x 600 px, 0.45 x 0.3 mm",
        "0.5 um/px",
        "20x",
        "450 x 300 (1/2)",
    ):
        assert said in result.stdout


def test_json_holds_what_programs_want(slide):
    (entry,) = json.loads(run(slide, "--json", "--backend", "openslide").stdout)
    assert entry["size"] == [900, 600]
    assert entry["mpp"] == [0.5, 0.5]
    assert entry["backend"] == "openslide"
    assert entry["levels"][1] == {"size": [450, 300], "downsample": 2.0}
    assert 0.27 < entry["tissue_share"] < 0.36
    assert entry["stain_guess"] in {"H&E", "PAS", "other"}
    assert (entry["bounds"], entry["mpp_problem"], entry["unreadable_regions"]) == (None, None, 0)


def test_one_bad_slide_does_not_stop_the_others(slide, tmp_path):
    bad = tmp_path / "bad.svs"
    bad.write_text("no slide")
    result = run(slide, bad, slide)
    assert result.exit_code == 1
    assert result.stdout.count("aperio") == 2
    assert result.stderr.count("\n") == 1
    assert f"cannot open {bad}" in result.stderr
    entries = json.loads(run(bad, slide, "--json").stdout)
    assert [entry["path"] for entry in entries] == [str(slide), str(bad)]
    assert "cannot open" in entries[1]["error"]


def test_a_missing_resolution_is_told_and_can_be_given(tmp_path):
    path = write_slide(tmp_path / "a.svs", texture_image(200, 100), mpp=None)
    assert "--mpp-slide" in run(path).stdout
    assert "0.3 um/px" in run(path, "--mpp-slide", "0.3").stdout


def test_damage_is_told(tmp_path):
    path = write_slide(tmp_path / "a.svs", texture_image(1024, 512), tile=256)
    damage_tile(path, 3)
    result = run(path)
    assert result.exit_code == 0
    assert "regions that cannot be read" in result.stdout


def test_what_is_damaged_may_be_tissue_as_for_tile(tmp_path):
    path = write_slide(tmp_path / "a.svs", np.full((1024, 1024, 3), 245, np.uint8), tile=256)
    assert json.loads(run(path, "--json").stdout)[0]["tissue_share"] == 0
    damage_tile(path, 3)
    (entry,) = json.loads(run(path, "--json").stdout)
    assert entry["tissue_share"] == pytest.approx(1 / 16, abs=0.01)
    assert entry["stain_guess"] == "none"


def test_no_slide_is_a_usage_error():
    assert CliRunner().invoke(command, []).exit_code == 2


@pytest.mark.parametrize(
    ("name", "stain"),
    [
        ("kidney-pas/aidpath-a.svs", "PAS"),
        ("kidney-pas/aidpath-g.tiff", "PAS"),
        ("slides/CMU-1-Small-Region.svs", "H&E"),
        ("nuclei-he/labelled/TCGA-21-5784-01Z-00-DX1.tiff", "H&E"),
        ("slides/slideio_test3-DAPI-2-(387).ndpi", "fluorescence"),
    ],
)
def test_stains_of_real_slides(shared_data: Path, name, stain):
    (entry,) = json.loads(run(shared_data / name, "--json").stdout)
    assert entry["stain_guess"] == stain


def test_a_resolution_that_no_slide_has_is_refused_at_once() -> None:
    (option,) = [one for one in command.params if one.name == "mpp_slide"]
    assert isinstance(option.type, click.FloatRange)
    assert (option.type.min, option.type.max) == PLAUSIBLE_MPP
