"""Large FeatureCollections with one feature a line, as wsiseg and GDAL write them, read feature by feature.

A hundred thousand nuclei parsed as one value are five million small lists, well over a gigabyte; line by
line they never exist together.
"""

import re
from collections.abc import Iterator

import orjson

_HEAD = re.compile(rb'"features"\s*:\s*\[[ \t\r]*\n')
_HEAD_BYTES = 4096
_TAIL_BYTES = 65536


class NotByLineError(Exception):
    """A line is no whole feature, so the file must be parsed in one piece; never leaves the reader."""


def feature_lines(data: bytes) -> Iterator[bytes] | None:
    """The text of each feature of a collection, or None where the file is not laid out so.

    The iterator raises ``NotByLineError`` where a line cannot be a value of its own.
    """
    head = _HEAD.search(data, 0, _HEAD_BYTES)
    tail = data.rfind(b"\n]", max(0, len(data) - _TAIL_BYTES))
    if head is None or tail < head.end() - 1:
        return None
    try:
        frame = orjson.loads(data[: head.start()] + b'"features":[' + data[tail:])
    except orjson.JSONDecodeError:
        return None
    if not isinstance(frame, dict) or frame.get("type") != "FeatureCollection" or frame.get("features") != []:
        return None
    return _lines(data, head.end(), tail)


def _lines(data: bytes, start: int, stop: int) -> Iterator[bytes]:
    while start < stop:
        end = data.find(b"\n", start, stop)
        end = stop if end < 0 else end
        line = data[start:end].rstrip()
        last = end == stop
        start = end + 1
        # Commas stand between lines, and only there.
        if line.endswith(b",") == last:
            raise NotByLineError
        yield line.removesuffix(b",")
