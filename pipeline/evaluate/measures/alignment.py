"""Multi-modal alignment on held-out pairs, and how well anybody could do on them."""

from collections import Counter
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


@dataclass(frozen=True)
class Answers:
    """What a model answered to the pairs of a chunk.

    Attributes:
        match, no_match: how often it said so to each kind of pair: `matched`, `mismatched`, `silence` and `noise`.
        not_finite: answers that are no number, all wrong.
        pairs: matched and mismatched ones.
        known: what an observer sees of them.
        ids, videos: of each sound with a partner, both keys, and its video.
        right: of its two pairs, the share that was told right.
    """

    samples: int
    match: Counter[str]
    no_match: Counter[str]
    not_finite: int
    pairs: int
    known: CeilingCounts
    ids: list[str]
    videos: list[str]
    right: list[float]


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
        asked = _Asked()
        pairs: list[Pair] = []
        ids, videos, right = list[str](), list[str](), list[float]()
        at_once = max(self.judged.settings.batch_size // self.group, 1) * self.group
        for places in chunk.shown.pieces(at_once):
            seen, heard, silence, noise = self._embed(chunk.shown.select(places))
            mismatched = {
                sound - places.start: frame - places.start for sound in places if (frame := partners[sound]) is not None
            }
            sounds, frames = list(mismatched), list(mismatched.values())
            if sounds:
                alike = self._score(_rows(seen, sounds), _rows(heard, sounds))
                unlike = self._score(_rows(seen, frames), _rows(heard, sounds))
                asked.count("matched", alike)
                asked.count("mismatched", unlike)
                told = (alike.isfinite() & (alike > 0)).double() + (unlike.isfinite() & (unlike <= 0)).double()
                right += (told / 2).tolist()
            for sound, frame in mismatched.items():
                keys = (chunk.shown.keys[places[place]] for place in (sound, frame))
                ids.append(" beside ".join(keys))
                videos.append(metadata[places[sound]].video)
                shown, other = metadata[places[sound]], metadata[places[frame]]
                pairs += [Pair(shown, shown, True), Pair(other, shown, False)]
            asked.count("silence", self._score(seen, silence))
            asked.count("noise", self._score(seen, noise))
        known = CeilingCounts.of(pairs)
        return Answers(len(chunk), asked.match, asked.no_match, asked.not_finite, len(pairs), known, ids, videos, right)

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
        match, no_match = _total([one.match for one in found]), _total([one.no_match for one in found])
        samples, pairs = sum(one.samples for one in found), sum(one.pairs for one in found)
        not_finite = sum(one.not_finite for one in found)
        known = zip(*(one.known.values() for one in found), strict=True)
        ceiling = CeilingCounts(*map(sum, known)).ceiling()
        accuracy = (match["matched"] + no_match["mismatched"]) / pairs if pairs else None
        silence, noise = match["silence"] / samples, match["noise"] / samples

        def row(name: str, kind: RowKind, right: float | None, called_match: float | None = None) -> Row:
            return Row(name, kind, {"accuracy": right, "match": called_match})

        rows = (
            row("model", "model", accuracy),
            row("guessing", "control", _GUESSING),
            row("silence", "control", None, silence),
            row("noise as loud as the sound", "control", None, noise),
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
        """Of each sound that has a partner, in both its pairs."""
        columns = ("ids", "videos", "right")
        ids, videos, right = ([one for chunk in found for one in getattr(chunk, name)] for name in columns)
        return [SampleScores("alignment", ids, videos, {"model": {"accuracy": np.array(right, np.float64)}})]

    def _pairs(self, pairs: int) -> str:
        return f"of {pairs:,} pairs, each sound with its own frame and with one of another in its group of {self.group}"

    def _seen(self) -> str:
        seen = GEOMETRIES[self.judged.settings.shown_geometry].removesuffix(", boxes cut to it")
        return f"alignment is judged on {seen}; training saw {TRAINING_GEOMETRY}"


class _Asked:
    """How often the model said match or no match to each kind of pair."""

    def __init__(self) -> None:
        self.match: Counter[str] = Counter()
        self.no_match: Counter[str] = Counter()
        self.not_finite = 0

    def count(self, kind: str, logits: Tensor) -> None:
        finite = logits.isfinite()
        self.match[kind] += int((finite & (logits > 0)).sum())
        self.no_match[kind] += int((finite & (logits <= 0)).sum())
        self.not_finite += int((~finite).sum())


def _rows(tokens: Tokens, places: list[int]) -> Tokens:
    return {name: stream[places] for name, stream in tokens.items()}


def _total(counters: Sequence[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _beside(ceiling: float | None) -> tuple[str, float | None]:
    return ("ceiling unknown", None) if ceiling is None else ("ceiling", ceiling)


def _priors(silence: float, noise: float) -> str:
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
