from pathlib import Path

import pytest

from wsiseg.errors import ConfigError
from wsiseg.tiling import make_jobs


@pytest.fixture
def folder(tmp_path):
    for name in ("a.svs", "b.svs", "a.geojson", "marks/b.xml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    return tmp_path


def test_annotations_beside_a_slide_are_found(folder):
    jobs = make_jobs([str(folder / "a.svs"), str(folder / "b.svs")])
    assert [job.annotations for job in jobs] == [folder / "a.geojson", None]


def test_annotations_of_a_folder_go_by_name(folder):
    jobs = make_jobs([str(folder / "a.svs"), str(folder / "b.svs")], annotations=folder / "marks")
    assert [job.annotations for job in jobs] == [None, folder / "marks" / "b.xml"]


def test_an_address_has_nothing_beside_it():
    (job,) = make_jobs(["memory://x/a.svs"])
    assert job.annotations is None


def test_two_slides_of_one_stem_are_refused():
    with pytest.raises(ConfigError, match=r"x/a\.svs and y/a\.tiff would both become a\.zarr.*--out"):
        make_jobs(["x/a.svs", "y/a.tiff"])


@pytest.mark.parametrize("option", ["annotations", "mask"])
def test_one_file_for_several_slides_is_refused(folder, option):
    with pytest.raises(ConfigError, match=f"--{option} .* is one file for 2 slides"):
        make_jobs(["a.svs", "b.svs"], **{option: folder / "a.geojson"})


@pytest.mark.parametrize("option", ["annotations", "mask"])
def test_a_file_that_is_not_there(option):
    with pytest.raises(ConfigError, match=f"--{option}: no such file: none"):
        make_jobs(["a.svs"], **{option: Path("none")})


def test_resolutions_from_a_table(tmp_path):
    table = tmp_path / "mpp.csv"
    table.write_text("\ufeffslide,mpp\na.svs,0.25\nb,0.5\n/x/c.svs,1\n", encoding="utf-8")
    jobs = make_jobs(["q/a.svs", "b.tiff", "/x/c.svs", "d.svs"], mpp_csv=table, mpp_slide=2.0)
    assert [job.mpp_slide for job in jobs] == [0.25, 0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    "text", ["slide,mpp\na,nothing\n", "slide,mpp\na,-1\n", "slide,mpp\na\n", "slide,mpp\na,nan\n"]
)
def test_a_bad_table_is_refused(tmp_path, text):
    table = tmp_path / "mpp.csv"
    table.write_text(text)
    with pytest.raises(ConfigError, match=r"mpp\.csv, line 2: found .*expected columns slide,mpp"):
        make_jobs(["a.svs"], mpp_csv=table)


@pytest.mark.parametrize(
    ("text", "found"), [("slide\na\n", "slide"), ("file,mpp\na,1\n", "file,mpp"), ("", "none")]
)
def test_a_table_with_other_columns_is_refused(tmp_path, text, found):
    table = tmp_path / "mpp.csv"
    table.write_text(text)
    with pytest.raises(ConfigError, match=rf"mpp\.csv: found columns {found}, expected columns slide,mpp"):
        make_jobs(["a.svs"], mpp_csv=table)


@pytest.mark.parametrize(
    ("slides", "message"),
    [
        (["x/a.geojson", "x/a.svs"], r"x/a\.geojson is an annotation file, not a slide"),
        (["x/a.svs", "x/a.geojson.gz", "x/a.geojson.svs"], r"x/a\.geojson\.gz is an annotation file"),
        (["x/a.svs", "x/../x/a.svs"], r"x/\.\./x/a\.svs is named twice"),
    ],
)
def test_what_only_looks_like_two_slides_of_one_name_is_told_apart(slides, message):
    with pytest.raises(ConfigError, match=message):
        make_jobs(slides)


def test_two_resolutions_of_one_slide_are_refused(tmp_path):
    table = tmp_path / "mpp.csv"
    table.write_text("slide,mpp\na,0.25\na,0.25\na,0.5\n")
    with pytest.raises(ConfigError, match=r"line 4: a stands twice: found 0\.25 and 0\.5 um/px"):
        make_jobs(["a.svs"], mpp_csv=table)


def test_slides_for_which_nothing_is_found_are_named(tmp_path, caplog):
    table = tmp_path / "mpp.csv"
    table.write_text("slide,mpp\nb,0.25\n")
    make_jobs(["a.svs", "b.svs"], mpp_csv=table)
    make_jobs([f"{name}.svs" for name in "abcde"], annotations=tmp_path)
    assert [record.getMessage().replace(str(tmp_path), "T") for record in caplog.records] == [
        "--mpp-csv T/mpp.csv has no row for a.svs",
        "--annotations T has no file for a.svs, b.svs, c.svs and 2 more",
    ]
