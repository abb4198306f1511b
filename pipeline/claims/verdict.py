"""What experiments say to a claim: figures of each side with their spread, and whether the difference is more than that
of seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.claims.settings import ClaimSettings, FigureSettings
from pipeline.errors import RunError
from pipeline.evaluate.measures.contract import tables_of
from pipeline.evaluate.spread import Interval, interval

Answer = Literal["holds", "contradicted", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """What came out of a claim.

    Attributes:
        figures: of each side, one a seed.
        published: of each side that the source has one of, its figure there.
        differences: of each other side, how much better the better one is, pair by pair of seeds.
        answer: `holds` where the better side is better than each other by more than the interval of the difference,
            `contradicted` where it is worse than one of them by more than that, else `undecided`.
    """

    claim: str
    source: str
    column: str
    figures: Mapping[str, Sequence[float]]
    published: Mapping[str, float]
    differences: Mapping[str, Interval]
    answer: Answer


def judge(settings: ClaimSettings, figures: Mapping[str, Sequence[float]]) -> Verdict:
    """Compare the sides' figures, one a seed, in the same order of seeds."""
    better = figures[settings.better]
    differences = {
        name: interval([one - other for one, other in zip(better, figures[name], strict=True)])
        for name in settings.order[1:]
    }
    answer: Answer = "undecided"
    if all(one.mean - one.half > 0 for one in differences.values()):
        answer = "holds"
    elif any(one.mean + one.half < 0 for one in differences.values()):
        answer = "contradicted"
    in_order = {name: list(figures[name]) for name in settings.order}
    published = {name: side.published for name, side in settings.sides.items() if side.published is not None}
    return Verdict(settings.claim, settings.source, settings.figure.column, in_order, published, differences, answer)


def figure_of(evaluation: Mapping[str, Any], figure: FigureSettings, row: str | None, place: str) -> float:
    """The number in an `evaluation.json` by which a side is judged.

    Args:
        row: the side's own row, where it has one.
        place: of the file, for errors.

    Raises:
        RunError: it has no such table, row or column, or no number there.
    """
    wanted = row or figure.row
    rows = [one for table in tables_of(evaluation) if table.measure == figure.table for one in table.rows]
    found = next((one.values.get(figure.column) for one in rows if one.name == wanted), None)
    if found is None:
        known = ", ".join(one.name for one in rows) or "none"
        raise RunError(
            f"{place}: expected a figure {figure.column} of the row {wanted} in the table {figure.table}, "
            f"found the rows {known}"
        )
    return found
