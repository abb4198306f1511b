"""Does a sound find its frame among all others, and a frame its sound?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from pipeline.evaluate.embeddings import Embedder, Known, Vectors, embedded_widths, not_finite, vectors_together
from pipeline.evaluate.measures.contract import Column, Headline, Judged, Measure, Row, RowKind, SampleScores, Table
from pipeline.evaluate.measures.likeness import (
    ALL_TOKENS,
    RECALLS,
    STAGES,
    AllAlike,
    Embedded,
    Likeness,
    Ranked,
    SameLabels,
    ids_among,
    rank,
    rank_answers,
)
from pipeline.evaluate.metrics.statistics import Median
from pipeline.evaluate.registry import RetrievalSettings
from pipeline.evaluate.samples import Chunk, EvaluationSamples
from pipeline.models.contract import AUDIO, VISUAL
from pipeline.tasks.dense_contrastive import DenseContrastive
from pipeline.tasks.task import objective
from pipeline.train.load import Trained

_ABOUT = (
    "Each sample of one stream looks for its own of another among all. R@k is how often the own one is among the first "
    "k; mAP by label ranks others of its class, with the sample itself left out."
)
_CALLED = {VISUAL: "frame", AUDIO: "sound"}
_Rows: TypeAlias = "dict[tuple[str, RowKind, str | None], Ranked]"
"""By a row's name, kind and what it is made by."""


@dataclass(frozen=True)
class Found:
    """What was found in a chunk.

    Attributes:
        fresh: by an untrained network; None on the validation split.
        answers: [n, ways] as of `rank_answers`; [n, 0] where nothing is asked.
    """

    known: Known
    own: Embedded
    fresh: Embedded | None
    answers: Vectors


class Retrieval(Measure[Found]):
    """Ranks the samples of one stream by how like they are to each of another, in each way that the model has: by the
    cosine of mean tokens before the encoder and behind it, and by all tokens where the objective compares them. The row
    `model` is the way that finds most on the validation split."""

    settings: RetrievalSettings
    chooses = True

    def __init__(self, settings: RetrievalSettings, judged: Judged) -> None:
        super().__init__(settings, judged)
        sets = [judged.samples] + ([] if judged.choosing is None else [judged.choosing])
        self._compares_tokens = objective(judged.trained.system.task, DenseContrastive) is not None
        self._few = max(map(len, sets)) <= settings.all_tokens_up_to
        self._asks = judged.trained.system.task.matches and not self._compares_tokens
        self._chosen: str | None = None
        self._tables: tuple[Sequence[Found], dict[tuple[str, str], _Rows]] | None = None

    @property
    def group(self) -> int:
        """Pairs are asked about within groups."""
        return self.settings.ways if self._asks else 1

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs two streams of inputs, of one width."""
        widths = embedded_widths(trained)
        if len(set(widths.values())) < len(widths):
            return None
        found = ", ".join(f"{name} of width {width}" for name, width in widths.items())
        return f"it needs two streams of inputs of the same width, found {found}"

    def choose(self, chunk: Chunk) -> Found:
        """A chunk of the validation split as the model embeds it."""
        return Found(
            _known(chunk), self._embedded(chunk, self.judged.embedder), None, np.zeros((len(chunk), 0), np.float32)
        )

    def chosen(self, found: Sequence[Found]) -> None:
        """Take what most often finds the own one of `ways`, in the mean over all directions."""
        known, own = Known.together([one.known for one in found]), Embedded.together([one.own for one in found])
        shares: dict[str, list[float]] = {}
        for query, gallery in own.pairs():
            for name, way in self._ways(own, self.judged.embedder).items():
                if way.compares(query, gallery):
                    ranked = rank(way, query, gallery, known, self.settings)
                    shares.setdefault(name, []).append(float(ranked.scores["choice"].mean()))
        self._chosen = max(shares, key=lambda name: float(np.mean(shares[name])))

    def judge(self, chunk: Chunk) -> Found:
        """A chunk as the model and an untrained network embed it."""
        own, fresh = (self._embedded(chunk, one) for one in (self.judged.embedder, self.judged.untrained_embedder))
        return Found(_known(chunk), own, fresh, self._answers(chunk))

    @torch.no_grad()
    def _answers(self, chunk: Chunk) -> Vectors:
        """What the objective answers to each frame beside each sound of its group, of whole groups."""
        system, ways = self.judged.trained.system, self.settings.ways
        if not self._asks:
            return np.zeros((len(chunk), 0), np.float32)
        answers = np.full((len(chunk), ways), np.nan, np.float32)
        for places in chunk.shown.pieces(max(self.judged.settings.batch_size // ways, 1) * ways):
            tokens = system.model.embed(chunk.shown.select(places).inputs)
            frames = torch.arange(len(places) // ways * ways)  # a group that is cut short would be easier
            for turn in range(ways if len(frames) else 0):
                sounds = frames // ways * ways + (frames + turn) % ways
                pairs = {name: one[sounds if name == AUDIO else frames] for name, one in tokens.items()}
                found = system.task.match(system.model, pairs).float().cpu().numpy()
                answers[places.start + frames.numpy(), (sounds % ways).numpy()] = found
        return answers

    @torch.no_grad()
    def _embedded(self, chunk: Chunk, embedder: Embedder) -> Embedded:
        vectors = {name: one for name, one in embedder(chunk).items() if name.partition("/")[0] in STAGES}
        task, directions = self._task(embedder), []
        for places in [] if task is None else chunk.shown.pieces(self.judged.settings.batch_size):
            assert task is not None
            seen, heard = task.directions(embedder.system.model.embed(chunk.shown.select(places).inputs))
            directions.append({VISUAL: seen.cpu().numpy(), AUDIO: heard.cpu().numpy()})
        return Embedded(vectors, vectors_together(directions))

    def _task(self, embedder: Embedder) -> DenseContrastive | None:
        """What compares all tokens of an embedder's; None where nothing does, or there are too many."""
        return objective(embedder.system.task, DenseContrastive) if self._few else None

    def _ways(self, embedded: Embedded, embedder: Embedder) -> dict[str, Likeness]:
        return embedded.ways(self._task(embedder), self.judged.samples.device)

    def _ranked(self, found: Sequence[Found]) -> dict[tuple[str, str], _Rows]:
        """By what looks for what the rows of a table."""
        if self._tables is None or self._tables[0] is not found:
            self._tables = found, self._rank_all(found)
        return self._tables[1]

    def _rank_all(self, found: Sequence[Found]) -> dict[tuple[str, str], _Rows]:
        known, own = Known.together([one.known for one in found]), Embedded.together([one.own for one in found])
        fresh = Embedded.together([one.fresh for one in found if one.fresh is not None])
        answers = np.concatenate([one.answers for one in found])
        ways, untrained = self._ways(own, self.judged.embedder), self._ways(fresh, self.judged.untrained_embedder)
        tables: dict[tuple[str, str], _Rows] = {}
        for query, gallery in own.pairs():

            def ranked(way: Likeness, turn: int = 0, query: str = query, gallery: str = gallery) -> Ranked:
                return rank(way, query, gallery, known, self.settings, turn)

            of_ways = {name: ranked(way) for name, way in ways.items() if way.compares(query, gallery)}
            best = self._chosen if self._chosen in of_ways else list(of_ways)[-1]
            called = _CALLED.get(gallery, gallery)
            rows: _Rows = {("model", "model", best): of_ways[best]}
            rows |= {(name, "readout", None): one for name, one in of_ways.items()}
            rows["guessing", "control", None] = ranked(AllAlike(len(known)))
            if self._asks and {query, gallery} == {VISUAL, AUDIO}:
                rows["answers to pairs", "readout", None] = rank_answers(answers, query, known, self.settings)
            if any(known.labels):
                rows["who knows all labels", "control", None] = ranked(SameLabels(known))
            rows["untrained network", "control", best] = ranked(untrained[best])
            rows[f"each {called} another's", "control", best] = ranked(ways[best], len(known) // 2)
            tables[_CALLED.get(query, query), called] = rows
        return tables

    def tables(self, found: Sequence[Found]) -> list[Table]:
        """One of each direction."""
        samples = sum(len(one.known) for one in found)
        bad = sum(not_finite(one.own.vectors) for one in found)
        return [self._table(*direction, rows, samples, bad) for direction, rows in self._ranked(found).items()]

    def _table(self, query: str, gallery: str, rows: _Rows, samples: int, not_finite: int) -> Table:
        title = f"{query} → {gallery}"
        pool = "" if self.settings.pool is None else f", R@k and rank among {min(self.settings.pool, samples):,}"
        columns = [Column(name, f"R@{k}") for name, k in RECALLS.items()]
        columns += [
            Column("rank", "median rank", "number", False),
            Column("choice", f"one of {self.settings.ways}"),
            Column("by_label", "mAP by label"),
        ]
        made = [Row(name, kind, ranked.values, made_by=by) for (name, kind, by), ranked in rows.items()]
        first = {row.name: row.values["first"] or 0.0 for row in made}
        beside = tuple((row.name, row.values["first"]) for row in made if row.kind == "control")
        warning = f"the vectors of {not_finite} samples are not finite (NaN or infinite): they are found last"
        return Table(
            _name(query, gallery),
            f"retrieval, {title}{pool}",
            tuple(columns),
            tuple(made),
            samples,
            about=_ABOUT,
            notes=tuple(self._notes()),
            warnings=(warning,) if not_finite else (),
            headlines=(Headline(f"{title}, found first", first["model"], "share", beside),),
            details={"not_finite": not_finite},
        )

    def _notes(self) -> list[str]:
        own = "neither right nor wrong" if self.settings.own_video == "left_out" else "wrong"
        notes = [f"other samples of the own video or image are {own}; what is equally like stands in random order"]
        if self._chosen is None:
            notes.append("no validation split chose how samples are compared: the model's last way is taken")
        if self._asks:
            ways = self.settings.ways
            notes.append(
                f"answers to pairs are of whole groups of {ways} in which nothing else is of the own video or image"
            )
        if self._compares_tokens and not self._few:
            most = self.settings.all_tokens_up_to
            notes.append(f"{ALL_TOKENS} is left out: a set has more than {most:,} samples (all_tokens_up_to)")
        return notes

    def sample_scores(self, found: Sequence[Found]) -> list[SampleScores]:
        """What each query gives to all figures, which hang on what it looks among and how."""
        known = Known.together([one.known for one in found])
        return [
            SampleScores(
                _name(*direction),
                ids_among(known, self.settings),
                known.videos,
                {name: {**ranked.scores, "rank": Median(ranked.ranks)} for (name, _, _), ranked in rows.items()},
            )
            for direction, rows in self._ranked(found).items()
        ]


def _name(query: str, gallery: str) -> str:
    """Of a direction's table."""
    return f"retrieval_{query}_to_{gallery}"


def _known(chunk: Chunk) -> Known:
    return Known.of(chunk.shown.keys, chunk.shown.metadata)
