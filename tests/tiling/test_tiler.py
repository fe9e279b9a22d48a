import os

import numpy as np
import pytest
import shapely
from slides import coordinate_image, texture_image, write_slide
from tilestores import tree

from wsiseg.annotation import Annotation, read_annotations, write_asap, write_qupath
from wsiseg.classes import default_schema
from wsiseg.config import Config, load_config
from wsiseg.errors import (
    AnnotationParseError,
    LockedError,
    OutputError,
    ResolutionError,
    SlideError,
    SlideReadError,
    StoreError,
    UnknownClassError,
)
from wsiseg.geometry import Box
from wsiseg.lock import write_lock
from wsiseg.progress import NullProgress
from wsiseg.raster import ShapePainter
from wsiseg.slide import Slide
from wsiseg.tilestore import TileStore, shard
from wsiseg.tiling import TileJob, TileOptions, tile_slide

SMALL = ("tiling.tile_px=32", "tiling.min_tissue_share=0")


def config(*settings: str) -> Config:
    return load_config(None, (*SMALL, *settings))


def tile(slide, out, *settings: str, annotations=None, progress=None, mask=None, mpp_slide=None, **options):
    job = TileJob(str(slide), annotations=annotations, mask=mask, mpp_slide=mpp_slide)
    return tile_slide(
        job, config(*settings), out, options=TileOptions(**options), progress=progress or NullProgress()
    )


def annotate(path, *objects):
    annotations = [Annotation(shapely.box(*corners), name) for name, corners in objects]
    write_qupath(path, annotations, default_schema(), slide_id="s")
    return path


@pytest.fixture
def slide(tmp_path):
    return write_slide(tmp_path / "in" / "s.tiff", texture_image(330, 270), compression="deflate")


@pytest.fixture(autouse=True)
def _folders(tmp_path):
    (tmp_path / "in").mkdir(exist_ok=True)


class CountingProgress(NullProgress):
    def __init__(self):
        self.calls = []

    def advance(self, units=1, note=None):
        self.calls.append(units)


class TestPixels:
    @pytest.mark.parametrize("mpp", [0.5, 0.61, 1.0, 1.3])
    @pytest.mark.parametrize("overlap", [0, 5])
    def test_a_coordinate_coloured_slide_comes_back_at_the_right_pixel(self, tmp_path, mpp, overlap):
        image = coordinate_image(251, 187)
        path = write_slide(tmp_path / "c.tiff", image, compression="deflate")
        summary = tile(path, tmp_path / "t", f"tiling.mpp={mpp}", f"tiling.overlap_px={overlap}")
        store = TileStore.open(summary.store)
        factor = mpp / 0.5
        assert store.frame.size_gr == (int(np.ceil(251 / factor)), int(np.ceil(187 / factor)))
        for i, (x0, y0, x1, y1) in enumerate(store.boxes):
            centre_x, centre_y = ((np.arange(a, b) + 0.5) * factor - 0.5 for a, b in ((x0, x1), (y0, y1)))
            on_x, on_y = centre_x < 251 - factor, centre_y < 187 - factor
            tile_ = store.image(i).astype(float)[on_y][:, on_x]
            # The level-0 box is rounded to whole pixels: half a pixel at most, the colours half a step more.
            assert np.abs(tile_[..., 0] - centre_x[on_x][None, :]).max(initial=0) <= 1.01
            assert np.abs(tile_[..., 1] - centre_y[on_y][:, None]).max(initial=0) <= 1.01

    def test_at_its_own_resolution_every_pixel_is_kept_and_white_lies_beyond(self, tmp_path, slide):
        store = TileStore.open(tile(slide, tmp_path / "t").store)
        padded = np.full((288, 352, 3), 255, dtype=np.uint8)
        padded[:270, :330] = texture_image(330, 270)
        for i, box in enumerate(store.boxes):
            assert np.array_equal(store.image(i), padded[Box(*map(int, box)).slices()])

    def test_a_slide_smaller_than_a_tile(self, tmp_path):
        path = write_slide(tmp_path / "s.tiff", texture_image(20, 11), tile=16, compression="deflate")
        store = TileStore.open(tile(path, tmp_path / "t").store)
        assert len(store) == 1
        assert (store.image(0)[11:] == 255).all()


class TestLabels:
    def test_equal_a_dense_rasterisation(self, tmp_path, slide):
        rng = np.random.default_rng(3)
        names = ("glomerulus", "podocyte", "non_podocyte")
        circles = zip(rng.uniform(0, 330, 30), rng.uniform(0, 270, 30), rng.uniform(3, 30, 30), strict=True)
        objects = [
            Annotation(shapely.Point(x, y).buffer(radius), names[i % 3])
            for i, (x, y, radius) in enumerate(circles)
        ]
        marks = tmp_path / "in" / "s.geojson"
        write_qupath(marks, objects, default_schema(), slide_id="s")
        summary = tile(slide, tmp_path / "t", "tiling.mpp=0.8", annotations=marks)
        store = TileStore.open(summary.store)
        # Read back, since the file keeps hundredths of a pixel; painted in the order of the indices.
        shapes = [
            (shapely.transform(a.polygon, lambda points: points / 1.6), names.index(a.class_name) + 1)
            for a in read_annotations(marks).annotations
        ]
        whole = ShapePainter(sorted(shapes, key=lambda shape: shape[1])).paint(store.frame.box_gr)
        for i, corners in enumerate(store.boxes):
            box = Box(*map(int, corners))
            inside = box.intersection(store.frame.box_gr)
            label = store.label(i)
            assert np.array_equal(label[: inside.height, : inside.width], whole[inside.slices()])
            assert (label != 255).sum() == inside.area
        assert store.class_pixels.sum(axis=0).tolist() == np.bincount(whole.reshape(-1), minlength=4).tolist()
        assert summary.labelled_by == "slide"

    def test_a_slide_without_annotations_is_unlabelled(self, tmp_path, slide):
        summary = tile(slide, tmp_path / "t")
        store = TileStore.open(summary.store)
        assert summary.labelled == 0
        assert not store.labelled.any()
        assert (store.label(3) == 255).all()
        assert not (summary.store / "labels" / "c").exists()
        assert "labelled_by" not in summary.counts()

    def test_a_file_of_which_nothing_is_left_is_said(self, tmp_path, slide, caplog):
        path = tmp_path / "a.geojson"
        feature = '{"type": "Feature", "geometry": null, "properties": {}}'
        path.write_text(f'{{"type": "FeatureCollection", "features": [{feature}]}}')
        assert tile(slide, tmp_path / "t", annotations=path).labelled == 0
        assert "nothing in it can be used: 0 kept, 0 repaired, 1 dropped" in caplog.text

    @pytest.mark.parametrize("name", ["a.geojson", "a.xml"])
    def test_predictions_that_are_taken_for_annotations_are_said(self, tmp_path, slide, caplog, name):
        path, found = tmp_path / name, [Annotation(shapely.box(10, 10, 90, 90), "glomerulus")]
        made = {"wsiseg": "1", "model": "f00"}
        if path.suffix == ".xml":
            write_asap(path, found, default_schema(), metadata=made)
        else:
            write_qupath(path, found, default_schema(), slide_id="s", metadata=made)
        assert tile(slide, tmp_path / "t", annotations=path).labelled > 0
        assert f"{name}: 1 of 1 objects were predicted by wsiseg" in caplog.text
        caplog.clear()
        drawn = annotate(tmp_path / "b.geojson", ("glomerulus", (10, 10, 90, 90)))
        tile(slide, tmp_path / "t", annotations=drawn)
        assert not caplog.records

    def test_summary_and_provenance_say_what_was_found(self, tmp_path, slide):
        path = annotate(
            tmp_path / "a.geojson", ("glomerulus", (10, 10, 90, 90)), ("Region 1", (0, 0, 128, 128))
        )
        summary = tile(slide, tmp_path / "t", annotations=path)
        assert summary.labelled_by == "regions"
        assert summary.objects == {"glomerulus": 1, "regions": 1}
        assert summary.labelled == 16
        text = summary.counts()["annotations"]
        assert text == "1 glomerulus + 1 regions (a.geojson: 2 kept, 0 repaired, 0 dropped)"
        provenance = TileStore.open(summary.store).provenance
        assert provenance["annotations"]["labelled_by"] == "regions"
        assert provenance["config"]["tiling"]["tile_px"] == 32
        assert provenance["slide"]["mpp"] == [0.5, 0.5]

    def test_one_foreground_class_takes_annotations_without_a_class(self, tmp_path, slide):
        path = tmp_path / "a.geojson"
        write_qupath(path, [Annotation(shapely.box(0, 0, 40, 40))], default_schema(), slide_id="s")
        classes = "classes=[{name: background, color: [0, 0, 0]}, {name: tumour, color: [9, 9, 9]}]"
        store = TileStore.open(tile(slide, tmp_path / "t", classes, annotations=path).store)
        assert store.class_pixels.shape[1] == 2
        assert store.class_pixels[:, 1].sum() == 1600


class TestWhichTiles:
    def test_only_tissue_and_what_is_annotated(self, tmp_path):
        image = np.full((512, 640, 3), 244, dtype=np.uint8)
        image[64:256, 64:256] = texture_image(192, 192) // 2 + (60, 0, 60)
        path = write_slide(tmp_path / "s.tiff", image)
        marks = annotate(tmp_path / "a.geojson", ("glomerulus", (600, 450, 604, 454)))
        settings = ("tiling.min_tissue_share=0.2", "tissue.min_area_um2=500")
        plain = TileStore.open(tile(path, tmp_path / "p", *settings).store)
        marked = TileStore.open(tile(path, tmp_path / "m", *settings, annotations=marks).store)
        extra = set(marked.indices) - set(plain.indices)
        assert extra == {14 * 20 + 18}
        assert (plain.tissue_share >= 0.2).all()
        assert marked.tissue_share[-1] == 0
        assert 36 <= len(plain) <= 80

    def test_no_tissue_is_an_error_that_says_what_to_do(self, tmp_path):
        path = write_slide(tmp_path / "s.tiff", np.full((256, 256, 3), 244, dtype=np.uint8))
        with pytest.raises(SlideError, match=r"no tissue found.*--mask"):
            tile(path, tmp_path / "t", "tiling.min_tissue_share=0.1")
        assert list((tmp_path / "t").iterdir()) == []


class TestAgain:
    def test_the_same_is_answered_at_once(self, tmp_path, slide):
        first = tile(slide, tmp_path / "t")
        before = {path: path.stat().st_mtime_ns for path in first.store.rglob("*")}
        progress = CountingProgress()
        again = tile(slide, tmp_path / "t", progress=progress, workers=2)
        assert again.up_to_date
        assert not first.up_to_date
        assert again.tiles == first.tiles
        assert progress.calls == []
        assert {path: path.stat().st_mtime_ns for path in first.store.rglob("*")} == before

    def test_overwrite_makes_the_same_bytes(self, tmp_path, slide):
        first = tree(tile(slide, tmp_path / "t").store)
        again = tile(slide, tmp_path / "t", overwrite=True)
        assert not again.up_to_date
        assert tree(again.store) == first

    def test_workers_do_not_change_a_byte(self, tmp_path, slide):
        tile(slide, tmp_path / "one", workers=1)
        tile(slide, tmp_path / "three", workers=3)
        assert tree(tmp_path / "one") == tree(tmp_path / "three")

    def test_jpeg_changes_pixels_a_little_and_says_so(self, tmp_path, slide):
        exact = TileStore.open(tile(slide, tmp_path / "a").store)
        lossy = TileStore.open(tile(slide, tmp_path / "b", "tiling.codec=jpeg", workers=2).store)
        assert (exact.header.jpeg_quality, lossy.header.jpeg_quality) == (None, 90)
        assert exact.header.image_key != lossy.header.image_key
        pixels = [store.images(range(len(store))).astype(int) for store in (exact, lossy)]
        assert 0 < np.abs(pixels[0] - pixels[1]).mean() < 6
        assert tree(lossy.path) == tree(tile(slide, tmp_path / "c", "tiling.codec=jpeg").store)

    def test_changed_annotations_keep_the_images(self, tmp_path, slide, monkeypatch):
        marks = tmp_path / "a.geojson"
        annotate(marks, ("glomerulus", (10, 10, 90, 90)))
        tile(slide, tmp_path / "t", annotations=marks)
        annotate(marks, ("glomerulus", (100, 100, 190, 190)))
        fresh = tree(tile(slide, tmp_path / "fresh", annotations=marks).store)
        tiles_read = []
        read = Slide.read

        def noting(self, box, size, **options):
            if size == (32, 32):
                tiles_read.append(box)
            return read(self, box, size, **options)

        monkeypatch.setattr(Slide, "read", noting)
        again = tile(slide, tmp_path / "t", annotations=marks)
        assert again.labels_only
        assert tiles_read == []
        assert tree(again.store) == fresh

    @pytest.mark.parametrize("setting", ["tiling.mpp=0.7", "tiling.tile_px=48", "tiling.overlap_px=4"])
    def test_changed_settings_make_it_anew(self, tmp_path, slide, setting):
        tile(slide, tmp_path / "t")
        again = tile(slide, tmp_path / "t", setting)
        assert not again.up_to_date
        assert not again.labels_only
        assert tree(again.store) == tree(tile(slide, tmp_path / "fresh", setting).store)

    def test_settings_of_other_steps_do_not_matter(self, tmp_path, slide):
        tile(slide, tmp_path / "t")
        assert tile(slide, tmp_path / "t", "train.seed=7").up_to_date

    def test_another_slide_of_the_same_name_is_refused(self, tmp_path, slide):
        tile(slide, tmp_path / "t")
        other = write_slide(tmp_path / "s.tiff", texture_image(330, 270, seed=1))
        with pytest.raises(StoreError, match=r"was made from another slide.*--overwrite"):
            tile(other, tmp_path / "t")
        assert tile(other, tmp_path / "t", overwrite=True).tiles == 99

    def test_the_slide_changed_in_its_place_is_tiled_anew(self, tmp_path, slide):
        tile(slide, tmp_path / "t")
        write_slide(slide, texture_image(330, 270, seed=1))
        assert not tile(slide, tmp_path / "t").up_to_date

    def test_a_damaged_store_is_made_anew(self, tmp_path, slide):
        fresh = tree(tile(slide, tmp_path / "t").store)
        (tmp_path / "t" / "s.zarr" / "boxes" / "zarr.json").unlink()
        assert tree(tile(slide, tmp_path / "t").store) == fresh

    def test_a_folder_of_another_kind_is_not_replaced(self, tmp_path, slide):
        (tmp_path / "t" / "s.zarr").mkdir(parents=True)
        (tmp_path / "t" / "s.zarr" / "mine").write_text("mine")
        with pytest.raises(StoreError, match=r"s\.zarr is there and is no tile store.*--overwrite"):
            tile(slide, tmp_path / "t")
        assert (tmp_path / "t" / "s.zarr" / "mine").exists()
        assert tile(slide, tmp_path / "t", overwrite=True).tiles == 99


class TestFailures:
    def test_another_process_at_work(self, tmp_path, slide):
        with write_lock(tmp_path / "t" / "s.zarr"), pytest.raises(LockedError):
            tile(slide, tmp_path / "t")

    def test_unreadable_tiles_are_left_out_and_told(self, tmp_path, slide, monkeypatch):
        read = Slide.read

        def hurt(self, box, size, **options):
            if size == (32, 32) and box.x0 == 64 and box.y0 in {32, 96}:
                raise SlideReadError("damaged")
            return read(self, box, size, **options)

        monkeypatch.setattr(Slide, "read", hurt)
        marks = annotate(tmp_path / "a.geojson", ("glomerulus", (0, 0, 200, 200)))
        summary = tile(slide, tmp_path / "t", annotations=marks)
        assert summary.unreadable_l0 == [(64, 32, 96, 64), (64, 96, 96, 128)]
        assert summary.counts()["unreadable"] == 2
        store = TileStore.open(summary.store)
        assert len(store) == summary.tiles == 99 - 2
        assert [64, 32, 96, 64] not in store.boxes.tolist()

        with pytest.raises(SlideReadError, match="damaged"):
            tile(slide, tmp_path / "f", "tiling.unreadable=fail")
        assert list((tmp_path / "f").iterdir()) == []

        annotate(marks, ("glomerulus", (0, 0, 20, 20)))
        again = tile(slide, tmp_path / "t", annotations=marks)
        assert again.labels_only
        assert again.unreadable_l0 == summary.unreadable_l0

    def test_nothing_readable_is_a_failure(self, tmp_path, slide, monkeypatch):
        read = Slide.read

        def hurt(self, box, size, **options):
            if size == (32, 32):
                raise SlideReadError("damaged")
            return read(self, box, size, **options)

        monkeypatch.setattr(Slide, "read", hurt)
        with pytest.raises(SlideReadError, match="none of its 99 tiles can be read"):
            tile(slide, tmp_path / "t")
        assert list((tmp_path / "t").iterdir()) == []

    def test_an_unknown_class_is_found_before_the_slide_is_read(self, tmp_path, slide, monkeypatch):
        marks = annotate(tmp_path / "a.geojson", ("glomerolus", (0, 0, 20, 20)))
        monkeypatch.setattr(Slide, "read", None)
        with pytest.raises(UnknownClassError, match="glomerulus"):
            tile(slide, tmp_path / "t", annotations=marks)

    def test_annotations_that_are_none(self, tmp_path, slide):
        (tmp_path / "a.geojson").write_text("{}")
        with pytest.raises(AnnotationParseError):
            tile(slide, tmp_path / "t", annotations=tmp_path / "a.geojson")

    def test_no_resolution(self, tmp_path):
        path = write_slide(tmp_path / "s.tiff", texture_image(100, 100), mpp=None)
        with pytest.raises(ResolutionError, match="--mpp-slide"):
            tile(path, tmp_path / "t")
        assert tile(path, tmp_path / "t", mpp_slide=0.5).tiles == 16

    def test_a_full_disk_keeps_what_is_finished(self, tmp_path, slide, monkeypatch):
        write = shard._write_all
        room = [70]

        def filling(file, data):
            room[0] -= 1
            if room[0] < 0:
                raise OSError(28, os.strerror(28))
            return write(file, data)

        fresh = tree(tile(slide, tmp_path / "fresh").store)
        monkeypatch.setattr(shard, "_write_all", filling)
        with pytest.raises(OutputError, match="No space left"):
            tile(slide, tmp_path / "t")
        room[0] = 999
        progress = CountingProgress()
        assert tree(tile(slide, tmp_path / "t", progress=progress).store) == fresh
        assert progress.calls[0] == 64
