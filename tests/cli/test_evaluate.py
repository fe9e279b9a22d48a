"""``wsiseg evaluate`` from the command line."""

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from judging import SIZE, TRUTH, shifted, write_objects
from PIL import Image
from slides import texture_image, write_slide

from wsiseg.classes import default_schema
from wsiseg.cli.main import cli, main
from wsiseg.errors import AnnotationParseError, ConfigError
from wsiseg.tilestore import MaskStore


@pytest.fixture
def case(tmp_path: Path) -> list[str]:
    slide = write_slide(tmp_path / "a.tiff", texture_image(*SIZE), compression="deflate")
    truth = write_objects(tmp_path / "truth.geojson", TRUTH)
    prediction = write_objects(tmp_path / "p.geojson", shifted(TRUTH, 4, 0))
    return ["--slide", str(slide), "--truth", str(truth), "--prediction", str(prediction)]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--quiet", "evaluate", *arguments], catch_exceptions=False)


def test_it_prints_the_table_and_writes_what_was_asked(case: list[str], tmp_path: Path) -> None:
    figures, picture = tmp_path / "out" / "metrics.json", tmp_path / "out" / "map.png"
    result = run(*case, "--json", str(figures), "--error-map", str(picture))
    assert result.exit_code == 0
    for word in ("background", "glomerulus", "podocyte", "non_podocyte", "mean", "recall", "worst places"):
        assert word in result.output
    data = json.loads(figures.read_text(encoding="utf-8"))
    assert f"{data['mean']['f1']:.3f}" in result.output
    assert data["objects"]["podocyte"]["f1"] == 1.0
    with Image.open(picture) as image:
        assert image.width == SIZE[0]
        assert image.height > SIZE[1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["map.png", "metrics.json"]


def test_the_same_input_gives_the_same_bytes(case: list[str], tmp_path: Path) -> None:
    for name in ("1", "2"):
        run(*case, "--json", str(tmp_path / name / "m.json"), "--error-map", str(tmp_path / name / "m.png"))
    for name in ("m.json", "m.png"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_several_slides_get_a_row_and_a_map_each(case: list[str], tmp_path: Path) -> None:
    other = write_slide(tmp_path / "b.tiff", texture_image(*SIZE, seed=1), compression="deflate")
    second = ["--slide", str(other), *case[2:]]
    result = run(*case, *second, "--error-map", str(tmp_path / "map.png"))
    assert "by slide" in result.output
    assert "F1 95 %" in result.output
    assert (tmp_path / "map-a.png").exists()
    assert (tmp_path / "map-b.png").exists()


def test_two_slides_of_one_name_cannot_share_a_map(case: list[str], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = write_slide(tmp_path / "other" / "a.tiff", texture_image(*SIZE), compression="deflate")
    with pytest.raises(ConfigError, match=r"would both become a\.png"):
        run(*case, "--slide", str(other), *case[2:], "--error-map", str(tmp_path / "map.png"))


def test_a_slide_may_lie_at_an_address(case: list[str], tmp_path: Path) -> None:
    with fsspec.open("memory://judged/a.tiff", "wb") as file:
        file.write(Path(case[1]).read_bytes())
    figures = [tmp_path / "file.json", tmp_path / "address.json"]
    run(*case, "--json", str(figures[0]))
    run("--slide", "memory://judged/a.tiff", *case[2:], "--json", str(figures[1]))
    assert len({path.read_bytes() for path in figures}) == 1


def test_a_resolution_out_of_range_is_a_usage_error(case: list[str]) -> None:
    result = run(*case, "--mpp", "50")
    assert (result.exit_code, "--mpp-slide" in result.output) == (2, False)
    assert "0.05<=x<=5.0" in result.output


def test_holes_that_asap_has_not_are_said(case: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["convert", case[5], str(tmp_path / "p.xml"), "--to", "asap"])
    assert result.exit_code == 0
    assert "ASAP has no holes" in run(*case[:5], str(tmp_path / "p.xml")).output
    assert "ASAP has no holes" not in run(*case).output


def test_a_slide_of_which_no_pixel_counts_has_no_calibration(case: list[str], tmp_path: Path) -> None:
    glass = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
    write_slide(tmp_path / "a.tiff", glass, compression="deflate")
    for name in ("truth", "p"):
        write_objects(tmp_path / f"{name}.geojson", [])
    schema = default_schema()
    about = {"classes": schema.to_json(), "mpp": 0.5}
    MaskStore.create(tmp_path / "p.probabilities.zarr", SIZE, channels=len(schema), attributes=about)
    result = run(*case)
    assert result.exit_code == 0
    assert "no calibration: no pixel counts" in result.output


def test_uneven_options_are_refused(case: list[str]) -> None:
    with pytest.raises(ConfigError, match="found 2, 1 and 1 of them, expected as many of each"):
        run(*case, "--slide", "another.svs")


def test_nothing_is_written_when_it_fails(case: list[str], tmp_path: Path) -> None:
    (tmp_path / "truth.geojson").write_text("{")
    figures, picture = tmp_path / "m.json", tmp_path / "m.png"
    with pytest.raises(AnnotationParseError, match=r"truth\.geojson"):
        run(*case, "--json", str(figures), "--error-map", str(picture))
    assert not figures.exists()
    assert not picture.exists()


def test_a_failure_is_one_line_and_an_exit_code(
    case: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_objects(tmp_path / "truth.geojson", [(shape, "tubule") for shape, _ in TRUTH[:1]])
    with pytest.raises(SystemExit) as left:
        main(["evaluate", *case])
    assert left.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert sum(line.startswith("wsiseg:") for line in lines) == 1
    assert "tubule" in lines[-1]
