"""The decision rule, case by case."""

from dataclasses import replace

import pytest

from wsiseg.study.statistics import Difference
from wsiseg.study.verdict import decide, direction

ALL = (0.02, 0.03, 0.01, 0.02, 0.02)
FOUR = (0.02, 0.03, 0.01, 0.02, -0.01)
THREE = (0.09, 0.09, 0.09, -0.01, -0.01)


def found(by_seed: tuple[float, ...], low: float, high: float) -> Difference:
    return Difference(sum(by_seed) / len(by_seed), (low, high), by_seed)


GAIN = found(ALL, 0.01, 0.03)
LOSS = found(tuple(-value for value in ALL), -0.03, -0.01)
NEITHER = found(ALL, -0.01, 0.03)


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (GAIN, 1),
        (LOSS, -1),
        (NEITHER, 0),
        (found(FOUR, 0.001, 0.03), 1),
        (found(THREE, 0.001, 0.1), 0),
        (found(ALL, 0.0, 0.03), 0),
        (found(ALL[:4], 0.01, 0.03), 0),
        (found((0.0,) * 5, 0.0, 0.0), 0),
    ],
)
def test_what_counts_at_one_share(difference: Difference, expected: int) -> None:
    assert direction(difference) == expected


@pytest.mark.parametrize(
    ("differences", "kind"),
    [
        ({"1/8": GAIN, "1": GAIN}, "gain"),
        ({"1/8": LOSS, "1": LOSS}, "loss"),
        ({"1/8": GAIN, "1": NEITHER}, "no measurable gain"),
        ({"1/8": GAIN, "1": LOSS}, "no measurable gain"),
        ({"1/8": NEITHER, "1": NEITHER}, "no measurable gain"),
        ({"1/8": GAIN, "1/4": GAIN, "1/2": NEITHER, "1": LOSS}, "gain"),
        ({"1/8": GAIN, "1/4": GAIN, "1/2": LOSS, "1": LOSS}, "gain and loss"),
    ],
)
def test_two_shares_make_a_claim(differences: dict[str, Difference], kind: str) -> None:
    verdict = decide("H", "A+", differences)
    assert verdict.kind == kind
    assert verdict.sentence.startswith("H against A+: ")
    assert kind.split(maxsplit=1)[0] in verdict.sentence


@pytest.mark.parametrize(
    ("differences", "lacking"),
    [
        ({"1": GAIN}, "1 share, 2 are needed"),
        ({}, "0 paired seeds, 5 are needed; 0 shares, 2 are needed"),
        (
            {"1/8": found(ALL[:4], 0.01, 0.02), "1": found(ALL[:4], 0.01, 0.02)},
            "4 paired seeds, 5 are needed",
        ),
        ({"1/8": found(ALL[:1], 0.01, 0.02), "1": found(ALL[:1], 0.01, 0.02)}, "1 paired seed, 5"),
        ({"1/8": GAIN, "1": found(ALL[:4], 0.01, 0.02)}, "5 paired seeds at fewer than 2 shares"),
    ],
)
def test_a_small_grid_says_that_it_cannot_meet_the_rule(
    differences: dict[str, Difference], lacking: str
) -> None:
    verdict = decide("H", "A+", differences)
    assert verdict.kind == "undecidable"
    assert f"this grid cannot meet the rule ({lacking}" in verdict.sentence
    assert "nothing is claimed" in verdict.sentence


def test_the_sentence_names_shares_and_differences() -> None:
    assert decide("H", "A+", {"1/8": GAIN, "1/4": GAIN, "1": NEITHER}).sentence == (
        "H against A+: gain at 2 of 3 shares of the labels: 1/8 (+0.020), 1/4 (+0.020); "
        "with seeds drawn too, at none of them."
    )
    firm = replace(GAIN, interval_with_seeds=(0.001, 0.04))
    assert "with seeds drawn too, at 1/8." in decide("H", "A+", {"1/8": firm, "1/4": GAIN}).sentence
    assert "with seeds drawn too, at all of them." in decide("H", "A+", {"1/8": firm, "1": firm}).sentence
    assert decide("H", "A+", {"1/8": GAIN, "1": NEITHER}).sentence == (
        "H against A+: no measurable gain over 2 shares of the labels; a difference holds at 1/8 (+0.020), "
        "which is too few."
    )
