"""Every error that wsiseg raises on purpose.

::

    WsisegError
    ├── SlideError
    │   ├── SlideOpenError          (OSError)          not a slide, truncated, unreadable header
    │   ├── SlideReadError          (OSError)          a region inside a good slide cannot be decoded
    │   └── ResolutionError         (ValueError)       no mpp, or an implausible one
    ├── StoreError
    │   ├── StoreFormatError        (ValueError)       not a tile store, or of another format version
    │   └── StoreIncompleteError    (RuntimeError)     writing was interrupted
    ├── AnnotationError
    │   ├── AnnotationParseError    (ValueError)       not one of the formats we know, or broken
    │   └── UnknownClassError       (LookupError)      a class that the schema does not have
    ├── ConfigError                 (ValueError)       unknown key, wrong type, impossible combination
    ├── CheckpointError
    │   ├── CheckpointNotFoundError (FileNotFoundError)
    │   └── CheckpointFormatError   (ValueError)
    ├── TrainingError
    │   ├── TrainingDataError       (ValueError)       too few tiles, a class never seen, overlapping split
    │   └── TrainingDivergedError   (ArithmeticError)  a loss or gradient that is not finite
    └── OutputError                 (OSError)          the disk is full, a folder cannot be written
        └── LockedError             (BlockingIOError)  another process is writing it

A message says what failed (with its path or key), what was found, what was expected, and what to do.
Third-party exceptions stop at floor 2; only ``wsiseg.cli`` catches, and prints one line.
"""


class WsisegError(Exception):
    """Root of the tree: an error whose message is meant for the user.

    Args:
        what: What failed, with the path or key.
        found: What was there.
        expected: What should have been there.
        remedy: What to do about it, as a full sentence without its full stop.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        found: str | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        details = [
            text
            for text in (
                found is not None and f"found {found}",
                expected is not None and f"expected {expected}",
            )
            if text
        ]
        message = what if not details else f"{what}: {', '.join(details)}"
        super().__init__(message if remedy is None else f"{message}. {remedy}")
        self.what = what
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def __str__(self) -> str:
        # OSError and LookupError format their arguments in their own way; ours is already a sentence.
        return str(self.args[0])


class SlideError(WsisegError):
    """Something about a slide."""


class SlideOpenError(SlideError, OSError):
    """The file cannot be opened as a slide."""


class SlideReadError(SlideError, OSError):
    """A region of an open slide cannot be decoded."""


class ResolutionError(SlideError, ValueError):
    """The slide has no microns per pixel, or an implausible value."""


class StoreError(WsisegError):
    """Something about a tile store."""


class StoreFormatError(StoreError, ValueError):
    """Not a tile store, or one of a format version that this program does not read."""


class StoreIncompleteError(StoreError, RuntimeError):
    """The store was never finished."""


class AnnotationError(WsisegError):
    """Something about an annotation file."""


class AnnotationParseError(AnnotationError, ValueError):
    """The file cannot be read as any known annotation format."""


class UnknownClassError(AnnotationError, LookupError):
    """An annotation carries a class that the schema does not have."""

    exit_code = 2


class ConfigError(WsisegError, ValueError):
    """The configuration, or a command-line option, cannot be used."""

    exit_code = 2


class CheckpointError(WsisegError):
    """Something about a training run or a checkpoint."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no such run or checkpoint."""

    exit_code = 2


class CheckpointFormatError(CheckpointError, ValueError):
    """The checkpoint is damaged, or of a format that this program does not read."""


class TrainingError(WsisegError):
    """Something about training."""


class TrainingDataError(TrainingError, ValueError):
    """The tiles cannot be trained on."""


class TrainingDivergedError(TrainingError, ArithmeticError):
    """A loss or a gradient stopped being finite."""


class OutputError(WsisegError, OSError):
    """An output cannot be written."""


class LockedError(OutputError, BlockingIOError):
    """Another process is writing it."""
