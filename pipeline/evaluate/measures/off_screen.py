"""Does a model know when nothing visible sounds? One calibrated confidence, and one threshold on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.evaluate.measures.contract import Column, Headline, Judged, Measure, Row, RowKind, SampleScores, Table
from pipeline.evaluate.metrics.confidence import Numbers, best_threshold, calibrated, calibration_error, fit_platt
from pipeline.evaluate.metrics.statistics import AreaUnderRoc, Flags, Mean, MeanOfRatios, Statistic
from pipeline.evaluate.readouts.attention import noise_like
from pipeline.evaluate.readouts.needs import needs_match, needs_sound_beside
from pipeline.evaluate.registry import MeasureSettings
from pipeline.evaluate.samples import Chunk, EvaluationSamples
from pipeline.evaluate.sentences import percent
from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.off_screen import OffScreen
from pipeline.tasks.pairing import draw_one, others_in_groups
from pipeline.tasks.task import objective
from pipeline.train.load import Trained

OWN, SILENCE, NOISE, OTHER, GIVEN = "own", "silence", "noise", "other", "given"
_ABSENCES = {
    SILENCE: "against silence",
    NOISE: "against noise as loud as the sound",
    OTHER: "against another's sound",
    GIVEN: "against sounds that the data says are off-screen or silent",
}
_LOUDER = "loudness of the sound alone"
_PLAIN = 1.0, 0.0
"""Slope and shift where none were chosen."""
_GROUP = 8
_SWEEP = tuple(number / 20 for number in range(1, 20))
_COLUMNS = (
    Column("auroc", "AUROC"),
    Column("told", "told at the threshold"),
    Column("found", "visible sources found", "share", None),
    Column("false_alarms", "false alarms", "share", False),
)


@dataclass(frozen=True)
class Asked:
    """A frame that was shown with a sound.

    Attributes:
        key, video: of the frame's sample.
        kind: of the sound.
        logit: how sure the model is that something visible sounds; the least there is where that is no finite number.
        loudness: root mean square of the sound.
    """

    key: str
    video: str
    kind: str
    logit: float
    loudness: float


Heard = list[Asked]


class OffScreenMeasure(Measure[Heard]):
    """Each frame with its own sound, with silence, with noise as loud as that, and with the sound of another video of
    the group, one of which nothing is visible where the data says what is. Samples whose own sound the data says is
    off-screen (none of `labels` is `visible`) or silent count as absent.

    The confidence is the objective's `match`, of off_screen where several are trained. Its slope and shift, by which it
    becomes a probability, and the threshold are chosen on the validation split.
    """

    chooses = True

    def __init__(self, settings: MeasureSettings, judged: Judged) -> None:
        super().__init__(settings, judged)
        self._system, self._evaluate = judged.trained.system, judged.settings
        self._task = objective(self._system.task, OffScreen) or self._system.task
        self._platt, self._threshold, self._chosen = _PLAIN, 0.5, False

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs an answer, and a sound to take away from what else is seen."""
        return needs_sound_beside(trained.system) or needs_match(trained.system)

    @property
    def group(self) -> int:
        """Another's sound comes from the own group."""
        return _GROUP

    def choose(self, chunk: Chunk) -> Heard:
        """Confidences on the validation split."""
        return self.judge(chunk)

    def chosen(self, found: Sequence[Heard]) -> None:
        """Take slope, shift and threshold."""
        heard = _by_kind(found)
        present, absent = (one[np.isfinite(one)] for one in (heard[OWN], _all_absent(heard)))
        if len(present) and len(absent):
            self._platt = fit_platt(present, absent)
            self._threshold = best_threshold(calibrated(present, self._platt), calibrated(absent, self._platt))
            self._chosen = True

    @torch.no_grad()
    def judge(self, chunk: Chunk) -> Heard:
        """Confidences of a chunk's samples, whose groups are whole."""
        found: Heard = []
        batch, model = chunk.shown, self._system.model
        partners = _partners(chunk.start, batch.metadata, self.group, self._evaluate.seed)
        for places in batch.pieces(self._evaluate.batch_size):
            here = batch.select(places)
            sound = here.inputs["sound"]
            seen = model.embed({name: values for name, values in here.inputs.items() if name != "sound"})
            others = [partners[place] for place in places]
            other = batch.inputs["sound"][[one if one is not None else places[0] for one in others]]
            given = [_is_absent(metadata) for metadata in here.metadata]
            sounds = {OWN: sound, SILENCE: torch.zeros_like(sound), OTHER: other}
            sounds[NOISE] = noise_like(sound, self._evaluate.seed)
            for name, played in sounds.items():
                sure = self._confidence(seen | model.embed({"sound": played}))
                loud = played.square().mean(dim=(1, 2)).sqrt().tolist()
                for place, (logit, level) in enumerate(zip(sure, loud, strict=True)):
                    if name == OTHER and others[place] is None:
                        continue
                    called = GIVEN if name == OWN and given[place] else name
                    found.append(Asked(here.keys[place], here.metadata[place].video, called, logit, level))
        return found

    def _confidence(self, embedded: dict[str, Tensor]) -> list[float]:
        """One a sample; an answer that is no finite number is the least there is."""
        sure = self._task.match(self._system.model, embedded).double()
        logits: list[float] = sure.masked_fill(~sure.isfinite(), -torch.inf).tolist()
        return logits

    def tables(self, found: Sequence[Heard]) -> list[Table]:
        """What is told apart, and what other thresholds would tell."""
        heard = _by_kind(found)
        sure = {name: calibrated(logits, self._platt) for name, logits in heard.items()}
        present, absent = sure[OWN], _all_absent(sure)
        if not len(present) or not len(absent):
            reason = f"{self.judged.samples.url} has no sample whose sound is visible"
            return [Table("off_screen", "off-screen sound", _COLUMNS, (), 0, notes=(reason,))]
        (scores,) = self.sample_scores(found)
        kinds: dict[str, RowKind] = {"model": "model", _LOUDER: "control"}
        rows = [Row(name, kinds.get(name, "readout"), scores.figures(name)) for name in scores.values]
        rows.append(Row("guessing", "control", {"auroc": 0.5, "told": 0.5}))
        value = rows[0].values["auroc"]
        headline = Headline(
            "off-screen AUROC", value or 0.0, "share", (("loudness alone", scores.figures(_LOUDER)["auroc"]),)
        )
        before = calibration_error(calibrated(heard[OWN], _PLAIN), calibrated(_all_absent(heard), _PLAIN))
        not_finite = int((~np.isfinite(np.concatenate([heard[OWN], _all_absent(heard)]))).sum())
        details = {"threshold": self._threshold, "slope": self._platt[0], "shift": self._platt[1]}
        first = Table(
            "off_screen",
            "silence, noise and off-screen sound",
            _COLUMNS,
            tuple(rows),
            len(present),
            about="The confidence that something visible sounds, of frames with their own sound and without it.",
            notes=(
                f"a source is called visible above a confidence of {percent(self._threshold)}, {self._by_whom()}",
                f"confidences lie {percent(calibration_error(present, absent))} from how often they are right "
                f"(expected calibration error), before calibration {percent(before)}",
                "AUROC of the model is of all absences, each kind as frequent as it is here",
            ),
            warnings=(f"{not_finite} confidences are not finite (NaN or infinite): they count as the lowest",)
            if not_finite
            else (),
            headlines=(headline,),
            details=details,
        )
        return [first, self._sweep(present, sure)]

    def _by_whom(self) -> str:
        return "chosen on the validation split" if self._chosen else "for want of a validation split that chooses one"

    def sample_scores(self, found: Sequence[Heard]) -> list[SampleScores]:
        """Of each frame with each sound."""
        asked = [one for chunk in found for one in chunk]
        kinds = np.array([one.kind for one in asked])
        if not (kinds == OWN).any() or (kinds == OWN).all():
            return []
        logits = np.array([one.logit for one in asked], np.float64)
        loudness = np.array([one.loudness for one in asked], np.float64)
        values = {"model": self._figures(logits, kinds == OWN, kinds != OWN)}
        for name, title in _ABSENCES.items():
            if (kinds == name).any():
                values[title] = self._figures(logits, kinds == OWN, kinds == name)
        nothing = np.full(len(asked), np.nan)
        louder = {column.name: Mean(nothing) for column in _COLUMNS}
        values[_LOUDER] = louder | {"auroc": _area_under_roc(loudness, kinds == OWN, kinds != OWN)}
        ids = [f"{one.key} with {one.kind}" for one in asked]
        return [SampleScores("off_screen", ids, [one.video for one in asked], values)]

    def _figures(self, logits: Numbers, present: Flags, absent: Flags) -> dict[str, Statistic]:
        """Of frames with sounds [N], of which some are the visible ones and others are not."""
        above = (calibrated(logits, self._platt) > self._threshold).astype(np.float64)
        kinds = np.stack([present, absent]).astype(np.float64)  # [2, N]
        return {
            "auroc": _area_under_roc(logits, present, absent),
            "told": MeanOfRatios((kinds * np.stack([above, 1 - above]))[None], kinds[None]),
            "found": Mean(np.where(present, above, np.nan)),
            "false_alarms": Mean(np.where(absent, above, np.nan)),
        }

    def _sweep(self, present: Numbers, sure: Mapping[str, Numbers]) -> Table:
        """Rows of thresholds, the chosen one among them."""
        shown = [name for name in _ABSENCES if len(sure[name])]

        def row(threshold: float) -> Row:
            alarms = {name: float((sure[name] > threshold).mean()) for name in shown}
            found = float((present > threshold).mean())
            absent = float((_all_absent(sure) <= threshold).mean())
            values: dict[str, float | None] = {"told": (found + absent) / 2, "found": found, **alarms}
            chosen = threshold == self._threshold
            return Row(percent(threshold) + (" (chosen)" if chosen else ""), "model" if chosen else "readout", values)

        alarms = (Column(name, _ABSENCES[name].replace("against", "false alarms:"), "share", False) for name in shown)
        columns = (Column("told", "told"), Column("found", "visible sources found"), *alarms)
        thresholds = sorted({*_SWEEP, self._threshold})
        return Table(
            "off_screen_sweep",
            "thresholds of the confidence that something visible sounds",
            columns,
            tuple(row(threshold) for threshold in thresholds),
            len(present),
        )


def _partners(start: int, samples: Sequence[SampleMetadata], group: int, seed: int) -> list[int | None]:
    """For each sample the place of another of its group whose sound is not of its scene, and of which nothing is known
    to be visible in its frame."""
    found, positions = [], range(start, start + len(samples))
    for position, sample, others in zip(positions, samples, others_in_groups(group, positions, samples), strict=True):
        near = [other for other in others if not set(samples[other].labels) & _seen(sample)]
        found.append(draw_one(seed, "evaluate-off-screen", position, near))
    return found


def _seen(sample: SampleMetadata) -> set[str]:
    return set(sample.labels if sample.visible is None else sample.visible)


def _is_absent(sample: SampleMetadata) -> bool:
    """Whether the data says that nothing visible sounds in it."""
    return sample.visible is not None and not set(sample.labels) & set(sample.visible)


def _area_under_roc(scores: Numbers, present: Flags, absent: Flags) -> AreaUnderRoc:
    return AreaUnderRoc(np.where(present, scores, np.nan), np.where(absent, scores, np.nan))


def _by_kind(found: Sequence[Heard]) -> dict[str, Numbers]:
    """The confidences of frames that were shown with each kind of sound, in their order."""
    asked = [one for chunk in found for one in chunk]
    return {name: np.array([one.logit for one in asked if one.kind == name], np.float64) for name in (OWN, *_ABSENCES)}


def _all_absent(heard: Mapping[str, Numbers]) -> Numbers:
    return np.concatenate([heard[name] for name in _ABSENCES])
