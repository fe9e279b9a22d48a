"""Work that is broken off, as by a power cut or the user."""

from collections.abc import Callable
from typing import Any

from wsiseg.progress import NullProgress


class Interrupt(Exception):
    """Stands for a power cut."""


class InterruptAt(NullProgress):
    """Breaks off after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, units: int = 1, note: str | None = None) -> None:
        self.left -= units
        if self.left < 0:
            raise Interrupt


def interrupt_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that works so many times, then breaks off."""
    left = calls

    def counted(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Interrupt
        return function(*arguments)

    return counted


def until_interrupted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that works once; the second call is met by Ctrl-C."""
    calls = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    return counted
