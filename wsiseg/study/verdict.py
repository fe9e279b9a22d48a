"""The decision rule: when a study may claim a gain, and in what words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from wsiseg.study.statistics import Difference

LEAST_SHARES = 2
"""Shares at which the interval has to exclude 0."""

LEAST_SEEDS = 5
"""Seeds without which no share counts."""

AGREEING = 0.8
"""Share of the seeds that have to agree: four of five."""

Kind = Literal["gain", "loss", "gain and loss", "no measurable gain", "undecidable"]


@dataclass(frozen=True)
class Verdict:
    """What may be said about an arm.

    Attributes:
        kind: In short; ``undecidable`` where the grid cannot meet the rule.
        gains: Shares at which it gains.
        losses: Shares at which it loses.
        sentence: In full.
    """

    kind: Kind
    gains: tuple[str, ...]
    losses: tuple[str, ...]
    sentence: str


def direction(difference: Difference) -> int:
    """1 for a gain at one share, -1 for a loss, 0 for neither.

    The interval excludes 0, there are enough seeds, and enough of them agree with it.
    """
    seeds = difference.by_seed
    if len(seeds) < LEAST_SEEDS:
        return 0
    agreeing = sum(1 for value in seeds if value * difference.sign > 0)
    return difference.sign if agreeing >= math.ceil(AGREEING * len(seeds)) else 0


def decide(arm: str, baseline: str, differences: Mapping[str, Difference]) -> Verdict:
    """Judge an arm by all its shares.

    A gain is claimed only if it holds at two shares or more; so is a loss.

    Args:
        arm: Name of the arm.
        baseline: Name of the arm that it was compared with.
        differences: Share -> arm minus baseline, with as many seeds as both have there.
    """
    countable = {share: found for share, found in differences.items() if len(found.by_seed) >= LEAST_SEEDS}
    seeds = max((len(found.by_seed) for found in differences.values()), default=0)
    if len(countable) < LEAST_SHARES:
        lacking = _lacking(len(differences), seeds)
        sentence = (
            f"{arm} against {baseline}: this grid cannot meet the rule ({lacking}); nothing is claimed."
        )
        return Verdict("undecidable", (), (), sentence)
    gains = tuple(share for share, found in countable.items() if direction(found) > 0)
    losses = tuple(share for share, found in countable.items() if direction(found) < 0)
    claims = {
        word: shares for word, shares in (("gain", gains), ("loss", losses)) if len(shares) >= LEAST_SHARES
    }
    kind: Kind = "no measurable gain"
    if claims:
        kind = "gain and loss" if len(claims) == 2 else "gain" if "gain" in claims else "loss"
    return Verdict(kind, gains, losses, _sentence(arm, baseline, kind, claims, countable))


def _lacking(shares: int, seeds: int) -> str:
    lacks = []
    if seeds < LEAST_SEEDS:
        lacks.append(f"{seeds} paired {_plural('seed', seeds)}, {LEAST_SEEDS} are needed")
    if shares < LEAST_SHARES:
        lacks.append(f"{shares} {_plural('share', shares)}, {LEAST_SHARES} are needed")
    return "; ".join(lacks) or f"{LEAST_SEEDS} paired seeds at fewer than {LEAST_SHARES} shares"


def _sentence(
    arm: str,
    baseline: str,
    kind: Kind,
    claims: Mapping[str, tuple[str, ...]],
    countable: Mapping[str, Difference],
) -> str:
    if not claims:
        single = [share for share, found in countable.items() if direction(found)]
        means = ", ".join(f"{share} ({countable[share].mean:+.3f})" for share in single)
        what = f"; a difference holds at {means}, which is too few" if single else ""
        return f"{arm} against {baseline}: {kind} over {len(countable)} shares of the labels{what}."
    parts = []
    for word, shares in claims.items():
        means = ", ".join(f"{share} ({countable[share].mean:+.3f})" for share in shares)
        firm = [share for share in shares if countable[share].sign_with_seeds]
        also = "all of them" if len(firm) == len(shares) else ", ".join(firm) or "none of them"
        parts.append(
            f"{word} at {len(shares)} of {len(countable)} shares of the labels: {means}; "
            f"with seeds drawn too, at {also}"
        )
    return f"{arm} against {baseline}: {'; '.join(parts)}."


def _plural(word: str, number: int) -> str:
    return word if number == 1 else f"{word}s"
