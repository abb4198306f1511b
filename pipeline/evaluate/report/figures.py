"""The tables of an evaluation, put into tiles and groups of rows; figures as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.evaluate.measures.contract import Headline, Row, RowKind, Table, Unit
from pipeline.evaluate.sentences import percent
from pipeline.tasks.contract import Metric
from pipeline.train.metric_names import VALIDATION, in_words, is_shown

_KINDS: dict[RowKind, tuple[str, str]] = {
    "model": ("Model", ""),
    "readout": ("Readouts", "ways to read an answer out of the same weights"),
    "control": ("Controls", "what needs no training, or lacks what the model is tested for"),
    "other": ("Others", "as published"),
    "ceiling": ("Ceiling", "what nobody can pass"),
}


@dataclass(frozen=True)
class Tile:
    """A key figure.

    Attributes:
        value: as text.
        beside: what it is read against.
        bar: 0–1, where the figure is a share.
        mark: 0–1, what it is read against, on the bar.
    """

    label: str
    value: str
    beside: str
    bar: float | None = None
    mark: float | None = None


@dataclass(frozen=True)
class Group:
    """Rows of one kind, with a title and what they are."""

    kind: RowKind
    title: str
    about: str
    rows: list[Row]


def make_tiles(
    tables: Sequence[Table], records: Sequence[Mapping[str, Any]], metrics: Sequence[Metric], label_aided: bool = False
) -> list[Tile]:
    """The key figures that the run has so far.

    Args:
        metrics: of the objective.
        label_aided: training looked at labels, which is said at each figure.
    """
    tiles = [_headline_tile(headline) for table in tables for headline in table.headlines]
    tiles += _validation_tiles(records, metrics)
    if label_aided:
        tiles = [replace(tile, label=f"{tile.label}, label-aided") for tile in tiles]
    if records and len(tiles) < 4:
        tiles.append(Tile("steps", f"{records[-1]['step']:,}", "of training"))
    return tiles


def groups_of(table: Table) -> list[Group]:
    """The rows of a table by their kind, the model first."""
    groups = [Group(kind, *words, [row for row in table.rows if row.kind == kind]) for kind, words in _KINDS.items()]
    return [group for group in groups if group.rows]


def best_figures(table: Table) -> dict[str, float]:
    """The best value of each column below the ceiling, where one is better and they are not all nothing."""
    best = {}
    for column in table.columns:
        values = [row.values.get(column.name) for row in table.rows if row.kind != "ceiling"]
        known = [value for value in values if value is not None]
        if column.higher_is_better is not None and any(known):
            best[column.name] = max(known) if column.higher_is_better else min(known)
    return best


def heading(title: str, unit: Unit) -> str:
    """Of a column; that shares are shown in per cent is said beside the table."""
    return title if unit in ("share", "number") else f"{title}, {'×' if unit == 'ratio' else unit}"


def cell(row: Row, column: str, unit: Unit) -> str:
    """A figure of a row, whose unit stands elsewhere, with half of its confidence interval where it has one."""
    value, spread = row.values.get(column), row.spread.get(column)
    if value is None:
        return "–"
    return _number(value, unit) if spread is None else f"{_number(value, unit)} ± {_number(spread, unit)}"


def of_each_run(row: Row, column: str, unit: Unit) -> list[str]:
    """A figure of several runs, of each; nothing where all have the same."""
    values = row.of_runs.get(column, [])
    if len(set(values)) < 2:
        return []
    return ["–" if value is None else _number(value, unit) for value in values]


def figure(value: float, unit: Unit, signed: bool = False) -> str:
    """A number whose unit stands elsewhere."""
    return ("+" if signed and value >= 0 else "") + _number(value, unit)


def with_unit(value: float, unit: Unit) -> str:
    """A figure by itself."""
    if unit == "share":
        return percent(value)
    return _number(value, unit) + {"ratio": " ×", "number": ""}.get(unit, f" {unit}")


def _number(value: float, unit: Unit) -> str:
    return {"share": f"{100 * value:.1f}", "ratio": f"{value:.2f}", "dB": f"{value:.1f}"}.get(unit, f"{value:.3g}")


def _headline_tile(headline: Headline) -> Tile:
    unit = headline.unit
    beside = [name if value is None else f"{name} {with_unit(value, unit)}" for name, value in headline.beside]
    value, bar, mark = with_unit(headline.value, unit), None, None
    if unit == "share":
        bar, mark = headline.value, next((one for _, one in headline.beside if one is not None), None)
    return Tile(headline.label, value, ", ".join(beside), bar, mark)


def _validation_tiles(records: Sequence[Mapping[str, Any]], metrics: Sequence[Metric]) -> list[Tile]:
    """The objective's first share on the validation set, beside its loss; its loss alone where it has no share."""
    if not metrics:
        return []
    loss = VALIDATION + metrics[0].name
    validations = [record for record in records if record.get(loss) is not None]
    if not validations:
        return []
    last = validations[-1]
    said = f"{metrics[0].name} {last[loss]:.3f} at step {last['step']:,}"
    shares = [one for one in metrics if one.unit == "share" and is_shown(one)]
    for metric in shares:
        if (value := last.get(VALIDATION + metric.name)) is not None:
            return [Tile(f"validation {in_words(metric.name)}", percent(value), said, value, metric.chance)]
    return [Tile(f"validation {metrics[0].name}", f"{last[loss]:.3f}", f"at step {last['step']:,}")]
