"""Evaluations as plain data: the content of ``evaluate --json``."""

import math
from typing import Any

import numpy as np

from wsiseg.evaluate.evaluation import Evaluation, SlideEvaluation
from wsiseg.evaluate.objectscores import ClassObjects
from wsiseg.metrics import Scores
from wsiseg.objects import ObjectCounts


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Everything that was found; a figure that does not exist (an absent class) is None.

    The keys ``classes.<name>``, ``mean`` and ``objects.<name>`` each hold ``precision``, ``recall`` and
    ``f1``, the first two ``iou`` as well.
    """
    schema = evaluation.schema
    data = {
        **pixel_scores(evaluation.scores),
        "objects": {name: object_scores(found) for name, found in evaluation.objects.items()},
        "absent": list(evaluation.scores.absent),
        "mpp": evaluation.mpp,
        "confusion": {
            "names": list(schema.names),
            "pixels": evaluation.scores.matrix.tolist(),
            "rows": "truth",
            "columns": "prediction",
        },
        "slides": [_slide(slide, evaluation) for slide in evaluation.slides],
        "notes": evaluation.notes,
    }
    if evaluation.calibration is not None:
        data["calibration"] = evaluation.calibration.to_json(schema.names)
    if evaluation.intervals:
        data["interval_95"] = evaluation.intervals
    return dict(_without_nan(data))


def pixel_scores(scores: Scores) -> dict[str, Any]:
    """``classes`` and ``mean``."""
    return {
        "classes": {name: scores.of(index) for index, name in enumerate(scores.names)},
        "mean": scores.mean,
    }


def object_scores(found: ClassObjects) -> dict[str, Any]:
    """The figures of one class of objects."""
    data: dict[str, Any] = {**_counts(found.counts), "rule": found.rule}
    if found.nucleus:
        data["by_iou"] = _counts(found.counts_iou)
    if found.boundaries:
        data["boundary_um"] = {
            "pairs": len(found.boundaries),
            "mean": float(np.mean([pair.mean for pair in found.boundaries])),
            "hausdorff_95": float(np.mean([pair.hausdorff_95 for pair in found.boundaries])),
            "largest_hausdorff_95": max(pair.hausdorff_95 for pair in found.boundaries),
        }
    if found.count_errors and found.counts != ObjectCounts():
        errors = np.array(found.count_errors)
        data["count_per_container"] = {
            "containers": len(errors),
            "mean_true": float(np.mean(found.true_counts)),
            "mean_error": float(errors.mean()),
            "mean_absolute_error": float(np.abs(errors).mean()),
        }
    return data


def _counts(counts: ObjectCounts) -> dict[str, Any]:
    return {
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "truth": counts.truth,
        "predicted": counts.predicted,
        "matched": counts.matched,
    }


def _slide(slide: SlideEvaluation, evaluation: Evaluation) -> dict[str, Any]:
    scores = Scores.from_confusion(slide.pixels.matrix, evaluation.schema.names)
    return {
        "slide": slide.name,
        **pixel_scores(scores),
        "objects": {name: object_scores(found) for name, found in slide.objects.items()},
        "worst": [place.to_json() for place in slide.worst],
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value
