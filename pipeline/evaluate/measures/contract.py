"""What every measure gives: tables that say beside the model's row what chance, blind rows and a perfect model do."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

OnProgress = Callable[[str, int, int], None]
"""Told (what is being done, samples done since the last call, samples in all)."""
RowKind = Literal["readout", "model", "control", "ceiling", "other"]


@dataclass(frozen=True)
class Column:
    """A figure of each row.

    Attributes:
        name: key in a row's `values`.
        title: as people know it: cIoU, SDR.
        unit: `share` is 0–1 and shown in per cent; others are shown as they are.
        higher_is_better: None where neither is.
    """

    name: str
    title: str
    unit: Literal["share", "dB", "number"] = "share"
    higher_is_better: bool | None = True


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        kind: `readout` of the model, the `model` itself (by the readout that the validation split chose), `control`
            that lacks what the model is tested for, `ceiling` that nobody can pass, `other`: published by others.
        values: by column; None where it can't be said.
        spread: by column, half of a confidence interval, where it was found.
        made_by: the readout or method behind it.
        details: what else is known of it, for programs.
    """

    name: str
    kind: RowKind
    values: dict[str, float | None]
    spread: dict[str, float] = field(default_factory=dict)
    made_by: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Headline:
    """The one figure of a table that stands first in the report.

    Attributes:
        beside: (name, value) of what it is to be compared with.
    """

    label: str
    column: str
    value: float | None
    beside: tuple[str, float] | None = None


@dataclass(frozen=True)
class Table:
    """What a measure found.

    Attributes:
        measure: its name.
        samples: that it was judged on.
        notes: sentences that say how it was judged.
        warnings: sentences that belong beside the figures.
    """

    measure: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    samples: int
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    headline: Headline | None = None
    details: dict[str, Any] = field(default_factory=dict)
