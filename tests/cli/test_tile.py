import json
import subprocess
import sys

import numpy as np
import pytest
import shapely
from click.testing import CliRunner
from interruptions import until_interrupted
from slides import texture_image, write_slide

from wsiseg.annotation import Annotation, write_qupath
from wsiseg.classes import default_schema
from wsiseg.cli.main import main
from wsiseg.tilestore import TileStore

SMALL = ("--set", "tiling.tile_px=32", "--set", "tiling.min_tissue_share=0")


def wsiseg(*arguments, expect=0):
    with pytest.raises(SystemExit) as ended:
        main(["--quiet", *map(str, arguments)])
    assert ended.value.code == expect


def report(out):
    return json.loads((out / "report.json").read_text())


@pytest.fixture
def slides(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    paths = [
        write_slide(folder / f"{name}.svs", texture_image(200, 150, seed)) for seed, name in enumerate("ab")
    ]
    marks = [Annotation(shapely.box(10, 10, 60, 60), "glomerulus")]
    write_qupath(folder / "a.geojson", marks, default_schema(), slide_id="a")
    return paths


def test_slides_with_and_without_annotations(slides, tmp_path, capsys):
    wsiseg("tile", *slides, "--out", tmp_path / "t", *SMALL)
    data = report(tmp_path / "t")
    assert data["command"] == "tile"
    assert [slide["status"] for slide in data["slides"]] == ["ok", "ok"]
    assert data["slides"][0]["counts"]["labelled_by"] == "slide"
    assert data["slides"][1]["counts"]["labelled"] == 0
    assert {path.name for path in (tmp_path / "t").iterdir()} == {
        "a.zarr", "a.tissue.png", "b.zarr", "b.tissue.png", "report.json",
    }  # fmt: skip
    assert "1 glomerulus" in capsys.readouterr().out
    assert TileStore.open(tmp_path / "t/a.zarr").class_pixels[:, 1].sum() == 2500

    wsiseg("tile", *slides, "--out", tmp_path / "t", *SMALL)
    data = report(tmp_path / "t")
    assert [(slide["status"], slide["reason"]) for slide in data["slides"]] == [("skipped", "up to date")] * 2
    assert data["slides"][0]["counts"]["tiles"] == 35


def test_one_bad_slide_of_three(slides, tmp_path, capsys):
    bad = tmp_path / "in" / "bad.svs"
    bad.write_text("no slide")
    wsiseg("tile", slides[0], bad, slides[1], "--out", tmp_path / "t", *SMALL, expect=1)
    data = report(tmp_path / "t")
    assert [slide["status"] for slide in data["slides"]] == ["ok", "failed", "ok"]
    assert str(bad) in capsys.readouterr().err
    assert not list((tmp_path / "t").glob("*bad*"))
    assert not list((tmp_path / "t").glob(".*"))


@pytest.mark.parametrize(("option", "shown"), [(["--debug"], True), ([], False)])
def test_the_traceback_of_a_bad_slide_is_shown_on_request(tmp_path, capsys, option, shown):
    wsiseg(*option, "tile", tmp_path / "none.svs", "--out", tmp_path / "t", expect=1)
    said = capsys.readouterr().err
    assert ("Traceback" in said) == shown
    assert "wsiseg: cannot open" in said


def test_an_interrupted_batch_keeps_what_is_done_and_says_how_to_go_on(slides, tmp_path, capsys, monkeypatch):
    from wsiseg.tiling import tile_slide

    with monkeypatch.context() as patch:
        patch.setattr("wsiseg.tiling.tile_slide", until_interrupted(tile_slide))
        wsiseg("tile", *slides, "--out", tmp_path / "t", *SMALL, expect=130)
    said = capsys.readouterr().err
    assert said == "wsiseg: stopped; the same command goes on where it stopped\n"
    data = report(tmp_path / "t")
    assert [(slide["status"], slide["reason"]) for slide in data["slides"]] == [
        ("ok", None),
        ("failed", "interrupted"),
    ]
    wsiseg("tile", *slides, "--out", tmp_path / "t", *SMALL)
    assert [slide["status"] for slide in report(tmp_path / "t")["slides"]] == ["skipped", "ok"]


def test_resolutions_are_options(tmp_path):
    path = write_slide(tmp_path / "s.tiff", texture_image(200, 150), mpp=None)
    wsiseg("tile", path, "--out", tmp_path / "t", *SMALL, expect=1)
    assert "--mpp-slide" in report(tmp_path / "t")["slides"][0]["reason"]
    wsiseg("tile", path, "--out", tmp_path / "t", "--mpp-slide", 0.5, "--mpp", 1.0, *SMALL)
    store = TileStore.open(tmp_path / "t/s.zarr")
    assert store.frame.size_gr == (100, 75)
    table = tmp_path / "mpp.csv"
    table.write_text("slide,mpp\ns.tiff,0.25\n")
    wsiseg("tile", path, "--out", tmp_path / "t", "--mpp-csv", table, "--mpp", 1.0, *SMALL)
    assert TileStore.open(tmp_path / "t/s.zarr").frame.size_gr == (50, 38)


def test_tiles_finer_than_the_slide_are_said_to_be(tmp_path, capsys):
    path = write_slide(tmp_path / "s.tiff", texture_image(100, 50), mpp=0.5)
    wsiseg("tile", path, "--out", tmp_path / "t", "--mpp", 0.25, *SMALL)
    assert "its 0.5 um/px are magnified 2 times, to 0.25" in " ".join(capsys.readouterr().err.split())


def test_unreadable_tiles_stand_in_the_report(slides, tmp_path, monkeypatch):
    from wsiseg.errors import SlideReadError
    from wsiseg.slide import Slide

    read = Slide.read

    def hurt(self, box, size, **options):
        if size == (32, 32) and (box.x0, box.y0) == (32, 64):
            raise SlideReadError("damaged")
        return read(self, box, size, **options)

    monkeypatch.setattr(Slide, "read", hurt)
    wsiseg("tile", slides[0], "--out", tmp_path / "t", *SMALL)
    assert report(tmp_path / "t")["unreadable_tiles_l0"] == {str(slides[0]): [[32, 64, 64, 96]]}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "tiling.tile=32"], "tile_px"),
        (["--set", "tiling.overlap_px=600"], "overlap_px 600 must be less than tile_px 512"),
        (["--mpp", "99"], "tiling.mpp"),
        (["--config", "none.yaml"], "no such configuration file"),
        (["--annotations", "none.xml"], "no such file: none.xml"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(slides, tmp_path, capsys, arguments, says):
    wsiseg("tile", slides[0], "--out", tmp_path / "t", *arguments, expect=2)
    errors = capsys.readouterr().err
    assert says in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "t").exists()


def test_two_slides_of_one_stem(slides, tmp_path, capsys):
    wsiseg("tile", slides[0], "other/a.tiff", "--out", tmp_path / "t", expect=2)
    assert "would both become a.zarr" in capsys.readouterr().err


def test_help_is_quick_to_import():
    code = (
        "import sys; from wsiseg.cli.tile import command; "
        "print(sorted({'numpy', 'torch', 'zarr', 'openslide'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    from wsiseg.cli.tile import command

    text = CliRunner().invoke(command, ["--help"]).output
    assert "goes on where it stopped" in " ".join(text.split())


@pytest.mark.parametrize("name", ["aidpath-a.svs", "aidpath-e.tiff"])
def test_real_slides(shared_data, tmp_path, name):
    slide = shared_data / "kidney-pas" / name
    one_class = "classes=[{name: background, color: [0, 0, 0]}, {name: glomerulus, color: [0, 0, 255]}]"
    wsiseg("tile", slide, "--out", tmp_path, "--mpp", 1.0, "--set", one_class, "--set", "tiling.tile_px=256")
    store = TileStore.open(tmp_path / f"{slide.stem}.zarr")
    assert store.labelled.all()
    inside = [store.image(i)[store.label(i) == 1] for i in range(len(store))]
    glass = [store.image(i)[store.label(i) == 0] for i in range(len(store))]
    # Glomeruli lie on tissue: darker than their surroundings, and never the white of glass all over.
    assert np.concatenate(inside).mean() < np.concatenate(glass).mean() < 245
