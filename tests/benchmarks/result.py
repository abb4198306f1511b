"""What a benchmark found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One figure beside its limit.

    Attributes:
        name: what was measured.
        figure: what was found.
        unit: of figure and limit; empty for a ratio.
        limit: what it must keep to.
        ok: whether it does.
        peer: what it was measured against in the same run.
    """

    name: str
    figure: float
    unit: str
    limit: float
    ok: bool
    peer: str


class NotHere(Exception):
    """The machine lacks what a benchmark measures; the message names it."""
