"""OME-Zarr labels: pixels of every level, and the rules of NGFF 0.5, read from the files alone."""

import json

import numpy as np
import pytest
import zarr

from wsiseg.classes import default_schema
from wsiseg.geometry import Box
from wsiseg.infer.omezarr import write_label_zarr
from wsiseg.tilestore import MaskStore

SIZE = (4500, 2300)
UNITS = {"angstrom", "nanometer", "micrometer", "millimeter", "meter"}


@pytest.fixture(scope="module")
def label():
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    label = ((x // 97 + y // 61) % 4).astype(np.uint8)
    label[1024:2048, 2048:3072] = 0
    return label


@pytest.fixture(scope="module")
def image(tmp_path_factory, label):
    folder = tmp_path_factory.mktemp("image")
    store = MaskStore.create(folder / "label.zarr", SIZE)
    store.write(Box(0, 0, *SIZE), label)
    for name in "ab":
        write_label_zarr(
            folder / f"{name}.ome.zarr", store, default_schema(), mpp=(0.5, 0.25), name="<1>.svs"
        )
    return folder / "a.ome.zarr"


def check_ngff(path):
    """What https://ngff.openmicroscopy.org/0.5 says MUST hold of a label image; each breach in words."""
    group = json.loads((path / "zarr.json").read_text())
    breaches = [] if (group["zarr_format"], group["node_type"]) == (3, "group") else ["no zarr 3 group"]
    ome = group["attributes"]["ome"]
    if ome["version"] != "0.5":
        breaches.append("version")
    for multiscale in ome["multiscales"]:
        breaches += check_multiscale(path, multiscale)
    about = ome["image-label"]
    for key in ("colors", "properties"):
        values = [entry["label-value"] for entry in about[key]]
        if not all(isinstance(value, int) for value in values) or len(set(values)) < len(values):
            breaches.append(f"{key}: label-value")
    for entry in about["colors"]:
        rgba = entry["rgba"]
        if len(rgba) != 4 or not all(isinstance(v, int) and 0 <= v <= 255 for v in rgba):
            breaches.append("rgba")
    return breaches


def check_multiscale(path, multiscale):
    breaches = []
    axes = multiscale["axes"]
    names = [axis["name"] for axis in axes]
    space = [axis for axis in axes if axis["type"] == "space"]
    if not 2 <= len(axes) <= 5 or not 2 <= len(space) <= 3 or len(set(names)) < len(names):
        breaches.append("axes")
    if axes[-len(space) :] != space or not all(axis["unit"] in UNITS for axis in space):
        breaches.append("space axes come last, with a unit")
    sizes = []
    for dataset in multiscale["datasets"]:
        array = json.loads((path / dataset["path"] / "zarr.json").read_text())
        sizes.append(array["shape"])
        if array["node_type"] != "array" or array["dimension_names"] != names:
            breaches.append("dimension_names must be those of the axes")
        if not array["data_type"].startswith(("uint", "int")):
            breaches.append("labels must be integers")
        kinds = [transformation["type"] for transformation in dataset["coordinateTransformations"]]
        if kinds not in (["scale"], ["scale", "translation"]):
            breaches.append("one scale first, one translation at most")
        if any(
            len(transformation[transformation["type"]]) != len(axes)
            for transformation in dataset["coordinateTransformations"]
        ):
            breaches.append("as many numbers as axes")
    if sizes != sorted(sizes, reverse=True):
        breaches.append("largest level first")
    return breaches


def test_keeps_the_rules_of_ngff(image):
    assert check_ngff(image) == []


def test_the_checker_finds_breaches(image, tmp_path):
    metadata = json.loads((image / "zarr.json").read_text())
    metadata["attributes"]["ome"]["image-label"]["colors"][1]["rgba"] = [1, 2, 3]
    metadata["attributes"]["ome"]["multiscales"][0]["axes"].reverse()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "zarr.json").write_text(json.dumps(metadata))
    for level in range(4):
        (broken / str(level)).symlink_to(image / str(level))
    assert set(check_ngff(broken)) == {"rgba", "dimension_names must be those of the axes"}


def test_levels_halve_by_taking_every_second_pixel(image, label):
    group = zarr.open_group(image, mode="r")
    assert sorted(group.array_keys()) == ["0", "1", "2", "3"]
    for level in range(4):
        assert np.array_equal(group[str(level)][:], label[:: 2**level, :: 2**level])
    assert max(group["3"].shape) <= 1024


def test_scales_are_micrometres_and_classes_have_colours(image):
    ome = json.loads((image / "zarr.json").read_text())["attributes"]["ome"]
    (multiscale,) = ome["multiscales"]
    scales = [d["coordinateTransformations"][0]["scale"] for d in multiscale["datasets"]]
    assert scales == [[0.25, 0.5], [0.5, 1.0], [1.0, 2.0], [2.0, 4.0]]
    assert [axis["unit"] for axis in multiscale["axes"]] == ["micrometer"] * 2
    colors = {entry["label-value"]: entry["rgba"] for entry in ome["image-label"]["colors"]}
    assert colors[2] == [232, 65, 24, 255]
    assert colors[0][3] == 0
    assert ome["image-label"]["properties"][2] == {
        "label-value": 2,
        "class": "podocyte",
        "inside": "glomerulus",
    }


def test_empty_chunks_are_not_stored(image):
    assert (image / "0" / "c" / "1" / "1").is_file()
    assert not (image / "0" / "c" / "1" / "2").exists()


def test_same_mask_same_bytes(image):
    other = image.with_name("b.ome.zarr")
    files = sorted(path.relative_to(image) for path in image.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    assert all((image / path).read_bytes() == (other / path).read_bytes() for path in files)


def test_the_library_of_the_format_reads_it(image, label):
    reader = pytest.importorskip("ome_zarr.reader", reason="ome-zarr is not installed")
    location = pytest.importorskip("ome_zarr.io").parse_url(image)
    (node,) = reader.Reader(location)()
    assert np.array_equal(np.asarray(node.data[0]), label)
    assert node.metadata["axes"][0]["unit"] == "micrometer"
