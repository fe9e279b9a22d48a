"""How often a 95 % interval is right: percentiles of the bootstrap against Student's.

    python benchmarks/intervals.py

A study: two arms of equal merit, each better on some slides: their difference varies between slides
(standard deviation 0.04), its mean is 0. Five seeds and two shares of the labels, twenty tiles a slide.
Some slides of `evaluate`: recall varies between them (standard deviation 0.1), its mean is 0.75.
"""

import argparse
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsiseg.metrics import slide_intervals
from wsiseg.resampling import Interval, bootstrap_weights, resampled_scores
from wsiseg.study.statistics import Difference, paired_difference
from wsiseg.study.verdict import decide

SEEDS, TILES, DRAWS, PIXELS = 5, 20, 400, 10_000


class Study(NamedTuple):
    """The differences of a study, share by share, with either interval."""

    student: dict[str, Difference]
    percentile: dict[str, Difference]


def percentile_interval(samples: NDArray[np.float64]) -> Interval:
    """The middle 95 % of samples ``(B,)``, NaN left out."""
    low, high = np.nanquantile(samples, [0.025, 0.975])
    return float(low), float(high)


def counted(rng: np.random.Generator, recall: NDArray[np.float64]) -> NDArray[np.int64]:
    """Confusion matrices ``(..., 2, 2)`` of tiles of which a fifth shows the class."""
    positive = PIXELS // 5
    hits = rng.binomial(positive, recall.clip(0, 1))
    rest = np.full_like(hits, PIXELS - positive)
    return np.stack([rest, np.zeros_like(hits), positive - hits, hits], axis=-1).reshape(*recall.shape, 2, 2)


def simulate(rng: np.random.Generator, slides: int) -> Study:
    """One study of two equal arms."""
    slide_of_unit = np.repeat(np.arange(slides), TILES)
    weights = bootstrap_weights(slide_of_unit, DRAWS)
    better_on = rng.normal(0, 0.04, slides)
    student, percentile = {}, {}
    for share in ("1/8", "1/4"):
        tiles = rng.normal(0.75, 0.03, slides)[slide_of_unit] + rng.normal(0, 0.03, (SEEDS, slides * TILES))
        here = (better_on + rng.normal(0, 0.01, slides))[slide_of_unit]
        one, other = (
            counted(rng, tiles + effect + rng.normal(0, 0.01, (SEEDS, 1))) for effect in (here, np.zeros(1))
        )
        found = paired_difference(one, other, weights, slide_of_unit, "iou")
        samples = resampled_scores(one, weights, "iou") - resampled_scores(other, weights, "iou")
        student[share] = found
        percentile[share] = Difference(found.mean, percentile_interval(samples.mean(axis=0)), found.by_seed)
    return Study(student, percentile)


def coverage(rng: np.random.Generator, slides: int, evaluations: int) -> tuple[float, float]:
    """How often the interval of a recall holds the true one: as `evaluate` gives it, and by percentiles."""
    inside = np.zeros((evaluations, 2))
    slide_of_unit = np.arange(slides)
    for row in inside:
        counts = counted(rng, rng.normal(0.75, 0.1, slides))
        of_class = slide_intervals(list(counts), ("background", "nucleus"), draws=DRAWS)["nucleus"]
        truth_and_hits = bootstrap_weights(slide_of_unit, DRAWS) @ counts[:, 1, :]
        recalls = truth_and_hits[:, 1] / truth_and_hits.sum(axis=1)
        for place, (low, high) in enumerate((of_class["recall"], percentile_interval(recalls))):
            row[place] = low <= 0.75 <= high
    student, percentile = inside.mean(axis=0)
    return float(student), float(percentile)


def main() -> None:
    """Print one line for each number of slides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--studies", type=int, default=400)
    studies = parser.parse_args().studies
    print(f"{studies} studies of two equal arms: how often a 95 % interval excludes 0, and the rule claims")
    print("a gain or a loss; the first two intervals are of other slides, the last of other seeds too")
    for slides in (2, 3, 4, 6, 9, 13, 20):
        rng = np.random.default_rng(slides)
        found = [simulate(rng, slides) for _ in range(studies)]
        line = f"{slides:3} test slides"
        for name in Study._fields:
            shares = [share for study in found for share in getattr(study, name).values()]
            claims = [decide("one", "other", getattr(study, name)).kind for study in found]
            excluded = sum(difference.sign != 0 for difference in shares) / len(shares)
            claimed = sum(kind != "no measurable gain" for kind in claims) / len(claims)
            line += f"   {name} {excluded:4.0%}, {claimed:4.0%}"
        wide = [share.sign_with_seeds != 0 for study in found for share in study.student.values()]
        line += f"   with seeds {sum(wide) / len(wide):4.0%}"
        print(line, flush=True)
    print(f"{studies} evaluations: how often the 95 % interval of a recall holds the true one")
    for slides in (2, 3, 4, 6, 9, 20):
        student, percentile = coverage(np.random.default_rng(slides), slides, studies)
        print(f"{slides:3} slides   student {student:4.0%}   percentile {percentile:4.0%}", flush=True)


if __name__ == "__main__":
    main()
