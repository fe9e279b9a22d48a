"""How a long job tells its progress without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """What floor 4 calls while it works; the command line draws a bar, tests pass ``NullProgress``."""

    def start(self, description: str, total: int | None) -> None:
        """Begin a phase of ``total`` units (None: unknown), replacing the one before."""

    def advance(self, units: int = 1, note: str | None = None) -> None:
        """Report finished units, with an optional short note such as the current losses."""


class NullProgress:
    """A listener that does nothing."""

    def start(self, description: str, total: int | None) -> None:
        """Ignore the phase."""

    def advance(self, units: int = 1, note: str | None = None) -> None:
        """Ignore the units."""
