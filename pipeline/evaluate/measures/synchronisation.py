"""By how much a clip's sound is moved, and which sound a segment of frames has."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.evaluate.measures.contract import Column, Headline, Judged, Measure, Row, SampleScores, Table
from pipeline.evaluate.readouts.needs import needs_objective
from pipeline.evaluate.registry import OffsetsSettings
from pipeline.evaluate.samples import Chunk, EvaluationBatch, EvaluationSamples
from pipeline.models.contract import Tokens
from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.pairing import contrasted, others_in_groups
from pipeline.tasks.synchronisation import Synchronisation, in_sync, likeness
from pipeline.tasks.task import objective
from pipeline.train.load import Trained

Counts = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


class Told:
    """What was told of clips whose sound was moved by every offset.

    Attributes:
        clips: how many there were.
        said: by true class, how often each class was said, [K, K].
        in_sync: by true class, how often it was called in sync, [K].
        not_finite: answers that are no number, all wrong.
    """

    def __init__(self, classes: int) -> None:
        self.clips = self.not_finite = 0
        self.said: Counts = np.zeros((classes, classes), np.int64)
        self.in_sync: Counts = np.zeros(classes, np.int64)

    def count(self, number: int, logits: Tensor) -> None:
        """Add what logits [B, K] say of clips whose true class is this."""
        finite = logits[logits.isfinite().all(1)]
        self.said[number] += np.bincount(finite.argmax(1).cpu().numpy(), minlength=len(self.said))
        self.in_sync[number] += int((in_sync(finite) > 0).sum())
        self.not_finite += len(logits) - len(finite)

    def add(self, other: "Told") -> None:
        """Add what was told of other clips."""
        self.clips, self.not_finite = self.clips + other.clips, self.not_finite + other.not_finite
        self.said, self.in_sync = self.said + other.said, self.in_sync + other.in_sync

    def accuracy(self) -> dict[str, float | None]:
        """Share of answers that are right, and to within a class."""
        asked, said = self.clips * len(self.said), self.said
        right = int(np.trace(said))
        near = right + int(np.trace(said, 1)) + int(np.trace(said, -1))
        return {"first": right / asked, "near": near / asked} if asked else {"first": None, "near": None}


@dataclass
class Answers:
    """What was answered to the clips of a chunk.

    Attributes:
        own, other: with the clips' own sounds, and with those of other clips.
        segments, found, found_in_clip: segments, and how many found their own sound (or sounds their own frames) first
            among those of all clips and of the own one; both ways, halves.
        by_chance: the sum over segments of how often guessing finds it among all.
        keys, videos: of the clips.
        told: [B, 2] of some clips each, the share of offsets that were told right and to within a class.
    """

    own: Told
    other: Told
    segments: int = 0
    found: float = 0.0
    found_in_clip: float = 0.0
    by_chance: float = 0.0
    keys: list[str] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    told: list[Shares] = field(default_factory=list)


class Offsets(Measure[Answers]):
    """Each clip is shown with its sound moved by every offset, and with that of another clip: what is told of that one
    can only come of a single modality, or of how the sound is cut. Segments look for their own sound unmoved."""

    settings: OffsetsSettings

    def __init__(self, settings: OffsetsSettings, judged: Judged) -> None:
        super().__init__(settings, judged)
        task = objective(judged.trained.system.task, Synchronisation)
        assert task is not None  # else there is a reason against it
        self._task, self._told = task, task.settings

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs its heads."""
        return needs_objective(trained.system, Synchronisation, "synchronisation")

    @property
    def group(self) -> int:
        """Another clip, and other segments, come from the own group."""
        return self.settings.among

    @torch.no_grad()
    def judge(self, chunk: Chunk) -> Answers:
        """Answers to the clips of a chunk, whose groups are whole."""
        answers = Answers(Told(self._told.classes), Told(self._told.classes))
        at_once = max(self.judged.settings.batch_size // self.group, 1) * self.group
        for places in chunk.shown.pieces(at_once):
            batch = chunk.shown.select(places)
            own = self.judged.trained.system.model.embed(batch.inputs)
            if self._told.offset_weight:
                self._tell_offsets(batch, own, answers)
            if self._told.contrasts:
                self._find_segments(batch.metadata, own, answers)
            answers.own.clips += len(batch)
            answers.keys += batch.keys
            answers.videos += [metadata.video for metadata in batch.metadata]
        return answers

    def _tell_offsets(self, batch: EvaluationBatch, own: Tokens, answers: Answers) -> None:
        model, task, device = self.judged.trained.system.model, self._task, self.judged.samples.device
        other = _of_other_clips(batch.metadata, self.group)
        strangers = [place for place, one in enumerate(other) if one is not None]
        answers.other.clips += len(strangers)
        seen = {name: tokens[strangers] for name, tokens in own.items()}
        told = np.zeros((len(batch), 2))
        for number, offset_s in enumerate(self._told.offsets_s):
            offsets_s = torch.full((len(batch),), offset_s, dtype=torch.float64, device=device)
            heard = model.embed({"sound": task.moved(batch.inputs, offsets_s)})
            logits = task.offset_logits(model, own | heard)
            answers.own.count(number, logits)
            told += _told_of_each(number, logits)
            if strangers:
                wrong = {name: tokens[[other[place] for place in strangers]] for name, tokens in heard.items()}
                answers.other.count(number, task.offset_logits(model, seen | wrong))
        answers.told.append(told / self._told.classes)

    def _find_segments(self, metadata: Sequence[SampleMetadata], own: Tokens, answers: Answers) -> None:
        among = torch.tensor(contrasted(self.group, range(len(metadata)), metadata))
        seen, heard = (one.cpu() for one in self._task.segments(own))
        parts = seen.shape[1]
        answers.found += _found(likeness(seen, heard, among))
        answers.found_in_clip += _found(likeness(seen, heard, torch.eye(len(metadata), dtype=torch.bool)))
        answers.by_chance += float((1 / among.sum(1)).sum())  # parts of each, of parts × as many
        answers.segments += len(metadata) * parts

    def tables(self, found: Sequence[Answers]) -> list[Table]:
        """One of offsets and one of segments, as far as they are learnt."""
        tables = []
        if self._told.offset_weight:
            tables.append(self._offsets(found))
        if self._told.contrasts:
            tables.append(self._segments(found))
        return tables

    def sample_scores(self, found: Sequence[Answers]) -> list[SampleScores]:
        """Of each clip the share of offsets that were told, where offsets are what is answered."""
        if not self._told.offset_weight or self._told.answer != "offset":
            return []
        keys, videos = ([name for one in found for name in getattr(one, names)] for names in ("keys", "videos"))
        first, near = np.concatenate([told for one in found for told in one.told]).T
        return [SampleScores("synchronisation", keys, videos, {"model": {"first": first, "near": near}})]

    def _offsets(self, found: Sequence[Answers]) -> Table:
        told, own, other = self._told, Told(self._told.classes), Told(self._told.classes)
        for one in found:
            own.add(one.own)
            other.add(one.other)
        if told.answer == "offset":
            titles = {"first": "offset told", "near": "to within a class"}
            constant: dict[str, float | None] = {"first": 1 / told.classes, "near": 3 / told.classes}
            of_model, of_other = own.accuracy(), other.accuracy()
        else:
            titles = {"first": "told right", "in_sync": "of those in sync", "moved": "of those moved"}
            constant = {"first": 0.5, "in_sync": None, "moved": None}
            of_model, of_other = self._in_sync(own), self._in_sync(other)
        rows = (
            Row("model", "model", of_model, details={"said": own.said.tolist()}),
            Row("the same answer always", "control", constant),
            Row("sound of another clip", "control", of_other),
        )
        first = of_model["first"]
        beside = tuple((row.name, row.values["first"]) for row in rows[1:])
        warning = f"{own.not_finite} answers of synchronisation are not finite (NaN or infinite): they count as wrong"
        return Table(
            "synchronisation",
            f"{told.classes} offsets from {-told.range_s:g} to {told.range_s:g} s",
            tuple(Column(name, title) for name, title in titles.items()),
            rows,
            own.clips,
            notes=(f"each of {own.clips:,} clips is shown with its sound moved by every offset",),
            warnings=(warning,) if own.not_finite else (),
            headlines=() if first is None else (Headline("offset of the sound told", first, "share", beside),),
            details={"others": other.clips, "not_finite": own.not_finite},
        )

    def _in_sync(self, asked: Told) -> dict[str, float | None]:
        """Of sounds that are in sync and of those that are moved far enough, how many are told right, and the mean."""
        told, clips = self._told, asked.clips
        least_s = told.step_s if told.least_s is None else told.least_s
        far = np.abs(told.offsets_s) >= least_s * (1 - 1e-6)
        if not clips or not far.any():
            return {"first": None, "in_sync": None, "moved": None}
        right, moved = float(asked.in_sync[told.classes // 2] / clips), float(1 - asked.in_sync[far].mean() / clips)
        return {"first": (right + moved) / 2, "in_sync": right, "moved": moved}

    def _segments(self, found: Sequence[Answers]) -> Table:
        segments, parts = sum(one.segments for one in found), self._told.segments
        clips = sum(one.own.clips for one in found)
        first = sum(one.found for one in found) / segments
        in_clip, guessed = (
            sum(one.found_in_clip for one in found) / segments,
            sum(one.by_chance for one in found) / segments,
        )
        rows = (
            Row("model", "model", {"first": first, "in_clip": in_clip}),
            Row("guessing", "control", {"first": guessed, "in_clip": 1 / parts}),
        )
        columns = Column("first", f"R@1 among {self.group} clips"), Column("in_clip", "R@1 in the clip")
        note = f"{parts} segments of each clip look for their own sound, and the sounds for their frames"
        headline = Headline("segments that find their sound", first, "share", (("guessing", guessed),))
        return Table("synchronisation", "segments of clips", columns, rows, clips, notes=(note,), headlines=(headline,))


def _told_of_each(number: int, logits: Tensor) -> Shares:
    """[B, 2] whether logits [B, K] say the true class, and one next to it or the same; nothing of those that are no
    numbers."""
    apart = (logits.argmax(1) - number).abs()
    finite = logits.isfinite().all(1)
    told: Shares = torch.stack([(apart == 0) & finite, (apart <= 1) & finite], 1).double().cpu().numpy()
    return told


def _of_other_clips(samples: Sequence[SampleMetadata], group: int) -> list[int | None]:
    """Of each sample the next of its group that is of another scene, after the last the first; None where there is
    none."""
    found: list[int | None] = []
    for place, others in enumerate(others_in_groups(group, range(len(samples)), samples)):
        behind = (other for other in others if other > place)
        found.append(next(behind, others[0] if others else None))
    return found


def _found(alike: Tensor) -> float:
    """How many of [N, N] find their own first, halves of both ways."""
    own, known = torch.arange(len(alike)), alike.diagonal().isfinite()
    return float(((alike.argmax(1) == own) & known).sum() + ((alike.argmax(0) == own) & known).sum()) / 2
