"""What every measure is to the rest: a judge of a trained model that gives tables.

A table says beside the model's row what chance, rows that lack what the model is tested for, and a perfect model do.
All samples are gone through once, in chunks, by any number of processes: a measure sees each chunk on one of them, and
makes its tables of what was found in all, in the order of the chunks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from pipeline.errors import SettingsError
from pipeline.evaluate.metrics.statistics import Mean, Statistic
from pipeline.evaluate.registry import LearningSettings, MeasureSettings

if TYPE_CHECKING:
    from pipeline.evaluate.embeddings import Embedder
    from pipeline.evaluate.measures.choice import Chooser
    from pipeline.evaluate.samples import Chunk, EvaluationSamples
    from pipeline.evaluate.settings import EvaluateSettings
    from pipeline.train.load import Trained

OnProgress = Callable[[str, int, int], None]
"""Told (what is being done, samples done since the last call, samples in all)."""
RowKind = Literal["readout", "model", "control", "ceiling", "other"]
Unit = Literal["share", "ratio", "dB", "number"]
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Column:
    """A figure of each row.

    Attributes:
        name: key in a row's `values`.
        title: as people know it: cIoU, SDR.
        unit: `share` is 0–1 and shown in per cent, `ratio` with a ×; others are shown as they are.
        higher_is_better: None where neither is.
    """

    name: str
    title: str
    unit: Unit = "share"
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
        cost: of a row of maps, passes through the model a map.
        details: what else is known of it, for programs.
        of_runs: where the values are means over several runs, by column the value of each run.
    """

    name: str
    kind: RowKind
    values: dict[str, float | None]
    spread: dict[str, float] = field(default_factory=dict)
    made_by: str | None = None
    cost: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    of_runs: dict[str, list[float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Headline:
    """A key figure of a table, which stands first in the report.

    Attributes:
        beside: (name, value) of what it is to be compared with; a name alone says what it is.
    """

    label: str
    value: float
    unit: Unit = "share"
    beside: tuple[tuple[str, float | None], ...] = ()


@dataclass(frozen=True)
class Table:
    """What a measure found.

    Attributes:
        measure: its name.
        rows: top to bottom; none where nothing could be judged, which `notes` explain.
        samples: that it was judged on.
        about: what its figures mean, for who meets them first; on the report's page.
        notes: sentences that say how it was judged.
        warnings: sentences that belong beside the figures.
        pictures: (name, caption) of those of the measure's files that are pictures, which stand below it.
        details: what else is known, for programs.
    """

    measure: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    samples: int
    about: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    headlines: tuple[Headline, ...] = ()
    pictures: tuple[tuple[str, str], ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SampleScores:
    """What single samples give to the figures of a table.

    Attributes:
        measure: the table's.
        ids: [N] the samples' keys, with what they were shown with where that was drawn.
        clusters: [N] the image or video that each may share with others: what shares one is not independent.
        values: by row and column what the figure is a function of, of N samples. An array float64 [N] is one whose mean
            is the figure, NaN where a row was not judged on a sample. All rows have the same columns.
    """

    measure: str
    ids: list[str]
    clusters: list[str]
    values: Mapping[str, Mapping[str, npt.NDArray[np.float64] | Statistic]]

    @property
    def columns(self) -> list[str]:
        """Of all rows."""
        return list(next(iter(self.values.values()), {}))

    def statistic(self, row: str, column: str) -> Statistic:
        """What a figure is a function of."""
        found = self.values[row][column]
        return found if isinstance(found, Statistic) else Mean(found)

    def figures(self, row: str) -> dict[str, float | None]:
        """By column the figures of a row, as they stand in the table."""
        return {column: self.statistic(row, column).value for column in self.values[row]}


@dataclass(frozen=True)
class Lessons:
    """What a measure learns from.

    Attributes:
        url: shard set.
        samples: of it, the first so many of a shuffled order.
    """

    url: str
    samples: int

    @classmethod
    def of(cls, settings: LearningSettings, trained: "Trained") -> "Lessons":
        """The set that is named, else that of training.

        Raises:
            SettingsError: it isn't known which.
        """
        train = settings.train or trained.settings.data.train
        if not isinstance(train, str):
            found = "none" if train is None else f"a mixture of {len(train)} in data.train"
            name = f"evaluate.measures: {settings.kind}.train"
            raise SettingsError(f"{name}: expected the shard set to learn from, found {found}")
        return cls(train, settings.train_samples)


class Measure(ABC, Generic[Seen]):
    """A way to judge a trained model; every process has one of its own.

    A subclass is built as `Measure(settings, judged)`. It is left out where that raises a BenchmarkError or
    ManifestError, as a list that it is told of can't be read or has nothing of the samples. What `choose` and `judge`
    give is sent to all processes: plain data, and not much of it.
    """

    settings: MeasureSettings

    def __init__(self, settings: MeasureSettings, judged: "Judged") -> None:
        self.settings, self.judged = settings, judged

    @classmethod
    @abstractmethod
    def reason_against(cls, trained: "Trained", samples: "EvaluationSamples") -> str | None:
        """Why a model can't be judged so on these samples, in a sentence; None where it can."""

    @property
    def group(self) -> int:
        """So many consecutive samples lie in the same chunk."""
        return 1

    chooses: bool = False
    """Whether it looks at the validation split before, to choose something there."""

    def choose(self, chunk: "Chunk") -> Any:
        """What is found in a chunk of the validation split."""
        raise NotImplementedError

    def chosen(self, found: Sequence[Any]) -> None:
        """Told once what was found in all chunks of the validation split, where there is one."""
        raise NotImplementedError

    @property
    def learns_from(self) -> "Lessons | None":
        """What it learns from before, of a set of its own."""
        return None

    def learn(self, chunk: "Chunk") -> Any:
        """What is found in a chunk of that set."""
        raise NotImplementedError

    def learnt(self, found: Sequence[Any]) -> None:
        """Told once what was found in all chunks of that set."""
        raise NotImplementedError

    @abstractmethod
    def judge(self, chunk: "Chunk") -> Seen:
        """What is found in a chunk of the samples."""

    @abstractmethod
    def tables(self, found: Sequence[Seen]) -> list[Table]:
        """The result, of what was found in all chunks."""

    def sample_scores(self, found: Sequence[Seen]) -> list[SampleScores]:
        """Of its tables those whose figures hang on single samples."""
        return []

    def files(self, found: Sequence[Seen]) -> dict[str, bytes]:
        """What is written beside `evaluation.json`, by name."""
        return {}


@dataclass(frozen=True)
class Judged:
    """What is judged, and how.

    Attributes:
        choosing: samples of the validation split; None without one.
    """

    trained: "Trained"
    samples: "EvaluationSamples"
    choosing: "EvaluationSamples | None"
    settings: "EvaluateSettings"

    @cached_property
    def chooser(self) -> "Chooser":
        """Which readout makes the maps of the row `model`.

        Raises:
            SettingsError: there is none.
        """
        from pipeline.evaluate.measures.choice import Chooser  # tables are read where there is no torch

        return Chooser(self.trained.system, self.settings)

    @cached_property
    def embedder(self) -> "Embedder":
        """Makes the model's vectors, of each chunk once for all measures that ask."""
        from pipeline.evaluate.embeddings import Embedder

        return Embedder(self.trained.system, self.settings.batch_size)

    @cached_property
    def untrained_embedder(self) -> "Embedder":
        """The same of a network that was not trained."""
        from pipeline.evaluate.embeddings import Embedder
        from pipeline.train.load import untrained

        fresh = untrained(self.trained.settings, self.samples.device, self.settings.seed)
        return Embedder(fresh, self.settings.batch_size)


_TABLES = TypeAdapter(list[Table])


def as_json(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Tables as they stand in `evaluation.json`."""
    written: list[dict[str, Any]] = _TABLES.dump_python(list(tables), mode="json")
    return written


def tables_of(evaluation: Mapping[str, Any]) -> list[Table]:
    """The tables of an `evaluation.json`.

    Raises:
        ValueError: it has none, or other ones than these.
    """
    try:
        return _TABLES.validate_python(evaluation.get("tables"))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, ("tables", *problem["loc"])))
        raise ValueError(f"{place}: expected a table of a measure, found {problem['input']!r:.100}") from None
