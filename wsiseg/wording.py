"""How figures and names are written, wherever a person reads them."""

import math


def figure(value: float | None) -> str:
    """Three digits, or a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def signed(value: float | None) -> str:
    """Three digits with their sign, or a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:+.3f}"


def spoken(name: str) -> str:
    """The name of a class as words: ``non_podocyte`` is ``non-podocyte``."""
    return name.replace("_", "-")
