"""Does a small network that was trained on frozen embeddings find what belongs to a sample? (TriBERT, section 4.2)"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, permutations

from pipeline.errors import SettingsError
from pipeline.evaluate.embeddings import STAGE_NAMES, Known, Vectors, embedded_widths, not_finite, vectors_together
from pipeline.evaluate.measures.contract import (
    Column,
    Headline,
    Judged,
    Lessons,
    Measure,
    Row,
    RowKind,
    SampleScores,
    Table,
)
from pipeline.evaluate.measures.likeness import RECALLS, AllAlike, Ranked, SameLabels, ids_among, rank
from pipeline.evaluate.measures.match_heads import Matched, Pairs, train_heads
from pipeline.evaluate.metrics.statistics import Median
from pipeline.evaluate.registry import RetrievalHeadSettings
from pipeline.evaluate.samples import Chunk, EvaluationSamples
from pipeline.evaluate.spread import interval
from pipeline.train.load import Trained

_ABOUT = (
    "A small network learns from embeddings of the training set, which stay as they are, what of the streams belongs "
    "together, and ranks all samples that are judged. Streams that were encoded together have seen each other: who "
    "looks for something there has seen it. Encoded alone, or as embedded, they have not."
)
_TOGETHER = "fused"
"""The stage in which streams have seen each other."""


@dataclass(frozen=True)
class Variant:
    """Which streams look for which."""

    queries: tuple[str, ...]
    target: str

    @classmethod
    def of_text(cls, text: str, streams: Sequence[str]) -> "Variant":
        """
        Raises:
            SettingsError: it is none of these streams.
        """
        looking, _, target = text.partition("_to_")
        queries = tuple(looking.split("+"))
        names = {*queries, target}
        if len(queries) > 2 or len(names) <= len(queries) or not names <= set(streams):
            known = ", ".join(str(one) for one in all_variants(streams))
            raise SettingsError(f"evaluate.measures: retrieval_head.variants: expected one of {known}, found {text!r}")
        return cls(queries, target)

    def __str__(self) -> str:
        return f"{'+'.join(self.queries)}_to_{self.target}"

    @property
    def title(self) -> str:
        """As people read it."""
        return f"{' + '.join(self.queries)} → {self.target}"

    def of_stage(self, stage: str, vectors: Mapping[str, Vectors]) -> tuple[list[Vectors], Vectors]:
        """What looks, and what is looked for."""
        return [vectors[f"{stage}/{name}"] for name in self.queries], vectors[f"{stage}/{self.target}"]


def all_variants(streams: Sequence[str]) -> list[Variant]:
    """Each stream that looks for each other, and each two for a third."""
    found = [Variant((query,), target) for query, target in permutations(streams, 2)]
    for queries in combinations(streams, 2):
        found += [Variant(queries, target) for target in streams if target not in queries]
    return found


@dataclass(frozen=True)
class Found:
    """Samples as vectors by STAGE/STREAM, of the model and of an untrained network."""

    known: Known
    own: dict[str, Vectors]
    fresh: dict[str, Vectors]

    @classmethod
    def together(cls, several: "Sequence[Found]") -> "Found":
        """One behind the other."""
        own, fresh = (vectors_together([getattr(one, name) for one in several]) for name in ("own", "fresh"))
        return cls(Known.together([one.known for one in several]), own, fresh)


@dataclass(frozen=True)
class RankedBySeeds:
    """A row: what each seed found, and how sure the networks were on the validation split."""

    of_seeds: Sequence[Ranked]
    loss: float = 0.0

    @cached_property
    def ranked(self) -> Ranked:
        """The mean over seeds."""
        return Ranked.mean(self.of_seeds)

    def row(self, name: str, kind: RowKind, made_by: str | None) -> Row:
        """Of a table; each seed's shares stand in its details."""
        values = self.ranked.values
        if len(self.of_seeds) == 1:
            return Row(name, kind, values, made_by=made_by)
        of_seeds = {column: [one.values[column] for one in self.of_seeds] for column in (*RECALLS, "choice")}
        known = {column: [value for value in each if value is not None] for column, each in of_seeds.items()}
        spread = {column: interval(each).half for column, each in known.items() if len(each) > 1}
        return Row(name, kind, values, spread, made_by, details={"of_seeds": of_seeds})


_Rows = dict[tuple[str, RowKind, str | None], RankedBySeeds]
"""By a row's name, kind and what it is made by."""


class RetrievalHead(Measure[Found]):
    """Trains networks on what the model and an untrained one make of another set, for each variant and stage. The row
    `model` is the stage that tells best on the validation split, of those in which streams have not seen each other."""

    settings: RetrievalHeadSettings
    chooses = True

    def __init__(self, settings: RetrievalHeadSettings, judged: Judged) -> None:
        """
        Raises:
            SettingsError: it isn't known what to learn from, or there are no such streams.
        """
        super().__init__(settings, judged)
        self._lessons = Lessons.of(settings, judged.trained)
        streams = tuple(embedded_widths(judged.trained))
        named = settings.variants or ()
        self._variants = [Variant.of_text(text, streams) for text in named] or all_variants(streams)
        self._validation: Found | None = None
        self._train: Found | None = None
        self._judged: tuple[Sequence[Found], dict[Variant, _Rows]] | None = None

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs two streams of inputs."""
        streams = list(embedded_widths(trained))
        return None if len(streams) > 1 else f"it needs two streams of inputs, found {', '.join(streams) or 'none'}"

    @property
    def learns_from(self) -> Lessons:
        """Another set."""
        return self._lessons

    def judge(self, chunk: Chunk) -> Found:
        """A chunk as vectors."""
        own, fresh = self.judged.embedder(chunk), self.judged.untrained_embedder(chunk)
        return Found(Known.of(chunk.shown.keys, chunk.shown.metadata), own, fresh)

    choose = learn = judge

    def chosen(self, found: Sequence[Found]) -> None:
        """Keep what says when to stop."""
        self._validation = Found.together(found)

    def learnt(self, found: Sequence[Found]) -> None:
        """Keep what is learnt from."""
        self._train = Found.together(found)

    def _rows(self, found: Sequence[Found]) -> dict[Variant, _Rows]:
        if self._judged is None or self._judged[0] is not found:
            self._judged = found, self._rank_all(Found.together(found))
        return self._judged[1]

    def _rank_all(self, judged: Found) -> dict[Variant, _Rows]:
        stages = list(dict.fromkeys(name.partition("/")[0] for name in judged.own))
        of_stages = {
            variant: {stage: self._ranked_by_heads(variant, stage, judged, "own") for stage in stages}
            for variant in self._variants
        }
        apart = [stage for stage in stages if stage != _TOGETHER]
        losses = {stage: sum(of_stage[stage].loss for of_stage in of_stages.values()) for stage in apart}
        best = apart[-1] if self._validation is None else min(apart, key=lambda stage: losses[stage])
        found: dict[Variant, _Rows] = {}
        for variant, of_stage in of_stages.items():
            rows: _Rows = {("model", "model", STAGE_NAMES[best]): of_stage[best]}
            rows |= {(STAGE_NAMES[stage], "readout", None): one for stage, one in of_stage.items()}
            rows["guessing", "control", None] = self._without_network(AllAlike(len(judged.known)), judged)
            if any(judged.known.labels):
                rows["who knows all labels", "control", None] = self._without_network(SameLabels(judged.known), judged)
            for stage in stages:
                name = f"untrained network, {STAGE_NAMES[stage]}"
                rows[name, "control", None] = self._ranked_by_heads(variant, stage, judged, "fresh")
            shuffled = self._ranked_by_heads(variant, stages[-1], judged, "own", shuffled=True)
            rows["trained on shuffled pairs", "control", STAGE_NAMES[stages[-1]]] = shuffled
            found[variant] = rows
        return found

    def _ranked_by_heads(
        self, variant: Variant, stage: str, judged: Found, whose: str, shuffled: bool = False
    ) -> RankedBySeeds:
        """Train on one stage of the model's `own` or of `fresh` vectors, and rank by it. Who has nothing to learn from
        finds all alike."""
        sets = (self._train, self._validation)
        train, held_out = (None if one is None else self._pairs(variant, stage, one, whose, shuffled) for one in sets)
        assert train is not None  # samples are judged when all else was gone through
        if not len(train):
            return replace(self._without_network(AllAlike(len(judged.known)), judged), loss=math.inf)
        heads, loss = train_heads(train, held_out if held_out else None, self.settings)
        queries, targets = variant.of_stage(stage, getattr(judged, whose))
        ranked = []
        for number in range(self.settings.seeds):
            matched = Matched(heads.only(number), queries, targets)
            ranked.append(rank(matched, "+".join(variant.queries), variant.target, judged.known, self.settings))
        return RankedBySeeds(ranked, loss)

    def _pairs(self, variant: Variant, stage: str, found: Found, whose: str, shuffled: bool) -> Pairs:
        queries, targets = variant.of_stage(stage, getattr(found, whose))
        pairs = Pairs.of(queries, targets, found.known, self.judged.samples.device)
        return pairs.shuffled() if shuffled else pairs

    def _without_network(self, way: AllAlike | SameLabels, judged: Found) -> RankedBySeeds:
        return RankedBySeeds([rank(way, "", "", judged.known, self.settings)])

    def tables(self, found: Sequence[Found]) -> list[Table]:
        """One of each variant."""
        judged = Found.together(found)
        return [self._table(variant, rows, judged) for variant, rows in self._rows(found).items()]

    def _table(self, variant: Variant, rows: _Rows, judged: Found) -> Table:
        columns = [Column(name, f"R@{k}") for name, k in RECALLS.items()]
        columns += [
            Column("rank", "median rank", "number", False),
            Column("choice", f"one of {self.settings.ways}"),
            Column("by_label", "mAP by label"),
        ]
        made = [one.row(*name) for name, one in rows.items()]
        first = {row.name: row.values["first"] for row in made}
        beside = [(name, first[name]) for name in (*STAGE_NAMES.values(), "guessing") if name in first]
        return Table(
            f"retrieval_head_{variant}",
            f"retrieval by a trained head, {variant.title}",
            tuple(columns),
            tuple(made),
            len(judged.known),
            about=_ABOUT,
            notes=tuple(self._notes()),
            warnings=tuple(self._warnings(judged)),
            headlines=(Headline(f"{variant.title}, found first", first["model"] or 0.0, "share", tuple(beside)),),
        )

    def _notes(self) -> list[str]:
        assert self._train is not None
        settings, learnt = self.settings, len(self._train.known)
        notes = [
            f"means over {settings.seeds} networks a row, ± half of the 95 % interval; each learnt from {learnt:,} "
            f"samples of {self._lessons.url}, {settings.steps:,} steps of {settings.batch_size}",
            "streams encoded together have seen each other, as in TriBERT’s Table 3: who looks has seen what it seeks",
        ]
        if self._validation is None:
            notes.append("no validation split said when to stop, or which stage the row model is")
        return notes

    def _warnings(self, judged: Found) -> list[str]:
        assert self._train is not None
        said = []
        if overlap := judged.known.of_scenes_of(self._train.known):
            said.append(f"{overlap:,} samples are of videos or images that the networks learnt from")
        for some, then in ((self._train, "nothing is learnt from such"), (judged, "they are found last")):
            if bad := not_finite(some.own):
                said.append(f"the vectors of {bad:,} samples are not finite (NaN or infinite): {then}")
        return said

    def sample_scores(self, found: Sequence[Found]) -> list[SampleScores]:
        """What each query gives to all figures, in the mean over networks."""
        known = Known.together([one.known for one in found])
        return [
            SampleScores(
                f"retrieval_head_{variant}",
                ids_among(known, self.settings),
                known.videos,
                {name: {**one.ranked.scores, "rank": Median(one.ranked.ranks)} for (name, _, _), one in rows.items()},
            )
            for variant, rows in self._rows(found).items()
        ]
