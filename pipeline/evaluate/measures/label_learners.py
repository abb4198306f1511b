"""Simple learners that learn labels from a model's embeddings, and tell them of other samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from pipeline.evaluate.embeddings import STAGE_NAMES, Known, Vectors, vectors_together
from pipeline.evaluate.measures.contract import RowKind
from pipeline.evaluate.metrics.label_probes import Marks, Scores, linear_probes, nearest_neighbours, surest_right
from pipeline.evaluate.metrics.statistics import Mean, MeanAveragePrecision, Statistic
from pipeline.evaluate.registry import ProbeSettings
from pipeline.models.contract import AUDIO, VISUAL

_CALLED = {VISUAL: "frames", AUDIO: "sounds"}
_ALL = "all streams"


@dataclass(frozen=True)
class Features:
    """Samples as they may be learnt from.

    Attributes:
        own, fresh: vectors by STAGE/STREAM, of the model and of an untrained network.
        plain: `mean colour` and `mean spectrum`.
    """

    known: Known
    own: dict[str, Vectors]
    fresh: dict[str, Vectors]
    plain: dict[str, Vectors]

    @classmethod
    def together(cls, several: "Sequence[Features]") -> "Features":
        """One behind the other."""
        parts = ([getattr(one, name) for one in several] for name in ("own", "fresh", "plain"))
        return cls(Known.together([one.known for one in several]), *map(vectors_together, parts))

    def select(self, places: Sequence[int]) -> "Features":
        """Only the samples at these places."""
        rows = np.array(places, np.intp)
        parts = ({name: one[rows] for name, one in part.items()} for part in (self.own, self.fresh, self.plain))
        return Features(self.known.select(places), *parts)

    def labelled(self, classes: Sequence[str] | None = None) -> "Features":
        """Only samples with a label, of these classes where they are given."""
        labels = self.known.labels
        return self.select([at for at, some in enumerate(labels) if (set(some) & set(classes or some))])


@dataclass(frozen=True)
class Answers:
    """What was told of the samples that are judged.

    Attributes:
        linear, nearest: by either learner.
        chosen: figure of the former on what chose.
        decay: that was chosen.
    """

    linear: Scores
    nearest: Scores
    chosen: float
    decay: float


RowName: TypeAlias = "tuple[str, RowKind, str | None]"
"""Name, kind and what it is made by."""


class Teacher:
    """Has both learners learn from one set, choose on another and tell of a third.

    Attributes:
        marks: [N, C] of each set.
    """

    def __init__(
        self,
        settings: ProbeSettings,
        sets: tuple[Features, Features, Features],
        classes: Sequence[str],
        one: bool,
        device: torch.device,
    ) -> None:
        self._settings, self._sets, self._one, self._device = settings, sets, one, device
        self.marks = [_marks(one.known.labels, classes) for one in sets]

    def rows(self) -> dict[RowName, Answers]:
        """All rows of the table."""
        readouts: dict[tuple[str, str], Answers] = {}
        for (called, stage), names in _vectors_of(self._sets[0].own).items():
            readouts[called, stage] = self._answer([_joined(one.own, names) for one in self._sets])
        best = max(readouts, key=lambda name: readouts[name].chosen)
        rows: dict[RowName, Answers] = {("model", "model", ", ".join(best)): readouts[best]}
        rows |= {(", ".join(name), "readout", None): answers for name, answers in readouts.items()}
        for called in dict.fromkeys(called for called, _ in readouts):
            stage = max((name for name in readouts if name[0] == called), key=lambda name: readouts[name].chosen)[1]
            names = _vectors_of(self._sets[0].fresh)[called, stage]
            answers = self._answer([_joined(one.fresh, names) for one in self._sets])
            rows[f"untrained network, {called}", "control", stage] = answers
        for name in self._sets[0].plain:
            rows[name, "control", None] = self._answer([one.plain[name] for one in self._sets])
        nothing = [np.zeros((len(one.known), 1), np.float32) for one in self._sets]
        rows["how common each label is", "control", None] = self._answer(nothing)
        return rows

    def _answer(self, features: Sequence[Vectors]) -> Answers:
        """What is told from features of the three sets."""
        train, choosing, test = (torch.from_numpy(one).to(self._device) for one in features)
        there, known, _ = self.marks
        finite = train.isfinite().all(1)
        train, there = train[finite], there[finite.cpu().numpy()]
        tried, decays = [], sorted(self._settings.decays, reverse=True)
        for decay, probe in zip(decays, linear_probes(train, there, self._one, decays), strict=True):
            tried.append((figure(probe.scores(choosing), known, self._one).value or 0.0, decay, probe))
        chosen, decay, probe = max(tried, key=lambda one: one[0])  # the strongest decay of equally good ones
        nearest = nearest_neighbours(train, there, test, self._settings.neighbours)
        return Answers(probe.scores(test), nearest, chosen, decay)


def _vectors_of(vectors: Mapping[str, Vectors]) -> dict[tuple[str, str], list[str]]:
    """By what is looked at and its stage, the names of vectors that are put side by side."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in vectors:
        stage, _, stream = name.partition("/")
        if stage != "fused":
            found[_CALLED.get(stream, stream), STAGE_NAMES[stage]] = [name]
    for stage in ("embedded", "fused"):
        names = [name for name in vectors if name.startswith(f"{stage}/")]
        if len(names) > 1:
            found[_ALL, STAGE_NAMES[stage]] = names
    return found


def _joined(vectors: Mapping[str, Vectors], names: Sequence[str]) -> Vectors:
    """[N, ΣD]"""
    return np.concatenate([vectors[name] for name in names], axis=1)


def _marks(labels: Sequence[Sequence[str]], classes: Sequence[str]) -> Marks:
    """[N, C]; labels that are none of the classes are looked over."""
    return np.array([[name in some for name in classes] for some in labels], dtype=np.bool_).reshape(-1, len(classes))


def figure(scores: Scores, there: Marks, one: bool) -> Statistic:
    """Accuracy of one label a sample, mean average precision of several."""
    if one:
        return Mean(surest_right(scores, there))
    return MeanAveragePrecision(np.where(np.isfinite(scores), scores, -np.inf).T, there.T)
