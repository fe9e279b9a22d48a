"""Features of one line each, with the outlines of those that are plain polygons.

Parsed as JSON, an outline is a list for each position and an object for each number. Here the coordinates
are cut out of the line, checked by their brackets and commas alone, and the numbers of a whole block of
lines become one array. Whatever is not laid out just so is parsed whole and goes the careful way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import orjson
from shapely import Polygon

from wsiseg.annotation.quick_outlines import FEWEST, build_outlines, quick_outlines

_KEY = b'"coordinates":'
_CUT = {"type": "Polygon", "coordinates": None}
"""A geometry whose coordinates were cut out."""
_IN_NUMBERS = b"0123456789.-+eE"
_PAIRS = b"@," * 100_000
"""What is left of a ring when every position is written as ``@``."""


@dataclass(frozen=True, slots=True)
class LineFeature:
    """A feature that was one line.

    Attributes:
        value: What it holds; without the coordinates where ``outline`` is there, and to be left as it is:
            lines with the same properties share them.
        outline: The valid polygon, or None where it has to be built with care.
        tail: The text behind the coordinates: the same text means the same properties. Empty where the
            properties stand before the coordinates, or the line was parsed in one piece.
    """

    value: Any
    outline: Polygon | None
    tail: bytes


def parse_lines(lines: Sequence[bytes], origin_l0: tuple[float, float]) -> list[LineFeature]:
    """Parse features and build their outlines.

    Args:
        lines: One JSON value each.
        origin_l0: Added to every coordinate.

    Raises:
        orjson.JSONDecodeError: A line is no JSON value.
    """
    cut = [_cut(line) for line in lines]
    outlines = _outlines([text for _, text, _ in cut], origin_l0)
    whole = {i: orjson.loads(lines[i]) for i, outline in enumerate(outlines) if outline is None}
    careful = dict(zip(whole, quick_outlines([*whole.values()], origin_l0), strict=True))
    return [
        LineFeature(whole[i], careful[i], b"") if i in whole else LineFeature(value, outlines[i], tail)
        for i, (value, _, tail) in enumerate(cut)
    ]


def _cut(line: bytes) -> tuple[Any, bytes, bytes]:
    """A feature without its coordinates, their text, and what follows; nothing for an unusual feature."""
    start = line.find(_KEY) + len(_KEY)
    stop = line.find(b"]]]", start) + 3
    tail = line[stop:]
    if start >= len(_KEY) and stop >= 3 and _KEY[:-1] not in tail:
        before, after = _before(line[:start]), _after(tail)
        # A key on both sides would have been there twice, and the later one counts.
        if before is not None and after is not None and before.keys().isdisjoint(after):
            return before | after, line[start:stop], tail if "properties" in after else b""
    return None, b"", b""


def _before(head: bytes) -> dict[str, Any] | None:
    """The keys of a feature before its geometry; None unless the geometry is a plain polygon so far."""
    return _without_geometry(head + b"null}}")


@lru_cache(maxsize=256)
def _after(tail: bytes) -> dict[str, Any] | None:
    """The keys of a feature behind its coordinates, which are the same in many a line."""
    return _without_geometry(b'{"geometry":{"type":"Polygon","coordinates":null' + tail)


def _without_geometry(text: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) and value.pop("geometry", None) == _CUT else None


def _outlines(texts: Sequence[bytes], origin_l0: tuple[float, float]) -> list[Polygon | None]:
    """The valid polygons of coordinate texts; None for all others."""
    skeletons = b"\n".join(texts).translate(None, _IN_NUMBERS).replace(b"[,]", b"@").split(b"\n")
    lengths = [_ring_lengths(skeleton) for skeleton in skeletons]
    taken = [i for i, rings in enumerate(lengths) if rings]
    if not taken:
        return [None] * len(texts)
    numbers = b",".join([texts[i] for i in taken]).translate(None, b"[]")
    try:
        flat = np.array(orjson.loads(b"[%b]" % numbers), dtype=np.float64)
    except orjson.JSONDecodeError:
        return [None] * len(texts)
    return build_outlines(
        flat.reshape(-1, 2),
        np.array(list(chain.from_iterable(lengths)), dtype=np.int64),
        np.repeat(taken, [len(lengths[i]) for i in taken]),
        len(texts),
        origin_l0,
    )


def _ring_lengths(skeleton: bytes) -> list[int]:
    """Positions in each ring of coordinates without their numbers; empty where they are no pairs."""
    if not (skeleton.startswith(b"[[@") and skeleton.endswith(b"@]]")):
        return []
    rings = skeleton[2:-2].split(b"],[")
    lengths = [(len(ring) + 1) // 2 for ring in rings]
    paired = all(len(ring) % 2 and _PAIRS.startswith(ring) for ring in rings)
    return lengths if paired and min(lengths) >= FEWEST else []
