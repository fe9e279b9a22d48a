"""The figures of a study as plain data: the content of ``table.json``."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.objects import ObjectCounts
from wsiseg.resampling import bootstrap_weights, class_scores, mean_score, slides_by_class
from wsiseg.study.collect import Results
from wsiseg.study.statistics import Difference, labels_for, mean_interval, paired_difference
from wsiseg.study.verdict import decide, direction

Plain = dict[str, Any]
Kept = list[tuple[Fraction, tuple[int, ...]]]
"""Shares with the seeds that are finished there."""


def build_table(name: str, results: Results) -> Plain:
    """Every figure of a study.

    Args:
        name: Of the study.
        results: Its finished cells.

    Returns:
        Plain data, in the order in which it is to be read; shares and seeds as text.
    """
    study = results.study
    scores = {arm: _scores(results, arm) for arm in study.arms}
    differences = {arm: _differences(results, arm) for arm in study.arms if arm != study.baseline}
    verdicts = {arm: decide(arm, study.baseline, found) for arm, found in differences.items()}
    return {
        "study": name,
        "data": study.data,
        "baseline": study.baseline,
        "score": study.score,
        "arms": list(study.arms),
        "shares": [str(share) for share in study.shares],
        "seeds": list(study.seeds),
        "test_slides": {fold or "all": list(slides) for fold, slides in study.all_folds.items()},
        "classes": list(results.classes),
        "cells": {"wanted": len(results.cells) + len(results.missing), "finished": len(results.cells)},
        "missing": list(results.missing),
        "made": _made(results),
        "verdicts": {
            arm: {"verdict": found.kind, "sentence": found.sentence} for arm, found in verdicts.items()
        },
        "scores": scores,
        "differences": {
            arm: {share: _plain_difference(one, results, arm, share) for share, one in found.items()}
            for arm, found in differences.items()
        },
        "labels": {arm: _labels(results, arm, scores) for arm in differences},
        "objects": {arm: _by_share(results, arm, _objects) for arm in study.arms},
        "calibration": {arm: _by_share(results, arm, _calibration) for arm in study.arms},
        "discriminator": {arm: _by_share(results, arm, _discriminator) for arm in study.arms},
        "notes": [*results.notes, *_remarks(results)],
    }


def _kept(results: Results, *arms: str) -> Kept:
    found = [(share, results.seeds(*arms, share=share)) for share in results.study.shares]
    return [(share, seeds) for share, seeds in found if seeds]


def _scores(results: Results, arm: str) -> dict[str, Plain]:
    return {str(share): _score(results, arm, share, seeds) for share, seeds in _kept(results, arm)}


def _score(results: Results, arm: str, share: Fraction, seeds: Sequence[int]) -> Plain:
    counts = results.counts(arm, share, seeds).sum(axis=1)
    values = mean_score(counts, results.study.score)
    by_class = {score: class_scores(counts, score).mean(axis=0) for score in ("iou", "f1")}
    return {
        "mean": _round(values.mean()),
        "interval": _round_all(mean_interval(values.tolist())),
        "seeds": {str(seed): _round(value) for seed, value in zip(seeds, values, strict=True)},
        "mean_iou": _round(mean_score(counts, "iou").mean()),
        "mean_f1": _round(mean_score(counts, "f1").mean()),
        "classes": {
            name: {score: _round(found[index]) for score, found in by_class.items()}
            for index, name in enumerate(results.classes)
        },
        "confusion": counts.sum(axis=0).tolist(),
        "labelled_tiles": _mean([_tiles(fold) for folds in results.of(arm, share, seeds) for fold in folds]),
    }


def _tiles(cell: Mapping[str, Any]) -> float:
    return float(cell["training"]["labelled_tiles"])


def _differences(results: Results, arm: str) -> dict[str, Difference]:
    study = results.study
    found = {}
    for share, seeds in _kept(results, arm, study.baseline):
        slide_of_unit = results.slide_of_unit(arm, share, seeds[0])
        weights = bootstrap_weights(slide_of_unit, study.draws)
        own, other = (results.counts(which, share, seeds) for which in (arm, study.baseline))
        found[str(share)] = paired_difference(own, other, weights, slide_of_unit, study.score)
    return found


def _plain_difference(found: Difference, results: Results, arm: str, share: str) -> Plain:
    seeds = results.seeds(arm, results.study.baseline, share=Fraction(share))
    return {
        "mean": _round(found.mean),
        "interval": _round_all(found.interval),
        "interval_with_seeds": _round_all(found.interval_with_seeds),
        "seeds": {str(seed): _round(value) for seed, value in zip(seeds, found.by_seed, strict=True)},
        "agreeing": sum(1 for value in found.by_seed if value * found.mean > 0),
        "counts_as": {1: "gain", -1: "loss", 0: "neither"}[direction(found)],
    }


def _labels(results: Results, arm: str, scores: Mapping[str, Mapping[str, Plain]]) -> Plain:
    """What the labels of an arm are worth, in labels of the baseline; nothing where a share is not all."""
    if any(results.study.acquired(which) for which in (arm, results.study.baseline)):
        return {}
    curve, own = scores[results.study.baseline], scores[arm]
    if not curve or not own:
        return {}
    shares, values = _curve(curve)
    found: Plain = {"worth": {}}
    for share, row in own.items():
        needed = labels_for(shares, values, row["mean"])
        found["worth"][share] = {
            "baseline_share": _round(needed.share),
            "bound": needed.bound,
            "factor": _round(needed.share / float(Fraction(share))),
        }
    if "1" in curve:
        needed = labels_for(*_curve(own), curve["1"]["mean"])
        found["for_all_labels"] = {"share": _round(needed.share), "bound": needed.bound}
    return found


def _curve(scores: Mapping[str, Plain]) -> tuple[list[float], list[float]]:
    return [float(Fraction(share)) for share in scores], [row["mean"] for row in scores.values()]


def _by_share(results: Results, arm: str, figure: Any) -> dict[str, Plain]:
    found = {
        str(share): figure([fold for folds in results.of(arm, share, seeds) for fold in folds])
        for share, seeds in _kept(results, arm)
    }
    return {share: row for share, row in found.items() if row}


def _objects(cells: Sequence[Mapping[str, Any]]) -> Plain:
    """Precision, recall and F1 of each class, from the counts of all test slides and seeds together."""
    slides = [slide for cell in cells for slide in cell["slides"]]
    if any("objects" not in slide for slide in slides):
        # Examined before objects were counted.
        return {}
    total: dict[str, ObjectCounts] = {}
    for slide in (slide for slide in slides if slide["objects"] is not None):
        for name, counts in slide["objects"].items():
            total[name] = total.get(name, ObjectCounts()) + ObjectCounts(*counts)
    return {
        name: {part: _round(getattr(counts, part)) for part in ("precision", "recall", "f1")}
        for name, counts in total.items()
    }


def _calibration(cells: Sequence[Mapping[str, Any]]) -> Plain:
    return _reliability([cell["calibration"] for cell in cells])


def _reliability(found: Sequence[Mapping[str, Any]]) -> Plain:
    """The mean error, and confidence against accuracy over the pixels of all cells; empty bins are None."""
    count, right, confidence = (
        np.array([one[part] for one in found], dtype=np.float64).sum(axis=0)
        for part in ("count", "right", "confidence")
    )
    return {
        "ece": _mean([one["ece"] for one in found]),
        "confidence": _share(confidence, count),
        "accuracy": _share(right, count),
        "pixels": _share(count, np.full_like(count, count.sum())),
    }


def _discriminator(cells: Sequence[Mapping[str, Any]]) -> Plain | None:
    found = [cell["discriminator"] for cell in cells if cell["discriminator"] is not None]
    if not found:
        return None
    row: Plain = {"gauges": _means([one["gauges"] for one in found])}
    if all("auc" in one for one in found):
        row["auc"] = _means([one["auc"] for one in found])
        row["errors_in_first_fifth"] = _means([one["errors_in_first_fifth"] for one in found])
        row["calibration"] = _reliability([one["calibration"] for one in found])
    return row


def _made(results: Results) -> Plain:
    made = [cell["made"] for cell in results.cells.values()]
    return {
        "wsiseg": sorted({one["wsiseg"] for one in made}),
        "torch": sorted({one["torch"] for one in made}),
        "devices": sorted({one["device"] for one in made}),
        "hours": round(sum(one["seconds"] for one in made) / 3600, 3),
    }


def _lone_classes(results: Results) -> list[str]:
    """Says so where one test slide of several shows a class: nothing tells how slides differ in it."""
    baseline = results.study.baseline
    for share, seeds in _kept(results, baseline)[:1]:
        slide_of_unit = results.slide_of_unit(baseline, share, seeds[0])
        slides = slides_by_class(results.counts(baseline, share, seeds)[0], slide_of_unit)
        lone = [name for name, count in zip(results.classes, slides, strict=True) if count == 1]
        if lone and len(np.unique(slide_of_unit)) > 1:
            return [f"only one test slide shows {' and '.join(lone)}: differences have no interval"]
    return []


def _remarks(results: Results) -> list[str]:
    """What limits the figures."""
    remarks = []
    slides = {slide for fold in results.study.all_folds.values() for slide in fold}
    if len(slides) == 1:
        remarks.append("one test slide: the intervals say nothing about other slides")
    remarks += _lone_classes(results)
    for arm in results.study.arms:
        wanted = results.study.acquired(arm)
        if wanted is not None:
            remarks.append(
                f"{arm}: {wanted.add} of the labels beside its share, chosen by {wanted.by} "
                f"with the model of {wanted.after}"
            )
    large = {
        slide["slide"]
        for cell in results.cells.values()
        for slide in cell["slides"]
        if slide.get("objects", {}) is None
    }
    if large:
        remarks.append(f"too large for their objects to be counted: {', '.join(sorted(large))}")
    if results.missing:
        remarks.append(f"unfinished: {len(results.missing)} cells are missing")
    notices = [notice for cell in results.cells.values() for notice in cell["training"]["notices"]]
    undone = sum("back to step" in notice or "the run keeps" in notice for notice in notices)
    if undone:
        remarks.append(
            f"guards undid something in {undone} cases, by validation slides with all their labels"
        )
    return remarks


def _means(found: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    names = dict.fromkeys(name for one in found for name in one)
    return {name: _mean([one.get(name) for one in found]) for name in names}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _round(float(np.mean(known))) if known else None


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> list[float | None]:
    return [_round(p / w) if w else None for p, w in zip(part.tolist(), whole.tolist(), strict=True)]


def _round(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)


def _round_all(values: Sequence[float] | None) -> list[float | None] | None:
    return None if values is None else [_round(value) for value in values]
