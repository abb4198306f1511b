"""Words for how an evaluation was made, the same in `gavt evaluate` and on the report's page."""

from pipeline.features.settings import Geometry

GEOMETRIES: dict[Geometry, str] = {
    "squash": "the whole frame, squashed to a square",
    "letterbox": "the whole frame, seen between black bars",
    "centre": "the centre square of the frame, boxes cut to it",
}


def percent(value: float | None) -> str:
    """A share of 1 as per cent with one digit, without needless zeros."""
    return "–" if value is None else f"{100 * value:.1f}".removesuffix(".0") + " %"
