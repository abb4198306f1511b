"""Multi-modal alignment on held-out pairs, and how well anybody could do on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.evaluate.measures.contract import Column, Headline, Judged, Measure, Row, RowKind, SampleScores, Table
from pipeline.evaluate.readouts.attention import noise_like
from pipeline.evaluate.readouts.needs import needs_match, needs_sound_beside
from pipeline.evaluate.registry import MeasureSettings
from pipeline.evaluate.result import TRAINING_GEOMETRY
from pipeline.evaluate.samples import Chunk, EvaluationBatch, EvaluationSamples
from pipeline.evaluate.sentences import GEOMETRIES, percent
from pipeline.models.contract import Inputs, Tokens
from pipeline.tasks.ceiling import CeilingCounts, Pair
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.tasks.pairing import draw_partners
from pipeline.train.load import Trained

_GUESSING = 0.5


SILENCE, NOISE = "silence", "noise as loud as the sound"


@dataclass(frozen=True)
class Told:
    """What a model answered to a sound in its two pairs, or to a frame with silence or noise.

    Attributes:
        id, video: of what was shown.
        row: of the table.
        share: of the row `model` how much was told right, else whether it was called a match.
    """

    id: str
    video: str
    row: str
    share: float


@dataclass(frozen=True)
class Answers:
    """What a model answered to a chunk.

    Attributes:
        not_finite: answers that are no number, all wrong.
        pairs: matched and mismatched ones.
        known: what an observer sees of them.
    """

    samples: int
    told: list[Told]
    not_finite: int
    pairs: int
    known: CeilingCounts


class Alignment(Measure[Answers]):
    """Accuracy over a balanced set of pairs: each sound twice, with its own frame and with one that training's rule for
    negatives gives it. Sounds without an allowed partner in their group are left out.

    Besides, each frame is shown with silence, and with noise as loud as its own sound: the priors of Eq. 7 rest on both
    being no match.
    """

    def __init__(self, settings: MeasureSettings, judged: Judged) -> None:
        super().__init__(settings, judged)
        task = judged.trained.settings.task
        self._pairing = task if isinstance(task, MmaSettings) else MmaSettings()
        self._system, self._seed = judged.trained.system, judged.settings.seed

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """It needs an answer, and a sound to take away from what else is seen."""
        return needs_sound_beside(trained.system) or needs_match(trained.system)

    @property
    def group(self) -> int:
        """A partner comes from the own group."""
        return self._pairing.group

    @torch.no_grad()
    def judge(self, chunk: Chunk) -> Answers:
        """Answers to the pairs of a chunk, whose groups are whole."""
        metadata = chunk.shown.metadata
        positions = range(chunk.start, chunk.start + len(chunk))
        partners = draw_partners(self._pairing, self._seed, positions, metadata, purpose="evaluate")
        pairs: list[Pair] = []
        told: list[Told] = []
        not_finite = 0
        at_once = max(self.judged.settings.batch_size // self.group, 1) * self.group
        for places in chunk.shown.pieces(at_once):
            batch = chunk.shown.select(places)
            seen, heard, silence, noise = self._embed(batch)
            mismatched = {
                sound - places.start: frame - places.start for sound in places if (frame := partners[sound]) is not None
            }
            sounds, frames = list(mismatched), list(mismatched.values())
            if sounds:
                alike = self._score(_rows(seen, sounds), _rows(heard, sounds))
                unlike = self._score(_rows(seen, frames), _rows(heard, sounds))
                right = (alike.isfinite() & (alike > 0)).double() + (unlike.isfinite() & (unlike <= 0)).double()
                not_finite += int((~alike.isfinite()).sum() + (~unlike.isfinite()).sum())
                for sound, frame, share in zip(sounds, frames, (right / 2).tolist(), strict=True):
                    shown, other = batch.metadata[sound], batch.metadata[frame]
                    told.append(Told(f"{batch.keys[sound]} beside {batch.keys[frame]}", shown.video, "model", share))
                    pairs += [Pair(shown, shown, True), Pair(other, shown, False)]
            for row, played in ((SILENCE, silence), (NOISE, noise)):
                logits = self._score(seen, played)
                not_finite += int((~logits.isfinite()).sum())
                called = (logits.isfinite() & (logits > 0)).double().tolist()
                for key, metadata_of, share in zip(batch.keys, batch.metadata, called, strict=True):
                    told.append(Told(f"{key} with {row}", metadata_of.video, row, share))
        return Answers(len(chunk), told, not_finite, len(pairs), CeilingCounts.of(pairs))

    def _embed(self, batch: EvaluationBatch) -> tuple[Tokens, Tokens, Tokens, Tokens]:
        """What is seen; and the sound, silence, and noise."""
        embed, sound = self._system.model.embed, batch.inputs["sound"]
        rest: Inputs = {name: values for name, values in batch.inputs.items() if name != "sound"}
        sounds = (sound, torch.zeros_like(sound), noise_like(sound, self._seed))
        heard, silence, noise = (embed({"sound": one}) for one in sounds)
        return embed(rest), heard, silence, noise

    def _score(self, seen: Tokens, heard: Tokens) -> Tensor:
        return self._system.task.match(self._system.model, seen | heard)

    def tables(self, found: Sequence[Answers]) -> list[Table]:
        """One, of the model, and of what it says to silence and noise."""
        samples, pairs = sum(one.samples for one in found), sum(one.pairs for one in found)
        not_finite = sum(one.not_finite for one in found)
        known = zip(*(one.known.values() for one in found), strict=True)
        ceiling = CeilingCounts(*map(sum, known)).ceiling()
        (scores,) = self.sample_scores(found)
        accuracy = scores.figures("model")["accuracy"]
        silence, noise = (scores.figures(row)["match"] for row in (SILENCE, NOISE))

        def row(name: str, kind: RowKind, right: float | None, called_match: float | None = None) -> Row:
            return Row(name, kind, {"accuracy": right, "match": called_match})

        rows = (
            row("model", "model", accuracy),
            row("guessing", "control", _GUESSING),
            row(SILENCE, "control", None, silence),
            row(NOISE, "control", None, noise),
            row("ceiling", "ceiling", ceiling),
        )
        headline = Headline("alignment accuracy", accuracy or 0.0, "share", (_beside(ceiling),))
        warnings = [f"{not_finite} answers of alignment are not finite (NaN or infinite): they count as wrong"]
        columns = Column("accuracy", "pairs told right"), Column("match", "called a match", "share", None)
        return [
            Table(
                "alignment",
                "multi-modal alignment",
                columns,
                rows,
                samples,
                about=_about(accuracy, ceiling),
                notes=(self._pairs(pairs), _priors(silence, noise), self._seen()),
                warnings=tuple(warnings if not_finite else ()),
                headlines=() if accuracy is None else (headline,),
                details={"pairs": pairs, "not_finite": not_finite},
            )
        ]

    def sample_scores(self, found: Sequence[Answers]) -> list[SampleScores]:
        """Of each sound that has a partner, in both its pairs, and of each frame with silence and with noise."""
        told = [one for chunk in found for one in chunk.told]
        shares, nothing = np.array([one.share for one in told], np.float64), np.full(len(told), np.nan)
        values = {}
        for row, column in (("model", "accuracy"), (SILENCE, "match"), (NOISE, "match")):
            own = np.where([one.row == row for one in told], shares, np.nan)
            values[row] = {name: own if name == column else nothing for name in ("accuracy", "match")}
        return [SampleScores("alignment", [one.id for one in told], [one.video for one in told], values)]

    def _pairs(self, pairs: int) -> str:
        return f"of {pairs:,} pairs, each sound with its own frame and with one of another in its group of {self.group}"

    def _seen(self) -> str:
        seen = GEOMETRIES[self.judged.settings.shown_geometry].removesuffix(", boxes cut to it")
        return f"alignment is judged on {seen}; training saw {TRAINING_GEOMETRY}"


def _rows(tokens: Tokens, places: list[int]) -> Tokens:
    return {name: stream[places] for name, stream in tokens.items()}


def _beside(ceiling: float | None) -> tuple[str, float | None]:
    return ("ceiling unknown", None) if ceiling is None else ("ceiling", ceiling)


def _priors(silence: float | None, noise: float | None) -> str:
    return (
        f"silence is called a match in {percent(silence)} of cases, noise as loud as the sound in {percent(noise)}; "
        "Eq. 7 takes both for no match"
    )


def _about(accuracy: float | None, ceiling: float | None) -> str:
    if ceiling is None or accuracy is None:
        return "The ceiling is unknown, because the data doesn't say what is visible." if accuracy is not None else ""
    return (
        f"Someone who recognises every visible and every sounding instrument could reach {percent(ceiling)}: the other "
        f"mismatched frames happen to show all that sounds. The model reaches {percent(accuracy / ceiling)} of that."
    )
