"""A slide from its file to finished predictions."""

import math
import shutil
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg import __version__
from wsiseg.errors import SlideReadError
from wsiseg.geometry import GridFrame, TileGrid
from wsiseg.infer.export import Finished, write_all, write_mask
from wsiseg.infer.naming import work_path
from wsiseg.infer.objects import ObjectTable, build_table, drop_outside
from wsiseg.infer.outlines import simplify
from wsiseg.infer.polygonfile import PolygonFile
from wsiseg.infer.polygons import drop_hollow, trace_objects
from wsiseg.infer.publish import publish
from wsiseg.infer.request import ModelCard, Settings, SlidePrediction, content_key, finished_before
from wsiseg.infer.seams import SeamScore, score_seams
from wsiseg.infer.splitting import split_touching
from wsiseg.infer.stitcher import Planes, build_stitcher
from wsiseg.infer.tiles import PredictedTile, TileSource, predict_tiles
from wsiseg.infer.turning import Predictor
from wsiseg.infer.workfolder import Work, WorkFolder, finished_files
from wsiseg.lock import write_lock
from wsiseg.progress import NullProgress, Progress
from wsiseg.slide import RegionReader, Slide
from wsiseg.tissuemap import Overview, boxes_to_l0, look_at, map_tissue

__all__ = ["ModelCard", "Settings", "SlidePrediction", "predict_slide"]


def predict_slide(
    slide: Slide,
    predictors: Predictor | Sequence[Predictor],
    model: ModelCard,
    *,
    out: Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
    reader: RegionReader | None = None,
) -> SlidePrediction:
    """Predict a whole slide and write all files about it.

    Interrupted at any moment, the same call goes on where it was and gives the same bytes. A slide that
    is finished with the same content, model and settings is skipped.

    Args:
        slide: The slide.
        predictors: What tells the classes of tiles; several, each on a device of its own, share the work.
        model: About the model behind it.
        out: Folder of the files.
        settings: See ``Settings``.
        progress: Told of each phase.
        reader: Where tiles come from, if not from the slide itself; it must give the same pixels.

    Raises:
        ConfigError: ``out`` is the slide's own folder.
        ResolutionError: The slide's resolution is unknown.
        SlideReadError: A region cannot be read, with ``unreadable: fail``; or none can be.
        LockedError: Another process predicts the same slide into the same folder.
        OutputError: A file is in the way, the folder cannot be written, or the disk is full.
    """
    settings, progress = settings or Settings(), progress or NullProgress()
    asked = [predictors] if callable(predictors) else list(predictors)
    path = work_path(out, slide.stem)
    # Before the lock as well, since taking it makes the folder.
    finished_before(slide, model, out, settings)
    with write_lock(out / f"{slide.stem}.prediction"):
        finished = finished_before(slide, model, out, settings)
        if settings.overwrite:
            shutil.rmtree(path, ignore_errors=True)
        if finished is None:
            key = content_key(slide, slide.frame(model.mpp), model, settings)
            files = finished_files(path, slide.stem, key)
            if files is None:
                files = _Job(slide, reader or slide, asked, model, path, settings, progress, key).run()
            finished = publish(files, out, slide.stem)
        shutil.rmtree(path, ignore_errors=True)
        return finished


@dataclass
class _Job:
    """The work on one slide."""

    slide: Slide
    reader: RegionReader
    predictors: Sequence[Predictor]
    model: ModelCard
    path: Path
    settings: Settings
    progress: Progress
    key: str

    def __post_init__(self) -> None:
        config = self.settings.predict
        self.frame: GridFrame = self.slide.frame(self.model.mpp)
        self.planes = Planes(
            len(self.model.schema), config.confidence, probabilities="probabilities" in self.settings.keep
        )
        overlap = round(config.overlap_share * self.model.tile_px)
        self.grid = TileGrid(self.frame.size_gr, self.model.tile_px, overlap)

    def run(self) -> Path:
        """Predict, outline, measure, write; gives the folder of the files."""
        overview = look_at(self.slide, self.settings.predict.overview_px)
        tissue = map_tissue(self.slide, overview, self.settings.tissue, None)
        wanted = tissue.touching(boxes_to_l0([tile.read for tile in self.grid], self.frame))
        work = WorkFolder.open(
            self.path,
            Work(
                self.slide.stem,
                self.key,
                self.frame.size_gr,
                self.planes,
                self.settings.keep,
                self._described(),
            ),
        )
        self._stitch(wanted, work)
        if wanted.any() and work.unreadable == wanted.sum():
            work.remove()
            raise SlideReadError(f"{self.slide.path}: none of its {work.unreadable} tiles can be read")
        with (
            closing(PolygonFile(work.path)) as file,
            ThreadPoolExecutor(1, thread_name_prefix="mask") as beside,
        ):
            # Compressing leaves the interpreter alone, and needs nothing but the label map.
            mask = beside.submit(
                write_mask, work.files, self.slide, self.frame, work.masks.label, self.model.schema
            )
            table = self._outline(work, file)
            if not mask.done():
                self.progress.start("writing the mask", 1)
                mask.result()
                self.progress.advance()
            mask.result()
            self._write(work, overview, wanted, table)
        return work.files

    def _write(
        self, work: WorkFolder, overview: Overview, wanted: NDArray[np.bool_], table: ObjectTable
    ) -> None:
        """Make all files."""
        seams = score_seams(work.masks.label, self.grid, self.settings.predict.stitching)
        counts = {**table.counts, "tiles": int(wanted.sum())}
        rare = {"unreadable_tiles": work.unreadable, "outside_their_container": table.outside}
        counts |= {key: value for key, value in rare.items() if value}
        finished = Finished(
            slide=self.slide,
            frame=self.frame,
            label=work.masks.label,
            table=table,
            overview=overview,
            metadata={"wsiseg": __version__, "model": self.model.fingerprint},
            record=self._record(counts, seams, self._warnings(seams, work, wanted, len(table))),
        )
        write_all(work.files, finished, self.settings, self.progress)

    def _stitch(self, wanted: NDArray[np.bool_], work: WorkFolder) -> None:
        """Fill the masks of the work folder from the first band that is missing."""
        config, grid = self.settings.predict, self.grid
        self.progress.start("predicting", int(wanted.sum()))
        self.progress.advance(int(wanted[: work.bands * grid.columns].sum()))
        if work.bands == grid.rows:
            return
        unreadable = 0
        with (
            closing(build_stitcher(config.stitching, grid, self.planes, work.path)) as stitcher,
            closing(self._predicted(wanted, stitcher.first_row(work.bands))) as tiles,
        ):
            for predicted in tiles:
                tile = predicted.tile
                parts = stitcher.add(tile, predicted.planes_CTT)
                if tile.row < work.bands:
                    continue
                for part in parts:
                    work.masks.write(part)
                unreadable += predicted.unreadable
                self.progress.advance(int(wanted[tile.index]))
                if tile.column == grid.columns - 1:
                    work.finish_band(unreadable)
                    unreadable = 0

    def _predicted(self, wanted: NDArray[np.bool_], first_row: int) -> Generator[PredictedTile]:
        config = self.settings.predict
        return predict_tiles(
            TileSource(self.reader, self.frame, self.grid, wanted, config.unreadable),
            self.predictors,
            first_row=first_row,
            batch_size=config.batch_size,
            workers=self.settings.workers,
        )

    def _outline(self, work: WorkFolder, file: PolygonFile) -> ObjectTable:
        """Trace and measure the objects; their outlines wait in ``file``."""
        config, schema = self.settings.predict, self.model.schema
        area_um2 = math.prod(self.slide.pixel_um(self.frame))
        traced = trace_objects(work.masks.label, schema, area_um2, self.progress, file)
        if config.split_nuclei:
            traced = split_touching(traced, schema, area_um2, self.progress)
        traced = drop_hollow(traced, schema)
        if config.outside == "drop":
            traced = drop_outside(traced, schema)
        outlines = traced
        if config.simplify_um:
            outlines = simplify(traced, schema, config.simplify_um / area_um2**0.5, self.progress)
        identity = f"{self.slide.fingerprint}\x1f{self.model.fingerprint}"
        return build_table(
            traced,
            outlines,
            schema,
            frame=self.frame,
            pixel_area_um2=area_um2,
            probability=work.masks.probability,
            confidence=work.masks.confidence,
            identity=identity,
        )

    def _described(self) -> dict[str, Any]:
        """What a kept map says about itself."""
        return {
            "classes": self.model.schema.to_json(),
            "mpp": self.frame.mpp,
            "downsample": list(self.frame.downsample),
            "size_l0": list(self.frame.size_l0),
            "origin_l0": [0, 0],
            "origin_qupath": list(self.slide.origin_qupath),
            "slide": {"name": self.slide.name, "fingerprint": self.slide.fingerprint},
            "model": self.model.fingerprint,
        }

    def _record(self, counts: dict[str, Any], seams: SeamScore, warnings: Sequence[str]) -> dict[str, Any]:
        """What the files were made from; without time or place, so that it is the same every time."""
        return {
            "key": self.key,
            "wsiseg": __version__,
            "slide": {"name": self.slide.name, "fingerprint": self.slide.fingerprint},
            "model": {
                "fingerprint": self.model.fingerprint,
                **({"discriminator": self.model.judge} if self.model.judge else {}),
                "mpp": self.model.mpp,
                "tile_px": self.model.tile_px,
                "classes": self.model.schema.to_json(),
            },
            "mask": {
                "size_px": list(self.frame.size_gr),
                "downsample": list(self.frame.downsample),
                "mpp": self.frame.mpp,
            },
            "origin_qupath": list(self.slide.origin_qupath),
            "predict": self.settings.predict.model_dump(mode="json"),
            "tissue": self.settings.tissue.model_dump(mode="json"),
            "formats": list(self.settings.formats),
            "keep": list(self.settings.keep),
            "counts": counts,
            "warnings": list(warnings),
            "seam_ratio": None if seams.ratio is None else round(seams.ratio, 4),
        }

    def _warnings(
        self, seams: SeamScore, work: WorkFolder, wanted: NDArray[np.bool_], objects: int
    ) -> tuple[str, ...]:
        config, found = self.settings.predict, []
        if work.unreadable:
            found.append(
                f"{work.unreadable} of {int(wanted.sum())} tiles cannot be read and count as background"
            )
        elif advice := seams.advice(config.overlap_share, config.stitching):
            found.append(advice)
        if not wanted.any():
            found.append("no tissue was found: nothing was predicted")
        elif not objects:
            found.append(
                "no object was found: has the model learnt from this stain, and is the slide's um/px right?"
            )
        return tuple(found)
