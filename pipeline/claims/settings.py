"""A claim: one file that says what is compared, by which figure, and how it is trained in small and in full."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.settings.base import Settings

Form = Literal["small", "full"]


class SideSettings(Settings):
    """One of those that are compared."""

    small: list[str] = Field(default_factory=list)
    """Words `a.b=value` that change the small experiment."""
    full: list[str] = Field(default_factory=list)
    """Words that change the full one."""
    evaluate: list[str] = Field(default_factory=list)
    """Words that change how it is judged, in both forms; sides that differ in these alone share their training."""
    row: str | None = None
    """Row of the table that its figure stands in, where it is not that of all sides."""
    published: float | None = None
    """The same figure in the source, of its own data and size: what is found here is not comparable with it."""

    def words(self, form: Form) -> list[str]:
        """Those of a form."""
        return self.small if form == "small" else self.full


class FigureSettings(Settings):
    """By which number the sides are compared; more is better."""

    table: str = "localisation"
    """Measure that finds it."""
    row: str = "model"
    """Name of the row whose figure it is, as in evaluation.json; a side may name its own."""
    column: str = "pointing"
    """Name of the column, as in evaluation.json."""


class ClaimSettings(Settings):
    """What a paper says of two or more ways, as an experiment."""

    claim: str
    """The sentence that is tried."""
    source: str
    """Where it stands."""
    figure: FigureSettings = FigureSettings()
    """What decides between the sides."""
    better: str
    """Name of the side that is claimed to be better than each other."""
    sides: dict[str, SideSettings] = Field(min_length=2)
    """By name."""
    experiments: dict[Form, str]
    """Of each form the experiment's settings file, relative to this one."""

    @model_validator(mode="after")
    def _better_is_a_side(self) -> "ClaimSettings":
        if self.better not in self.sides:
            raise ValueError(f"better as one of the sides {', '.join(self.sides)}, found {self.better}")
        return self

    @property
    def order(self) -> list[str]:
        """Names of the sides, the better one first."""
        return [self.better, *(name for name in self.sides if name != self.better)]
