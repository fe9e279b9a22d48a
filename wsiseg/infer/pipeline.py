"""A slide from its file to finished predictions."""

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg import __version__
from wsiseg.classes import ClassSchema
from wsiseg.config import PredictConfig, TissueConfig
from wsiseg.errors import ConfigError, OutputError, SlideReadError
from wsiseg.geometry import GridFrame, TileGrid
from wsiseg.infer.export import RECORD_SUFFIX, Finished, Format, move_into_place, suffixes, write_all
from wsiseg.infer.objects import ObjectTable, build_table, drop_outside
from wsiseg.infer.outlines import simplify
from wsiseg.infer.polygons import drop_hollow, trace_objects
from wsiseg.infer.seams import SeamScore, score_seams
from wsiseg.infer.splitting import split_touching
from wsiseg.infer.stitcher import build_stitcher
from wsiseg.infer.tiles import TileSource, predict_tiles
from wsiseg.infer.tissue import glance_at, tiles_with_tissue
from wsiseg.infer.turning import Predictor
from wsiseg.infer.workfolder import WorkFolder, work_path
from wsiseg.progress import NullProgress, Progress
from wsiseg.slide import Slide
from wsiseg.tilestore import store_lock

PREDICTING_VERSION = 1
"""Raised when the same slide, model and settings would give other files than before."""


@dataclass(frozen=True)
class ModelCard:
    """What a prediction has to know about the model behind a predictor.

    Attributes:
        schema: Classes, by index.
        mpp: Micrometres per pixel of its tiles.
        tile_px: Side of a tile.
        fingerprint: Digest of its weights and classes.
        name: For people, such as the path of the run.
    """

    schema: ClassSchema
    mpp: float
    tile_px: int
    fingerprint: str
    name: str = ""


@dataclass(frozen=True)
class Settings:
    """How to predict.

    Attributes:
        predict: The ``predict`` section.
        tissue: The ``tissue`` section.
        formats: Annotation files to write.
        workers: Threads that read tiles ahead; they change no byte of the result.
        overwrite: Predict anew what is finished, and write over files that are not ours.
    """

    predict: PredictConfig = field(default_factory=PredictConfig)
    tissue: TissueConfig = field(default_factory=TissueConfig)
    formats: tuple[Format, ...] = ("qupath", "asap")
    workers: int = 2
    overwrite: bool = False


@dataclass(frozen=True)
class SlidePrediction:
    """What became of a slide.

    Attributes:
        files: The finished files.
        counts: Objects by class, tiles, and what went wrong; for reports.
        skipped: Whether it was finished before, and nothing was done.
        warnings: Sentences for the user.
    """

    files: tuple[Path, ...]
    counts: dict[str, Any]
    skipped: bool = False
    warnings: tuple[str, ...] = ()


def predict_slide(
    slide: Slide,
    predictor: Predictor,
    model: ModelCard,
    *,
    out: Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> SlidePrediction:
    """Predict a whole slide and write all files about it.

    Interrupted at any moment, the same call goes on where it was and gives the same bytes. A slide that
    is finished with the same content, model and settings is skipped.

    Args:
        slide: The slide.
        predictor: What tells the classes of tiles.
        model: About the model behind it.
        out: Folder of the files.
        settings: See ``Settings``.
        progress: Told of each phase.

    Raises:
        ConfigError: ``out`` is the slide's own folder.
        ResolutionError: The slide's resolution is unknown.
        SlideReadError: A region cannot be read, with ``unreadable: fail``; or none can be.
        StoreLockedError: Another process predicts the same slide into the same folder.
        OutputError: A file is in the way, the folder cannot be written, or the disk is full.
    """
    settings, progress = settings or Settings(), progress or NullProgress()
    _check_out(slide, out)
    frame = slide.frame(model.mpp)
    key = content_key(slide, frame, model, settings)
    with store_lock(out / f"{slide.stem}.prediction"):
        finished = _finished_before(out, slide, key, settings)
        if finished is not None:
            shutil.rmtree(work_path(out, slide.stem), ignore_errors=True)
            return finished
        return _Job(slide, predictor, model, out, settings, progress, frame, key).run()


def content_key(slide: Slide, frame: GridFrame, model: ModelCard, settings: Settings) -> str:
    """32 hex digits over everything that the files of a prediction depend on."""
    parts = {
        "version": [PREDICTING_VERSION, __version__],
        "slide": [slide.fingerprint, slide.name, slide.backend],
        "frame": [*frame.size_l0, *frame.downsample, frame.mpp],
        "model": [model.fingerprint, model.tile_px, model.schema.to_json()],
        "predict": settings.predict.model_dump(mode="json"),
        "tissue": settings.tissue.model_dump(mode="json"),
        "formats": sorted(settings.formats),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _check_out(slide: Slide, out: Path) -> None:
    if out.resolve() == Path(slide.path).resolve().parent:
        raise ConfigError(
            f"--out {out} is the folder of {slide.name}",
            remedy="Give another folder: beside the slide, predictions would be taken for its annotations",
        )


def _finished_before(out: Path, slide: Slide, key: str, settings: Settings) -> SlidePrediction | None:
    """The earlier prediction with the same key, or None; files that are not ours are never lost unasked."""
    files = tuple(out / f"{slide.stem}{suffix}" for suffix in suffixes(settings.formats))
    record = out / f"{slide.stem}{RECORD_SUFFIX}"
    if settings.overwrite:
        return None
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        in_the_way = [path for path in files if path.exists()]
        if in_the_way and not work_path(out, slide.stem).exists():
            raise OutputError(
                f"{in_the_way[0]} exists and is no prediction of wsiseg",
                remedy="Give another folder with --out, or --overwrite",
            ) from None
        return None
    if found.get("key") != key or not all(path.is_file() for path in files):
        return None
    return SlidePrediction(files, dict(found["counts"]), skipped=True)


@dataclass
class _Job:
    """The work on one slide."""

    slide: Slide
    predictor: Predictor
    model: ModelCard
    out: Path
    settings: Settings
    progress: Progress
    frame: GridFrame
    key: str

    def run(self) -> SlidePrediction:
        """Predict, outline, measure, write."""
        config = self.settings.predict
        overlap = round(config.overlap_share * self.model.tile_px)
        grid = TileGrid(self.frame.size_gr, self.model.tile_px, min(overlap, self.model.tile_px - 1))
        glance = glance_at(self.slide, config.overview_px)
        wanted = tiles_with_tissue(self.slide, glance, self.frame, grid, self.settings.tissue)
        work = WorkFolder.open(work_path(self.out, self.slide.stem), self.key, self.frame.size_gr)
        self._stitch(grid, wanted, work)
        if wanted.any() and work.unreadable == wanted.sum():
            work.remove()
            raise SlideReadError(f"{self.slide.path}: none of its {work.unreadable} tiles can be read")
        seams = score_seams(work.label, grid, config.stitching)
        table = self._outline(work)
        counts = {**table.counts, "tiles": int(wanted.sum())}
        rare = {"unreadable_tiles": work.unreadable, "outside_their_container": table.outside}
        counts |= {key: value for key, value in rare.items() if value}
        finished = Finished(
            slide=self.slide,
            frame=self.frame,
            label=work.label,
            table=table,
            glance=glance,
            metadata={"wsiseg": __version__, "model": self.model.fingerprint},
            record=self._record(counts, seams),
        )
        paths = write_all(work.path / "files", finished, self.settings.formats, self.progress)
        files = move_into_place(paths, self.out)
        work.remove()
        return SlidePrediction(tuple(files), counts, warnings=self._warnings(seams, work, wanted))

    def _stitch(self, grid: TileGrid, wanted: NDArray[np.bool_], work: WorkFolder) -> None:
        """Fill the masks of the work folder from the first band that is missing."""
        config = self.settings.predict
        stitcher = build_stitcher(config.stitching, grid, len(self.model.schema))
        self.progress.start("predicting", int(wanted.sum()))
        self.progress.advance(int(wanted[: work.bands * grid.columns].sum()))
        if work.bands == grid.rows:
            return
        first_row = stitcher.first_row(work.bands)
        source = TileSource(self.slide, self.frame, grid, wanted, config.unreadable)
        unreadable = 0
        for predicted in predict_tiles(
            source,
            self.predictor,
            first_row=first_row,
            batch_size=config.batch_size,
            workers=self.settings.workers,
        ):
            tile = predicted.tile
            stitcher.add(tile, predicted.probabilities_KTT)
            unreadable += predicted.unreadable
            again = tile.row < work.bands
            self.progress.advance(int(wanted[tile.index] and not again))
            if tile.column == grid.columns - 1:
                band = stitcher.finish(tile.row)
                if not again:
                    work.add(band, unreadable)
                unreadable = 0

    def _outline(self, work: WorkFolder) -> ObjectTable:
        config, schema = self.settings.predict, self.model.schema
        traced = trace_objects(work.label, schema, self.frame.pixel_area_um2, self.progress)
        if config.split_nuclei:
            traced = split_touching(traced, schema, self.frame.pixel_area_um2, self.progress)
        traced = drop_hollow(traced, schema)
        if config.outside == "drop":
            traced = drop_outside(traced, schema)
        outlines = traced
        if config.simplify_um:
            outlines = simplify(traced, schema, config.simplify_um / self.frame.mpp, self.progress)
        identity = f"{self.slide.fingerprint}\x1f{self.model.fingerprint}"
        return build_table(
            traced, outlines, schema, frame=self.frame, confidence=work.confidence, identity=identity
        )

    def _record(self, counts: dict[str, Any], seams: SeamScore) -> dict[str, Any]:
        """What the files were made from; without time or place, so that it is the same every time."""
        return {
            "key": self.key,
            "wsiseg": __version__,
            "slide": {"name": self.slide.name, "fingerprint": self.slide.fingerprint},
            "model": {
                "fingerprint": self.model.fingerprint,
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
            "counts": counts,
            "seam_ratio": None if seams.ratio is None else round(seams.ratio, 4),
        }

    def _warnings(self, seams: SeamScore, work: WorkFolder, wanted: NDArray[np.bool_]) -> tuple[str, ...]:
        config, found = self.settings.predict, []
        if work.unreadable:
            found.append(
                f"{work.unreadable} of {int(wanted.sum())} tiles cannot be read and count as background"
            )
        elif advice := seams.advice(config.overlap_share, config.stitching):
            found.append(advice)
        if not wanted.any():
            found.append("no tissue was found: nothing was predicted")
        return tuple(found)
