"""Numbers as options."""

import math

import typer


def finite(value: float | None) -> float | None:
    """Callback of an option: a number. `nan` is neither below nor above any limit, so that no gate would hold it."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"expected a finite number, found {value}")
    return value
