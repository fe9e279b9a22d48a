"""One slide into one tile store."""

import logging
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg import __version__
from wsiseg.annotation import Classified, classify, read_annotations
from wsiseg.classes import ClassSchema
from wsiseg.config import Config
from wsiseg.draw import save_png
from wsiseg.errors import OutputError, SlideError, SlideReadError, StoreError, WsisegError
from wsiseg.geometry import Box, GridFrame, TileGrid
from wsiseg.lock import write_lock
from wsiseg.process import give_back, without_collector
from wsiseg.progress import Progress
from wsiseg.slide import Slide
from wsiseg.tilestore import (
    STORE_SUFFIX,
    StoreHeader,
    StorePlan,
    StoreWriter,
    TileStore,
    discard_partial,
    is_store,
)
from wsiseg.tiling.job import TileJob, TileOptions, TilingSummary
from wsiseg.tiling.keys import content_key, digest_annotations, digest_mask, image_key, used_config
from wsiseg.tiling.labelling import LabelledBy, Labeller, Sketch, choose_mode, count_classes, sketch
from wsiseg.tiling.overview import draw_overview
from wsiseg.tiling.pipeline import TileMaker, fill_store
from wsiseg.tissuemap import TissueMap, boxes_to_l0, look_at, map_tissue

_log = logging.getLogger(__name__)


def tile_slide(
    job: TileJob, config: Config, out: Path, *, options: TileOptions | None = None, progress: Progress
) -> TilingSummary:
    """Cut a slide into tiles, label them where it is annotated, and write ``out/<stem>.zarr``.

    Writes ``out/<stem>.tissue.png`` too. A store that holds just what would be made is left as it is;
    where only labels would differ its images are used again; an interrupted run is taken up.

    Args:
        job: The slide and what belongs to it.
        config: The sections ``classes``, ``annotations``, ``tissue`` and ``tiling`` are used.
        out: Folder of the stores.
        options: How it is done.
        progress: Told of each tile.

    Raises:
        SlideError: It cannot be opened or has no resolution; no tissue; with the policy ``fail``, or where
            no tile at all is readable, a read error.
        AnnotationError: The annotations cannot be read, or hold an unknown class.
        StoreError: Another process writes the store, or it is of another slide.
        ConfigError: The mask cannot be used.
        OutputError: The disk is full, or the folder cannot be written.
    """
    options = options or TileOptions()
    with Slide.open(job.slide, mpp=job.mpp_slide, backend=options.backend) as slide:
        target = out / f"{slide.stem}{STORE_SUFFIX}"
        with write_lock(target):
            if options.overwrite:
                discard_partial(target)
            try:
                return _Tiler(job, config, target, options, slide).run(progress)
            except OutputError:
                raise
            except WsisegError:
                discard_partial(target)
                raise


@dataclass(frozen=True)
class _Labels:
    """What the annotations of a slide came to."""

    schema: ClassSchema
    classified: Classified
    mode: LabelledBy
    provenance: dict[str, Any] | None

    def on(self, frame: GridFrame) -> Labeller:
        """Label maps on the grid of a frame."""
        return Labeller(self.classified, self.schema, frame, self.mode)

    def sketch(self, frame: GridFrame, box: Box) -> Sketch:
        """What to draw into a picture of the slide."""
        return sketch(self.classified, self.schema, frame, self.mode, box)


class _Tiler:
    """The steps of ``tile_slide``; the store's lock is held."""

    def __init__(
        self, job: TileJob, config: Config, target: Path, options: TileOptions, slide: Slide
    ) -> None:
        self._job = job
        self._config = config
        self._target = target
        self._options = options
        self._slide = slide
        self._frame: GridFrame = slide.frame(config.tiling.mpp)
        self._annotations_sha256 = None if job.annotations is None else digest_annotations(job.annotations)
        self._mask_sha256 = None if job.mask is None else digest_mask(job.mask)
        self._key = content_key(
            config,
            self._frame,
            fingerprint=slide.fingerprint,
            backend=slide.backend,
            annotations=self._annotations_sha256,
            mask=self._mask_sha256,
            strict=options.strict,
        )

    def run(self, progress: Progress) -> TilingSummary:
        if (magnified := self._slide.magnified(self._frame)) is not None:
            _log.warning("%s: %s", self._slide.path, magnified)
        before = None if self._options.overwrite else self._store_before()
        if before is not None and before.header.key == self._key:
            discard_partial(self._target)
            return replace(_summary(before), up_to_date=True)
        # Annotations first: a class that nobody knows should not cost the reading of a slide.
        with without_collector():
            labels = self._read_labels()
            labeller = labels.on(self._frame)
        overview = look_at(self._slide)
        tissue = map_tissue(self._slide, overview, self._config.tissue, self._job.mask)
        if self._job.mask is not None and not tissue.mask.any():
            hint = "; black is glass" if self._job.mask.suffix.lower() == ".png" else ""
            _log.warning("%s: shows no tissue%s", self._job.mask, hint)
        plan, boxes = self._plan(tissue, labels, labeller)
        labeller.expect(boxes, self._options.workers)
        give_back()
        same = before if before is not None and before.header.image_key == plan.header.image_key else None
        writer = StoreWriter.begin(self._target, plan, images_from=None if same is None else same.path)
        make = TileMaker(
            plan=plan,
            slide=self._slide,
            labeller=labeller,
            unreadable=self._config.tiling.unreadable,
            kept=None if same is None else np.isin(plan.indices, same.indices),
        )
        fill_store(writer, plan, make, workers=self._options.workers, progress=progress)
        give_back()
        columns = writer.columns()
        self._check_readable(columns["readable"])
        picture_frame = GridFrame(self._slide.size_l0, overview.downsample, self._frame.mpp)
        picture = draw_overview(
            overview,
            tissue,
            self._frame,
            boxes,
            labelled=columns["labelled"],
            readable=columns["readable"],
            sketch=labels.sketch(picture_frame, overview.box),
            palette=self._config.schema_.palette,
        )
        save_png(self._target.with_suffix(".tissue.png"), picture)
        writer.publish()
        return replace(_summary(TileStore.open(self._target)), labels_only=same is not None)

    def _store_before(self) -> TileStore | None:
        """The store that is there, if it is one and can be used.

        Raises:
            StoreError: It was made from another slide of the same name, or something else lies there.
        """
        if not self._target.exists():
            return None
        if not is_store(self._target):
            raise StoreError(
                f"{self._target} is there and is no tile store",
                remedy="Give another folder with --out, or --overwrite",
            )
        try:
            store = TileStore.open(self._target)
        except StoreError:
            return None
        if store.slide_path != self._slide.path and store.slide_fingerprint != self._slide.fingerprint:
            raise StoreError(
                f"{self._target} was made from another slide, {store.slide_path}",
                remedy="Give another folder with --out, or --overwrite",
            )
        return store

    def _read_labels(self) -> _Labels:
        schema, wanted = self._config.schema_, self._config.annotations
        path = self._job.annotations
        if path is None:
            return _Labels(schema, Classified(), "nothing", None)
        file = read_annotations(path, origin_l0=self._slide.origin_qupath, strict=self._options.strict)
        if not file.report.kept and file.report.dropped:
            _log.warning("%s: nothing in it can be used: %s", path, file.report.summary())
        warning = file.mpp_warning(self._slide.resolution.mpp_x)
        if warning is not None:
            _log.warning("%s: %s", path, warning)
        own = sum({"wsiseg", "model"} <= item.metadata.keys() for item in file.annotations)
        if own:
            _log.warning(
                "%s: %d of %d objects were predicted by wsiseg; they are taken as they are. Where nobody has "
                "looked them over, move the file away: a model learns nothing from itself",
                path,
                own,
                len(file.annotations),
            )
        classified = classify(
            file.annotations,
            schema,
            mapping=wanted.mapping,
            region_prefix=wanted.region_prefix,
            ignore_class=wanted.ignore_class,
        )
        mode = choose_mode(classified, wanted.labelled)
        provenance = {
            "file": path.name,
            "sha256": self._annotations_sha256,
            "format": file.format,
            "import": file.report.summary(),
            "labelled_by": mode,
            "objects": count_classes(classified),
        }
        return _Labels(schema, classified, mode, provenance)

    def _plan(self, tissue: TissueMap, labels: _Labels, labeller: Labeller) -> tuple[StorePlan, list[Box]]:
        """Which tiles to take, and what each of them shows."""
        tiling = self._config.tiling
        grid = TileGrid(self._frame.size_gr, tiling.tile_px, tiling.overlap_px)
        boxes = [tile.read for tile in grid]
        shares = tissue.shares(boxes_to_l0(boxes, self._frame))
        taken = shares >= tiling.min_tissue_share
        # Asking for annotations is slow, and needless where there is tissue enough.
        doubtful = np.flatnonzero(~taken)
        taken[doubtful] = labeller.annotated([boxes[i] for i in doubtful.tolist()])
        indices = np.flatnonzero(taken).astype(np.int64)
        if not indices.size:
            raise SlideError(
                f"{self._slide.path}: no tissue found",
                remedy="Give it with --mask, or lower tissue.min_area_um2 or tiling.min_tissue_share",
            )
        header = StoreHeader(
            name=self._slide.stem,
            schema=self._config.schema_,
            frame=self._frame,
            tile_px=tiling.tile_px,
            overlap_px=tiling.overlap_px,
            key=self._key,
            image_key=image_key(
                self._config,
                self._frame,
                indices,
                fingerprint=self._slide.fingerprint,
                backend=self._slide.backend,
            ),
            provenance=self._provenance(tissue, labels),
            jpeg_quality=tiling.stored_jpeg_quality,
        )
        return StorePlan(header, indices, shares[indices]), [boxes[i] for i in indices.tolist()]

    def _provenance(self, tissue: TissueMap, labels: _Labels) -> dict[str, Any]:
        mask = self._job.mask
        return {
            "slide": {
                "path": self._slide.path,
                "fingerprint": self._slide.fingerprint,
                "vendor": self._slide.vendor,
                "backend": self._slide.backend,
                "mpp": [self._slide.resolution.mpp_x, self._slide.resolution.mpp_y],
            },
            "annotations": labels.provenance,
            "mask": None if mask is None else {"file": mask.name, "sha256": self._mask_sha256},
            "tissue_share": round(tissue.share, 6),
            "config": used_config(self._config),
            "versions": {
                "wsiseg": __version__,
                **{name: version(name) for name in ("numpy", "zarr", "numcodecs", "shapely")},
            },
        }

    def _check_readable(self, readable: NDArray[np.bool_]) -> None:
        if not readable.any():
            raise SlideReadError(f"{self._slide.path}: none of its {len(readable)} tiles can be read")


def _summary(store: TileStore) -> TilingSummary:
    """The summary of a finished store."""
    annotations = store.provenance["annotations"]
    frame = store.frame
    unreadable = [frame.to_l0(store.grid[int(index)].read) for index in store.unreadable]
    return TilingSummary(
        store=store.path,
        tiles=len(store),
        labelled=int(store.labelled.sum()),
        labelled_by="nothing" if annotations is None else annotations["labelled_by"],
        objects={} if annotations is None else dict(annotations["objects"]),
        annotations=None if annotations is None else f"{annotations['file']}: {annotations['import']}",
        unreadable_l0=[(box.x0, box.y0, box.x1, box.y1) for box in unreadable],
        tissue_share=float(store.provenance["tissue_share"]),
    )
