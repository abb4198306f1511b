"""What labels can be told from a frozen model's embeddings by the simplest learners?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.evaluate.embeddings import Known, not_finite
from pipeline.evaluate.measures.contract import Column, Headline, Judged, Lessons, Measure, Row, SampleScores, Table
from pipeline.evaluate.measures.label_learners import Answers, Features, RowName, Teacher, figure
from pipeline.evaluate.metrics.label_probes import Marks
from pipeline.evaluate.metrics.statistics import Statistic
from pipeline.evaluate.registry import ProbeSettings
from pipeline.evaluate.samples import Chunk, EvaluationSamples
from pipeline.features.inputs import FRAMES, SOUND
from pipeline.features.spectrogram import LogFrequencySpectrogram
from pipeline.train.load import Trained

_HELD_OUT = 5
"""One video of so many chooses where the validation split can't."""
_ABOUT = (
    "Logistic regression and nearest neighbours learn the labels of another set from the model's embeddings, which "
    "stay as they are; what an untrained network, mean colours and mean spectra reach needs no training."
)


@dataclass(frozen=True)
class Told:
    """All rows, by name, kind and what each is made by; and the truth."""

    known: Known
    there: Marks
    one: bool
    rows: Mapping[RowName, Answers]
    classes: list[str]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def statistics(self, answers: Answers) -> dict[str, Statistic]:
        """By column the figure."""
        return {name: figure(getattr(answers, name), self.there, self.one) for name in ("linear", "nearest")}


class Probe(Measure[Features]):
    """A linear probe and nearest neighbours on each stream, before the encoder and behind it, and on all together. The
    row `model` is what the validation split chooses, which chooses the weight decay too."""

    settings: ProbeSettings
    chooses = True

    def __init__(self, settings: ProbeSettings, judged: Judged) -> None:
        """
        Raises:
            SettingsError: it isn't known what to learn from.
        """
        super().__init__(settings, judged)
        self._lessons = Lessons.of(settings, judged.trained)
        self._spectrogram = LogFrequencySpectrogram(judged.trained.settings.features).to(judged.samples.device)
        self._validation: Features | None = None
        self._train: Features | None = None
        self._told: tuple[Sequence[Features], Told | str] | None = None

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """Any model has embeddings."""
        return None

    @property
    def learns_from(self) -> Lessons:
        """Another set."""
        return self._lessons

    @torch.no_grad()
    def judge(self, chunk: Chunk) -> Features:
        """A chunk as vectors."""
        plain = {}
        inputs = chunk.shown.inputs
        if FRAMES in inputs:
            plain["mean colour"] = inputs[FRAMES].float().mean((1, 3, 4)).cpu().numpy()
        if SOUND in inputs:
            sound = inputs[SOUND].mean(1, keepdim=True)
            plain["mean spectrum"] = self._spectrogram(sound)[:, 0].mean(-1).cpu().numpy()
        own, fresh = self.judged.embedder(chunk), self.judged.untrained_embedder(chunk)
        return Features(Known.of(chunk.shown.keys, chunk.shown.metadata), own, fresh, plain)

    choose = learn = judge

    def chosen(self, found: Sequence[Features]) -> None:
        """Keep what chooses."""
        self._validation = Features.together(found)

    def learnt(self, found: Sequence[Features]) -> None:
        """Keep what is learnt from."""
        self._train = Features.together(found)

    def _tell(self, found: Sequence[Features]) -> Told | str:
        """Everything told of the samples; why nothing can be, in a sentence."""
        if self._told is None or self._told[0] is not found:
            self._told = found, self._learn_and_tell(Features.together(found))
        return self._told[1]

    def _learn_and_tell(self, judged: Features) -> Told | str:
        assert self._train is not None  # samples are judged when all else was gone through
        train = self._train.labelled()
        classes = sorted({name for labels in train.known.labels for name in labels})
        test = judged.labelled(classes)
        if not len(train.known) or not len(test.known):
            which = self._lessons.url if not len(train.known) else "those that are judged"
            return f"no sample of {which} has a label" + (" that was learnt" if len(train.known) else "")
        choosing = None if self._validation is None else self._validation.labelled(classes)
        notes = [f"learnt from {len(train.known):,} samples of {self._lessons.url}, {len(classes)} labels"]
        if choosing is None or not len(choosing.known):
            videos = np.unique(train.known.scenes[:, 0])
            held = np.isin(train.known.scenes[:, 0], videos[_HELD_OUT - 1 :: _HELD_OUT])
            train, choosing = (train.select(np.flatnonzero(some).tolist()) for some in (~held, held))
            notes.append(f"{len(choosing.known):,} of them, of a fifth of the videos, choose: no validation split can")
        if len(test.known) < len(judged.known):
            left_out = len(judged.known) - len(test.known)
            notes.append(f"{left_out:,} samples without a label that was learnt are left out")
        sets = train, choosing, test
        one = all(len(labels) == 1 for some in sets for labels in some.known.labels)
        warnings = []
        if overlap := test.known.of_scenes_of(train.known):
            warnings.append(f"{overlap:,} samples are of videos or images that the probe learnt from")
        for some, then in ((train, "nothing is learnt from such"), (test, "they count as wrong")):
            if bad := not_finite(some.own):
                warnings.append(f"the vectors of {bad:,} samples are not finite (NaN or infinite): {then}")
        teacher = Teacher(self.settings, sets, classes, one, self.judged.samples.device)
        return Told(test.known, teacher.marks[2], one, teacher.rows(), classes, tuple(notes), tuple(warnings))

    def tables(self, found: Sequence[Features]) -> list[Table]:
        """One, of all labels."""
        told = self._tell(found)
        if isinstance(told, str):
            return [Table("probe", "labels told from embeddings", (), (), 0, notes=(told,))]
        called = "accuracy" if told.one else "mAP"
        rows = []
        for (name, kind, by), answers in told.rows.items():
            values = {column: statistic.value for column, statistic in told.statistics(answers).items()}
            rows.append(Row(name, kind, values, made_by=by, details={"decay": answers.decay}))
        best = max((row for row in rows if row.kind == "control"), key=lambda row: row.values["linear"] or 0.0)
        columns = (
            Column("linear", f"linear, {called}"),
            Column("nearest", f"{self.settings.neighbours} nearest neighbours, {called}"),
        )
        beside = ((best.name, best.values["linear"]),)
        headline = Headline("labels told from embeddings", rows[0].values["linear"] or 0.0, "share", beside)
        return [
            Table(
                "probe",
                f"labels told from embeddings, {len(told.classes)} classes",
                columns,
                tuple(rows),
                len(told.known),
                about=_ABOUT,
                notes=told.notes,
                warnings=told.warnings,
                headlines=(headline,),
            )
        ]

    def sample_scores(self, found: Sequence[Features]) -> list[SampleScores]:
        """Of each sample what it gives to all figures."""
        told = self._tell(found)
        if isinstance(told, str):
            return []
        values = {name: told.statistics(answers) for (name, _, _), answers in told.rows.items()}
        return [SampleScores("probe", told.known.keys, told.known.videos, values)]
