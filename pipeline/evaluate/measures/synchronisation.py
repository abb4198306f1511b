"""By how much a clip's sound is moved, and which sound a segment of frames has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.evaluate.measures.contract import Column, Headline, Judged, Measure, Row, RowKind, SampleScores, Table
from pipeline.evaluate.readouts.needs import needs_objective
from pipeline.evaluate.registry import OffsetsSettings
from pipeline.evaluate.samples import Chunk, EvaluationBatch, EvaluationSamples
from pipeline.models.contract import Tokens
from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.pairing import contrasted, others_in_groups
from pipeline.tasks.synchronisation import Synchronisation, in_sync, likeness
from pipeline.tasks.synchronisation_settings import SynchronisationSettings
from pipeline.tasks.task import objective
from pipeline.train.load import Trained

Counts = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]
Rows = dict[str, dict[str, Shares]]
SEGMENTS = "synchronisation_segments"
_OFFSETS = {"first": "offset told (acc@1)", "near": "to within a class (acc@±1)", "sync": "whether it is moved"}
_IN_SYNC = {"first": "told right", "in_sync": "of those in sync", "moved": "of those moved"}
_OTHER, _SILENCE, _CONSTANT = "sound of another clip", "silence", "the same answer always"


class Told:
    """What was told of clips [B] whose sound was moved by every offset; answers that are no numbers are wrong.

    Attributes:
        said: by true class, how often each class was said, [K, K].
        not_finite: answers that are no number.
        shares: of each clip [B], by name: offsets that were told right (`first`) and to within a class (`near`);
            whether it was called in sync where it was (`in_sync`), offsets at which it was called moved of those that
            are far enough (`moved`), and the mean of both (`sync`). NaN where there is nothing to tell.
    """

    def __init__(self, clips: int, settings: SynchronisationSettings) -> None:
        least_s = settings.step_s if settings.least_s is None else settings.least_s
        self._far = np.abs(settings.offsets_s) >= least_s * (1 - 1e-6)
        self.not_finite = 0
        self.said: Counts = np.zeros((settings.classes, settings.classes), np.int64)
        self._first, self._near, self._in_sync, self._moved = np.zeros((4, clips))

    def count(self, number: int, logits: Tensor) -> None:
        """Add what logits [B, K] say where the true class is this."""
        finite = logits.isfinite().all(1).cpu().numpy()
        surest = logits.argmax(1).cpu().numpy()
        moved = (in_sync(logits) <= 0).cpu().numpy()
        self.said[number] += np.bincount(surest[finite], minlength=len(self.said))
        self.not_finite += int((~finite).sum())
        self._first += finite & (surest == number)
        self._near += finite & (np.abs(surest - number) <= 1)
        if number == len(self.said) // 2:
            self._in_sync += finite & ~moved
        if self._far[number]:
            self._moved += finite & moved

    @property
    def shares(self) -> dict[str, Shares]:
        """By name; see above."""
        classes, far = len(self.said), int(self._far.sum())
        moved = self._moved / far if far else np.full_like(self._moved, np.nan)
        shares = {"first": self._first / classes, "near": self._near / classes}
        return shares | {"sync": (self._in_sync + moved) / 2, "in_sync": self._in_sync, "moved": moved}


@dataclass(frozen=True)
class Answers:
    """What was answered to the clips of a chunk.

    Attributes:
        keys, videos: of the clips.
        said: by true class, how often each was said.
        not_finite: answers that are no number, all wrong.
        told: by row and column of the table of offsets, of each clip the share that was told; NaN of clips that a row
            is not judged on. Nothing of models that tell no offsets.
        segments: by row and column of the table of segments, of each clip the share of its segments that find their own
            sound, or sounds their own frames, first; nothing of models that compare no segments.
    """

    keys: list[str]
    videos: list[str]
    said: Counts
    not_finite: int
    told: Rows
    segments: Rows


class Offsets(Measure[Answers]):
    """Each clip is shown with its sound moved by every offset, with that of another clip, and with silence: what is
    told of these can only come of a single modality, or of how the sound is cut. Segments look for their own sound
    unmoved."""

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
        classes, shown = self._told.classes, chunk.shown
        said, not_finite = np.zeros((classes, classes), np.int64), 0
        told, segments = list[Rows](), list[Rows]()
        at_once = max(self.judged.settings.batch_size // self.group, 1) * self.group
        for places in shown.pieces(at_once):
            batch = shown.select(places)
            own = self.judged.trained.system.model.embed(batch.inputs)
            if self._told.offset_weight:
                of_model, of_rows = self._tell_offsets(batch, own)
                said, not_finite = said + of_model.said, not_finite + of_model.not_finite
                told.append(of_rows)
            if self._told.contrasts:
                segments.append(self._find_segments(batch.metadata, own))
        videos = [one.video for one in shown.metadata]
        joined = (_joined(pieces) if pieces else {} for pieces in (told, segments))
        return Answers(shown.keys, videos, said, not_finite, *joined)

    def _tell_offsets(self, batch: EvaluationBatch, own: Tokens) -> tuple[Told, Rows]:
        model, task, device = self.judged.trained.system.model, self._task, self.judged.samples.device
        other = _of_other_clips(batch.metadata, self.group)
        strangers = [place for place, one in enumerate(other) if one is not None]
        of_model, of_silence = Told(len(batch), self._told), Told(len(batch), self._told)
        of_other = Told(len(strangers), self._told)
        nothing = model.embed({"sound": torch.zeros_like(batch.inputs["sound"])})
        of_nothing = task.offset_logits(model, own | nothing)  # the same, however it is moved
        seen = {name: tokens[strangers] for name, tokens in own.items()}
        for number, offset_s in enumerate(self._told.offsets_s):
            offsets_s = torch.full((len(batch),), offset_s, dtype=torch.float64, device=device)
            heard = model.embed({"sound": task.moved(batch.inputs, offsets_s)})
            of_model.count(number, task.offset_logits(model, own | heard))
            of_silence.count(number, of_nothing)
            if strangers:
                wrong = {name: tokens[[other[place] for place in strangers]] for name, tokens in heard.items()}
                of_other.count(number, task.offset_logits(model, seen | wrong))
        others: dict[str, Shares] = {}
        for name, shares in of_other.shares.items():
            others[name] = np.full(len(batch), np.nan)
            others[name][strangers] = shares
        return of_model, {"model": of_model.shares, _OTHER: others, _SILENCE: of_silence.shares}

    def _find_segments(self, metadata: Sequence[SampleMetadata], own: Tokens) -> Rows:
        among = torch.tensor(contrasted(self.group, range(len(metadata)), metadata))
        seen, heard = (one.cpu() for one in self._task.segments(own))
        parts = seen.shape[1]
        first, in_clip = (
            _found(likeness(seen, heard, clips)).view(-1, parts).mean(1).numpy()
            for clips in (among, torch.eye(len(metadata), dtype=torch.bool))
        )
        by_chance: Shares = (1 / (parts * among.sum(1).double())).numpy()
        guessed = {"first": by_chance, "in_clip": np.full(len(metadata), 1 / parts)}
        return {"model": {"first": first, "in_clip": in_clip}, "guessing": guessed}

    def tables(self, found: Sequence[Answers]) -> list[Table]:
        """One of offsets and one of segments, as far as they are learnt."""
        make = {"synchronisation": self._offsets, SEGMENTS: self._segments}
        return [make[scores.measure](found, scores) for scores in self.sample_scores(found)]

    def sample_scores(self, found: Sequence[Answers]) -> list[SampleScores]:
        """Of each clip the shares of offsets and of segments that were told."""
        ids, videos = ([name for one in found for name in getattr(one, names)] for names in ("keys", "videos"))
        tables: dict[str, Rows] = {}
        if self._told.offset_weight:
            told = _joined([one.told for one in found])
            tables["synchronisation"] = {row: self._columns(shares) for row, shares in told.items()}
        if self._told.contrasts:
            tables[SEGMENTS] = _joined([one.segments for one in found])
        return [SampleScores(name, ids, videos, values) for name, values in tables.items()]

    def _columns(self, shares: Mapping[str, Shares]) -> dict[str, Shares]:
        """Those that say how well the objective's own question is answered."""
        if self._told.answer == "offset":
            return {name: shares[name] for name in _OFFSETS}
        return {"first": shares["sync"], "in_sync": shares["in_sync"], "moved": shares["moved"]}

    def _offsets(self, found: Sequence[Answers], scores: SampleScores) -> Table:
        told, titles = self._told, _OFFSETS if self._told.answer == "offset" else _IN_SYNC
        constant: dict[str, float | None] = {"first": 0.5, "in_sync": None, "moved": None}
        if told.answer == "offset":
            constant = {"first": 1 / told.classes, "near": 3 / told.classes, "sync": 0.5}
        of_model = scores.figures("model")
        said, not_finite = sum(one.said for one in found), sum(one.not_finite for one in found)
        rows = (
            Row("model", "model", of_model, details={"said": np.asarray(said).tolist()}),
            Row(_CONSTANT, "control", constant),
            *(Row(name, "control", scores.figures(name)) for name in (_OTHER, _SILENCE)),
        )
        first = of_model["first"]
        beside = tuple((row.name, row.values["first"]) for row in rows[1:])
        warning = f"{not_finite} answers of synchronisation are not finite (NaN or infinite): they count as wrong"
        others = int(scores.statistic(_OTHER, "first").known.sum())
        return Table(
            "synchronisation",
            f"{told.classes} offsets from {-told.range_s:g} to {told.range_s:g} s",
            tuple(Column(name, title) for name, title in titles.items()),
            rows,
            len(scores.ids),
            notes=(f"each of {len(scores.ids):,} clips is shown with its sound moved by every offset",),
            warnings=(warning,) if not_finite else (),
            headlines=() if first is None else (Headline("offset of the sound told", first, "share", beside),),
            details={"others": others, "not_finite": not_finite},
        )

    def _segments(self, found: Sequence[Answers], scores: SampleScores) -> Table:
        kinds: dict[str, RowKind] = {"model": "model", "guessing": "control"}
        rows = tuple(Row(name, kind, scores.figures(name)) for name, kind in kinds.items())
        columns = Column("first", f"R@1 among {self.group} clips"), Column("in_clip", "R@1 in the clip")
        note = f"{self._told.segments} segments of each clip look for their own sound, and the sounds for their frames"
        first, guessed = (row.values["first"] for row in rows)
        headline = Headline("segments that find their sound", first or 0.0, "share", (("guessing", guessed),))
        return Table(
            SEGMENTS, "segments of clips", columns, rows, len(scores.ids), notes=(note,), headlines=(headline,)
        )


def _joined(pieces: Sequence[Rows]) -> Rows:
    """Of the clips of all pieces, in their order."""
    return {
        row: {column: np.concatenate([one[row][column] for one in pieces]) for column in columns}
        for row, columns in pieces[0].items()
    }


def _of_other_clips(samples: Sequence[SampleMetadata], group: int) -> list[int | None]:
    """Of each sample the next of its group that is of another scene, after the last the first; None where there is
    none."""
    found: list[int | None] = []
    for place, others in enumerate(others_in_groups(group, range(len(samples)), samples)):
        behind = (other for other in others if other > place)
        found.append(next(behind, others[0] if others else None))
    return found


def _found(alike: Tensor) -> Tensor:
    """[N], of [N, N] which find their own first: halves of both ways."""
    own, known = torch.arange(len(alike)), alike.diagonal().isfinite()
    there, back = ((alike.argmax(axis) == own) & known for axis in (1, 0))
    return (there.double() + back.double()) / 2
