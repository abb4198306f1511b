"""Scores of maps that any model made, on a public benchmark's list, beside rows that need no model."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.masking import shown
from pipeline.errors import BenchmarkError
from pipeline.evaluate.baselines.simple_maps import centre_disc, oracle_map
from pipeline.evaluate.benchmarks.benchmarks import Wanted
from pipeline.evaluate.benchmarks.figures import (
    JudgedSamples,
    Values,
    avgn_row,
    columns_of,
    official_rows,
    sweeps_of,
    values_of,
)
from pipeline.evaluate.benchmarks.judged_map import judge_map, resized
from pipeline.evaluate.benchmarks.map_file import checked_map
from pipeline.evaluate.benchmarks.sample import TRUTH_SIZE, BenchmarkSample, mean_truth
from pipeline.evaluate.measures.contract import Column, Row, RowKind, Table
from pipeline.evaluate.metrics.ground_truth import PixelBox
from pipeline.evaluate.published import PUBLISHED

Array = npt.NDArray[np.floating]
_LARGE = 1 << 21
OnMap = Callable[[str, int, int], None]
"""Told (which row, maps done since the last call, maps in all)."""


@dataclass(frozen=True)
class Coverage:
    """How much of a benchmark there were maps of.

    Attributes:
        wanted: samples that it asks for.
        found: maps of them.
        missing: how many samples are missing, by reason.
        not_finite: maps with NaN or infinite values; failures in all figures.
        empty_truths: samples whose boxes have no area; failures too.
        unknown: maps of ids that the benchmark doesn't have.
    """

    wanted: int
    found: int
    missing: dict[str, int] = field(default_factory=dict)
    not_finite: int = 0
    empty_truths: int = 0
    unknown: int = 0

    def sentence(self) -> str:
        """For people."""
        parts = [f"{self.found:,} of {self.wanted:,} maps found"]
        parts += [f"{count:,} missing: {reason}" for reason, count in self.missing.items()]
        others = (
            (self.not_finite, "not finite"),
            (self.empty_truths, "with an empty truth"),
            (self.unknown, "of unknown ids"),
        )
        return ", ".join([*parts, *(f"{count:,} {what}" for count, what in others if count)])


@dataclass(frozen=True)
class BenchmarkScore:
    """What maps score.

    Attributes:
        table: a row for the model's maps, for the same maps by the public evaluators' code, and for controls and
            ceiling where they were asked for.
        sweeps: see `figures.sweeps_of`.
    """

    table: Table
    coverage: Coverage
    sweeps: dict[str, Any]


def score_maps(
    wanted: Wanted,
    maps: Mapping[str, Array],
    confidences: Mapping[str, float] | None = None,
    controls: bool = False,
    align_corners: bool = False,
    on_map: OnMap | None = None,
) -> BenchmarkScore:
    """Judge maps [h, w] of any size over whole frames, by id.

    Args:
        wanted: of `open_benchmark`.
        confidences: of every map, how sure the model is that what is heard is seen; by default the mean of the highest
            quarter of the map's values.
        controls: also centre disc, mean box and ceiling.
        align_corners: how maps are resized, see `resize.resize_map`.

    Raises:
        BenchmarkError: not one of the maps is asked for, one is no map, or has no confidence where others have one.
    """
    judging = Judging(wanted, on_map)
    found = [sample for sample in wanted.samples if sample.id in maps]
    if not found:
        example, other = wanted.samples[0].id, next(iter(maps), None)
        raise BenchmarkError(f"{wanted.url}: expected maps by its ids such as {shown(example)}, found {shown(other)}")
    if confidences is not None:
        for sample in found:
            sure = confidences.get(sample.id)
            if sure is None or not np.isfinite(sure):
                raise BenchmarkError(f"confidences: {shown(sample.id)}: expected a finite number, found {sure}")
    shapes: Counter[tuple[int, ...]] = Counter()

    def own(samples: Iterable[BenchmarkSample]) -> Iterator[Array]:
        for sample in samples:
            heat = checked_map(maps[sample.id], sample.id)
            shapes[heat.shape] += 1
            yield resized(heat, align_corners, sample.shape)

    judged = judging.judge("maps", found, own(found), confidences, thorough=True)
    corners = judging.on_corners(found, own(found)) if judging.reads_corners else None
    rows = judging.controls(found, shapes, align_corners) if controls else []
    missing = {"no map of this id": len(wanted.samples) - len(found)}
    known = {sample.id for sample in wanted.samples}
    return judging.score(judged, corners, rows, missing, sum(name not in known for name in maps))


def score_controls(wanted: Wanted, on_map: OnMap | None = None) -> Table:
    """What needs no model, on all that a benchmark asks for, and what others published."""
    judging = Judging(wanted, on_map)
    rows = judging.controls(wanted.samples, Counter(), align_corners=False)
    return judging.table(
        [*judging.published, *rows], len(wanted.samples), f"truths of {wanted.url}; no maps were given"
    )


class Judging:
    """The rows of a benchmark's table.

    Args:
        on_map: told of each map that `judge` is given.
    """

    def __init__(self, wanted: Wanted, on_map: OnMap | None) -> None:
        self._wanted, self._figures, self._on_map = wanted, wanted.benchmark.figures, on_map
        np.empty(_LARGE)  # freed at once; from then on glibc keeps the memory of one map's arrays for the next one's
        self._images: dict[str, list[BenchmarkSample]] = {}
        if self._figures == "sources":
            for sample in wanted.samples:
                self._images.setdefault(sample.group or sample.id, []).append(sample)
        self._asks_confidence = self._figures in ("detection", "scenarios")
        self.has_groups = any(sample.group is not None for sample in wanted.samples)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The benchmark's figures."""
        return columns_of(self._figures, self.has_groups)

    def judge(
        self,
        row: str,
        samples: Sequence[BenchmarkSample],
        maps: Iterable[Array],
        confidences: Mapping[str, float] | None = None,
        thorough: bool = False,
    ) -> JudgedSamples:
        judged = []
        for sample, heat in zip(samples, maps, strict=True):
            sources = self._images.get(sample.group or sample.id, [sample]) if self._figures == "sources" else ()
            sure = confidences[sample.id] if confidences is not None else None if self._asks_confidence else 0.0
            judged.append(judge_map(heat, sample, sources, sure, thorough))
            if self._on_map is not None:
                self._on_map(row, 1, len(samples))
        return JudgedSamples(samples, judged)

    def values(self, judged: JudgedSamples) -> Values:
        return values_of(self._figures, judged)

    def with_failures(self, judged: JudgedSamples) -> Values:
        """The same row, each sample without a map failed: nothing is localised, and of nothing the model is sure."""
        known = dict(zip((sample.id for sample in judged.samples), judged.maps, strict=True))
        samples = [*self._wanted.samples, *(BenchmarkSample(name, ()) for name in self._wanted.without_truth)]
        absent = [sample for sample in samples if sample.id not in known]
        nowhere = np.full((TRUTH_SIZE, TRUTH_SIZE), np.nan, dtype=np.float32)
        failed = self.judge("missing", absent, (nowhere for _ in absent))
        known |= zip((sample.id for sample in absent), failed.maps, strict=True)
        return self.values(JudgedSamples(samples, [known[sample.id] for sample in samples]))

    @property
    def reads_corners(self) -> bool:
        """Whether the benchmark's evaluator takes its boxes for corners, so that maps are judged on those too."""
        return self._wanted.benchmark.wrong_boxes is not None

    def on_corners(self, samples: Sequence[BenchmarkSample], maps: Iterable[Array]) -> JudgedSamples:
        """The maps judged as that evaluator does it."""
        wrong = [replace(sample, boxes=(self._corners[sample.id],)) for sample in samples]
        judged = [judge_map(heat, sample, thorough=True) for sample, heat in zip(wrong, maps, strict=True)]
        return JudgedSamples(wrong, judged)

    @cached_property
    def _corners(self) -> dict[str, PixelBox]:
        read = self._wanted.benchmark.wrong_boxes
        return {} if read is None else read(self._wanted.url)

    def controls(
        self, samples: Sequence[BenchmarkSample], shapes: Counter[tuple[int, ...]], align_corners: bool
    ) -> list[Row]:
        """What needs no model, on some of the samples.

        Args:
            shapes: of the model's maps, how many have each height and width; where all have the same, there is a row
                for the truth at that resolution.
        """
        rows = []

        def add(name: str, kind: RowKind, maps: Iterable[Array], sure: Mapping[str, float] | None = None) -> None:
            rows.append(Row(name, kind, self.values(self.judge(name, samples, maps, sure))))

        disc, mean = np.tile(centre_disc(TRUTH_SIZE), (1, len(samples[0].frames))), mean_truth(self._wanted.samples)
        add("centre disc", "control", (disc for _ in samples))
        add("mean box of the list itself", "control", (mean for _ in samples))
        known = {sample.id: float(sample.sounding) for sample in samples}
        add("ceiling: the truth", "ceiling", (sample.truth().astype(np.float32) for sample in samples), known)
        for (height, width), count in shapes.items():
            if count < len(samples) or max(height, width) >= TRUTH_SIZE:
                continue
            coarse = (
                resized(oracle_map(one.truth().astype(np.float32) > 0, (height, width)), align_corners, one.shape)
                for one in samples
            )
            add(f"ceiling: the truth on {height}×{width} cells", "ceiling", coarse, known)
        return rows

    def score(
        self,
        judged: JudgedSamples,
        on_corners: JudgedSamples | None,
        others: Sequence[Row],
        missing: Mapping[str, int],
        unknown: int,
    ) -> BenchmarkScore:
        """The table of a model's maps, judged thoroughly.

        Args:
            on_corners: the same maps, as of the function of that name.
            others: rows of controls and ceilings.
            missing: samples without a map, by reason.
            unknown: what there is of ids that the benchmark doesn't have.
        """
        wanted = self._wanted
        reasons = {**missing, "asked for, but not in the benchmark’s list": len(wanted.without_truth)}
        coverage = Coverage(
            len(wanted.samples) + len(wanted.without_truth),
            len(judged.samples),
            {reason: count for reason, count in reasons.items() if count},
            sum(not one.score.finite for one in judged.maps),
            sum(sample.sounding and not sample.truth().any() for sample in judged.samples),
            unknown,
        )
        rows = [Row("model", "model", self.values(judged))]
        if coverage.missing:
            rows.append(Row("model, missing ones as failures", "model", self.with_failures(judged)))
        for kind in sorted({kind for sample in judged.samples for kind in sample.scenarios}):
            rows.append(Row(f"model, {kind}", "model", self.values(judged.of_scenario(kind))))
        rows += [Row(name, "model", values) for name, values in official_rows(self._figures, judged).items()]
        if on_corners is not None:
            rows.append(Row("AVGN’s evaluator (boxes as corners)", "model", avgn_row(on_corners)))
        table = self.table([*rows, *self.published, *others], len(judged.samples), coverage.sentence())
        return BenchmarkScore(table, coverage, sweeps_of(self._figures, judged))

    @property
    def published(self) -> tuple[Row, ...]:
        """What others reach on the same samples."""
        wanted = len(self._wanted.samples) + len(self._wanted.without_truth)
        return tuple(row for one in PUBLISHED.get(self._wanted.name, ()) if one.is_of(wanted) for row in one.rows)

    def table(self, rows: Sequence[Row], samples: int, note: str) -> Table:
        """Of rows with the benchmark's figures."""
        return Table("score", self._wanted.benchmark.title, self.columns, tuple(rows), samples, notes=(note,))
