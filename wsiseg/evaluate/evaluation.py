"""The use case: judge the predictions of one or more slides against their truth."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsiseg.annotation import AnnotationFile
from wsiseg.classes import ClassSchema
from wsiseg.config import Config
from wsiseg.errors import ConfigError
from wsiseg.evaluate.calibration import CalibrationCounts, find_probabilities, open_probabilities
from wsiseg.evaluate.inputs import (
    Case,
    Side,
    annotated_side,
    check_exists,
    check_slide,
    is_mask,
    mask_mpp,
    mask_side,
    origin_of,
    read_file,
)
from wsiseg.evaluate.objectscores import ClassObjects, score_objects
from wsiseg.evaluate.pixels import PixelCounts, count_pixels
from wsiseg.evaluate.places import WorstPlace, worst_places
from wsiseg.geometry import GridFrame
from wsiseg.metrics import Scores, slide_intervals
from wsiseg.progress import Progress
from wsiseg.resampling import Interval
from wsiseg.slide import Slide
from wsiseg.tilestore import MaskStore
from wsiseg.tissuemap import look_at, map_tissue


@dataclass(frozen=True, eq=False)
class SlideEvaluation:
    """What was found on one slide.

    Attributes:
        name: File name of the slide.
        pixels: Pixel counts, by cell.
        objects: Object scores by class.
        worst: Where most pixels are wrong, worst first.
        thumbnail: The overview, ``(h, w, 3)`` uint8, of the size of ``pixels.errors``.
    """

    name: str
    pixels: PixelCounts
    objects: dict[str, ClassObjects]
    worst: list[WorstPlace]
    thumbnail: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was found on all slides together.

    Attributes:
        schema: The classes.
        mpp: Micrometres of a counted pixel.
        slides: One entry for each slide, in the order given.
        notes: What is worth knowing about the comparison.
    """

    schema: ClassSchema
    mpp: float
    slides: tuple[SlideEvaluation, ...]
    notes: list[str] = field(default_factory=list)

    @cached_property
    def scores(self) -> Scores:
        """Pixel scores from the sum of all slides' matrices."""
        return Scores.from_confusion(sum(slide.pixels.matrix for slide in self.slides), self.schema.names)

    @cached_property
    def objects(self) -> dict[str, ClassObjects]:
        """Object scores of all slides together."""
        return {
            c.name: sum((slide.objects[c.name] for slide in self.slides), ClassObjects(c.nucleus))
            for c in self.schema.foreground
        }

    @cached_property
    def calibration(self) -> CalibrationCounts | None:
        """Of all slides whose probabilities were kept; None where none were."""
        found = [slide.pixels.calibration for slide in self.slides if slide.pixels.calibration is not None]
        return sum(found[1:], found[0]) if found else None

    @cached_property
    def intervals(self) -> dict[str, dict[str, Interval]]:
        """95 % intervals over slides of the pixel scores; empty for a single slide."""
        if len(self.slides) < 2:
            return {}
        return slide_intervals([slide.pixels.matrix for slide in self.slides], self.schema.names)


def evaluate(
    cases: Sequence[Case],
    config: Config,
    *,
    progress: Progress,
    mpp: float | None = None,
    mpp_slide: float | None = None,
) -> Evaluation:
    """Judge predictions.

    Args:
        cases: Slides with their truth and prediction.
        config: Classes (where it names any), annotations, tissue and, for want of better, tiling.mpp.
        progress: Told about each block.
        mpp: Micrometres a pixel to compare at; by default what the first prediction was made at.
        mpp_slide: Resolution of level 0, in place of what the slides say.

    Raises:
        ConfigError: No cases, predictions of different classes, or one of another slide.
        SlideError: A slide cannot be opened or read, or has no resolution.
        AnnotationError: A file cannot be read, or has an unknown class.
    """
    if not cases:
        raise ConfigError("nothing to evaluate", expected="a slide, its truth and its prediction")
    for case in cases:
        check_exists(case)
    for case in cases:
        check_slide(case)
    judge = _Judge(config, progress, mpp, mpp_slide)
    slides = tuple(judge.judge(case) for case in cases)
    schema, used_mpp = judge.settled
    result = Evaluation(schema, used_mpp, slides, judge.notes)
    calibrated = [slide.name for slide in slides if slide.pixels.calibration is not None]
    if 0 < len(calibrated) < len(slides):
        result.notes.append(f"calibration is that of {', '.join(calibrated)} alone")
    if result.scores.absent:
        absent = ", ".join(result.scores.absent)
        result.notes.append(f"neither in the truth nor in the prediction, so in no mean: {absent}")
    return result


class _Judge:
    """Judges slide after slide; the first prediction settles classes and resolution for all."""

    def __init__(
        self, config: Config, progress: Progress, mpp: float | None, mpp_slide: float | None
    ) -> None:
        self._config = config
        self._progress = progress
        self._mpp = mpp
        self._mpp_slide = mpp_slide
        self._schema: ClassSchema | None = None
        self.notes: list[str] = []

    @property
    def settled(self) -> tuple[ClassSchema, float]:
        """Classes and um/px, once a slide was judged."""
        if self._schema is None or self._mpp is None:
            raise RuntimeError("no slide was judged yet")
        return self._schema, self._mpp

    def judge(self, case: Case) -> SlideEvaluation:
        with Slide.open(case.slide, mpp=self._mpp_slide) as slide:
            prediction = None if is_mask(case.prediction) else read_file(case.prediction, slide)
            schema, mpp = self._settle(case)
            frame = slide.frame(mpp)
            truth = annotated_side(read_file(case.truth, slide), schema, frame, self._config)
            with self._prediction(case, prediction, schema, frame) as judged:
                return self._compare(slide, truth, judged, frame, self._probabilities(case, slide, frame))

    def _settle(self, case: Case) -> tuple[ClassSchema, float]:
        """Classes and um/px: the configuration's classes where it names any, else the prediction's own."""
        origin = origin_of(case.prediction)
        named = "classes" in self._config.model_fields_set
        schema = self._config.schema_ if named or origin.schema is None else origin.schema
        self._schema = self._schema or schema
        if schema.fingerprint != self._schema.fingerprint:
            raise ConfigError(
                f"{case.prediction}: classes differ from those of the first prediction",
                found=", ".join(schema.names),
                expected=", ".join(self._schema.names),
                remedy="Evaluate it apart, or name the classes with --config",
            )
        if self._mpp is None:
            self._mpp = origin.mpp or self._own_mpp(case.prediction)
        return self._schema, self._mpp

    def _own_mpp(self, prediction: Path) -> float:
        """The um/px of a prediction without a record: a mask says what its pixels measure on its slide."""
        return mask_mpp(prediction) if is_mask(prediction) else self._config.tiling.mpp

    @contextmanager
    def _prediction(
        self, case: Case, file: AnnotationFile | None, schema: ClassSchema, frame: GridFrame
    ) -> Iterator[Side]:
        if file is None:
            if any(one.nucleus for one in schema):
                self.notes.append(
                    f"{case.prediction.name}: nuclei that touch are one object in a mask; "
                    "evaluate the outlines to count them as predict does"
                )
            with mask_side(case.prediction, schema, frame) as side:
                yield side
        else:
            if file.format == "asap":
                self.notes.append(
                    f"{case.prediction.name}: ASAP has no holes, so an object with one is two or more here; "
                    "evaluate another format to count objects"
                )
            yield annotated_side(file, schema, frame, self._config)

    def _probabilities(self, case: Case, slide: Slide, frame: GridFrame) -> MaskStore | None:
        """Those that were kept beside the prediction; a note where they tell nothing here."""
        path, origin = find_probabilities(case.prediction), origin_of(case.prediction)
        if path is None:
            return None
        if origin.files is not None and path.name not in origin.files:
            self.notes.append(f"{path.name}: no calibration, they are of an earlier prediction")
            return None
        found = open_probabilities(path, self.settled[0], slide, frame, origin.model)
        if isinstance(found, str):
            self.notes.append(f"{path.name}: no calibration, {found}")
            return None
        return found

    def _compare(
        self, slide: Slide, truth: Side, prediction: Side, frame: GridFrame, probabilities: MaskStore | None
    ) -> SlideEvaluation:
        schema, _ = self.settled
        # The picture and the tissue that tile and predict go by.
        overview = look_at(slide)
        tissue = map_tissue(slide, overview, self._config.tissue, None)
        if truth.regions:
            self.notes.append(f"{slide.name}: only its {len(truth.regions)} annotated regions count")
        pixels = count_pixels(
            truth,
            prediction,
            tissue.mask,
            frame,
            len(schema),
            progress=self._progress,
            name=slide.name,
            probabilities=probabilities,
        )
        return SlideEvaluation(
            name=slide.name,
            pixels=pixels,
            objects=score_objects(truth, prediction, schema, slide.resolution),
            worst=worst_places(pixels, frame, schema),
            thumbnail=overview.rgb,
        )
