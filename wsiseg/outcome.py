"""What became of each slide of a command: the content of every ``report.json``."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wsiseg import __version__
from wsiseg.errors import CheckpointError, ConfigError, OutputError, WsisegError
from wsiseg.files import write_json

_log = logging.getLogger(__name__)

Status = Literal["ok", "failed", "skipped"]

REPORT_FILE = "report.json"


@dataclass
class Outcome:
    """One slide's line in a report."""

    slide: str
    status: Status = "ok"
    reason: str | None = None
    counts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "slide": self.slide,
            "status": self.status,
            "reason": self.reason,
            "counts": self.counts,
            "seconds": round(self.seconds, 2),
        }


@contextmanager
def recording(slide: str, outcomes: list[Outcome]) -> Iterator[Outcome]:
    """Time the work on one slide and record its outcome; our own errors become ``failed``.

    A batch goes on after a bad slide and never hides it. A wrong configuration or a damaged model
    would fail every slide alike, so these errors pass through, as do those that are not ours. An interrupted
    slide is ``failed`` too, for the report of those that were done before.
    """
    outcome = Outcome(slide)
    outcomes.append(outcome)
    begun = time.monotonic()
    try:
        yield outcome
    except (ConfigError, CheckpointError):
        raise
    except WsisegError as err:
        outcome.status, outcome.reason = "failed", str(err)
        _log.debug("%s", slide, exc_info=True)
    except KeyboardInterrupt:
        outcome.status, outcome.reason = "failed", "interrupted"
        raise
    finally:
        outcome.seconds = time.monotonic() - begun


def write_report(folder: Path, command: str, outcomes: Sequence[Outcome], **extra: Any) -> Path:
    """Write ``folder/report.json``: command, version, each slide, and what else the command wants to say."""
    target = folder / REPORT_FILE
    write_json(
        target,
        {
            "command": command,
            "wsiseg": __version__,
            "slides": [outcome.to_json() for outcome in outcomes],
            **extra,
        },
    )
    return target


def read_outcomes(folder: Path) -> list[Outcome]:
    """The slides of ``folder/report.json``; none where there is no such report."""
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        return [Outcome(**slide) for slide in report["slides"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise OutputError(f"{folder / REPORT_FILE} cannot be read ({err})") from err
