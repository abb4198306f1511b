"""Ways to say how like samples of one stream are to those of another, and where each one's own stands then."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.evaluate.embeddings import Known, Vectors, vectors_together
from pipeline.evaluate.metrics.ranking import Standings, Values, average_precisions, standings
from pipeline.evaluate.registry import RankingSettings
from pipeline.models.contract import AUDIO, VISUAL
from pipeline.tasks.dense_contrastive import DenseContrastive

ALL_TOKENS = "all tokens compared"
STAGES = {"embedded": "tokens as embedded", "encoded": "tokens encoded alone"}
"""Of which the means are compared, as rows call them."""
RECALLS = {"first": 1, "fifth": 5, "tenth": 10}
_QUERIES_AT_ONCE, _FRAMES_AT_ONCE = 256, 8
_DECIMALS = 6
"""What agrees to so many is alike: the rest is rounding."""


@dataclass(frozen=True)
class Embedded:
    """Samples by one network.

    Attributes:
        vectors: by STAGE/STREAM.
        directions: by stream those of each token, as dense contrastive learning compares them; none where it doesn't.
    """

    vectors: dict[str, Vectors]
    directions: dict[str, Vectors]

    @classmethod
    def together(cls, several: "Sequence[Embedded]") -> "Embedded":
        """One behind the other."""
        vectors = vectors_together([one.vectors for one in several])
        return cls(vectors, vectors_together([one.directions for one in several]))

    def pairs(self) -> list[tuple[str, str]]:
        """(queries, gallery): all streams of the same width, both ways."""
        widths = {name.partition("/")[2]: vectors.shape[1] for name, vectors in self.vectors.items()}
        return [(one, other) for one in widths for other in widths if one != other and widths[one] == widths[other]]

    def ways(self, task: DenseContrastive | None, device: torch.device) -> dict[str, "Likeness"]:
        """All ways to compare them, by name; `task` compares tokens."""
        found: dict[str, Likeness] = {}
        for stage, name in STAGES.items():
            of_stage = {key.partition("/")[2]: one for key, one in self.vectors.items() if key.startswith(f"{stage}/")}
            if of_stage:
                found[name] = Cosines(of_stage, device)
        if task is not None:
            found[ALL_TOKENS] = AllTokens(task, self.directions, device)
        return found


class Likeness(Protocol):
    """A way to compare samples."""

    def compares(self, query: str, gallery: str) -> bool:
        """Whether it says anything of these two streams."""

    def alike(self, query: str, gallery: str, rows: slice) -> Tensor:
        """[b, N] how like these rows of one stream are to all of another."""


class Cosines:
    """Cosines of vectors, by stream."""

    def __init__(self, vectors: dict[str, Vectors], device: torch.device) -> None:
        self._vectors = {name: F.normalize(torch.from_numpy(one).to(device).double()) for name, one in vectors.items()}

    def compares(self, query: str, gallery: str) -> bool:
        """Any two of one width."""
        return self._vectors[query].shape[1] == self._vectors[gallery].shape[1]

    def alike(self, query: str, gallery: str, rows: slice) -> Tensor:
        return self._vectors[query][rows] @ self._vectors[gallery].T


class AllTokens:
    """What dense contrastive learning makes of all tokens of a frame and of a sound."""

    @torch.no_grad()
    def __init__(self, task: DenseContrastive, directions: dict[str, Vectors], device: torch.device) -> None:
        seen, heard = (torch.from_numpy(directions[name]).to(device) for name in (VISUAL, AUDIO))
        rows = [task.similarities(frames[None], heard[None])[0] for frames in torch.split(seen, _FRAMES_AT_ONCE)]
        self._frames_to_sounds = torch.cat(rows).double()

    def compares(self, query: str, gallery: str) -> bool:
        """Frames and sounds."""
        return {query, gallery} == {VISUAL, AUDIO}

    def alike(self, query: str, gallery: str, rows: slice) -> Tensor:
        found = self._frames_to_sounds if query == VISUAL else self._frames_to_sounds.T
        return found[rows]


class AllAlike:
    """Who finds all samples alike."""

    def __init__(self, count: int) -> None:
        self._count = count

    def compares(self, query: str, gallery: str) -> bool:
        """All."""
        return True

    def alike(self, query: str, gallery: str, rows: slice) -> Tensor:
        return torch.zeros(len(range(self._count)[rows]), self._count)


class SameLabels:
    """Who knows nothing of samples but their labels: samples are as like as they have labels in common."""

    def __init__(self, known: Known) -> None:
        self._marks = _marks(known.labels)

    def compares(self, query: str, gallery: str) -> bool:
        """All."""
        return True

    def alike(self, query: str, gallery: str, rows: slice) -> Tensor:
        return self._marks[rows] @ self._marks.T


@dataclass(frozen=True)
class Ranked:
    """How high each query's own stands.

    Attributes:
        scores: by column what each query gives to its figure, which is a mean; NaN where it says nothing.
        ranks: [N] in the mean over orders of what is equally like, and over pools.
    """

    scores: dict[str, Values]
    ranks: Values

    @classmethod
    def mean(cls, several: "Sequence[Ranked]") -> "Ranked":
        """Of each query the mean over several rankings."""
        scores = {name: np.mean([one.scores[name] for one in several], axis=0) for name in several[0].scores}
        return cls(scores, np.mean([one.ranks for one in several], axis=0))

    @property
    def values(self) -> dict[str, float | None]:
        """By column the figure of all; the rank is a median."""
        known = {name: score[np.isfinite(score)] for name, score in (self.scores | {"rank": self.ranks}).items()}
        means = {name: float(np.mean(score)) if len(score) else None for name, score in known.items()}
        return means | {"rank": float(np.median(known["rank"])) if len(known["rank"]) else None}


def rank(way: Likeness, query: str, gallery: str, known: Known, settings: RankingSettings, turn: int = 0) -> Ranked:
    """Rank the gallery for each query.

    Args:
        turn: what is compared in the place of each sample of the gallery is the one so many behind it, in a circle.
    """
    found: list[tuple[Standings, Values]] = []
    labels, scenes = _marks(known.labels), torch.from_numpy(known.scenes)
    for start in range(0, len(known), _QUERIES_AT_ONCE):
        rows = slice(start, start + _QUERIES_AT_ONCE)
        alike = _rounded(way.alike(query, gallery, rows)).roll(-turn, 1)
        own = torch.arange(start, start + len(alike))
        of_others = ~of_one_scene(scenes[rows, None], scenes)
        others = of_others if settings.own_video == "left_out" else torch.ones_like(of_others)
        of_class = average_precisions(alike, labels[rows] @ labels.T > 0, of_others)
        found.append((standings(alike, own, others), of_class))
    parts, by_label = zip(*found, strict=True)
    stand = Standings.together(parts)
    scores = {name: stand.recall(k, settings.pool) for name, k in RECALLS.items()}
    scores |= {"choice": stand.recall(1, settings.ways), "by_label": np.concatenate(by_label)}
    return Ranked(scores, stand.ranks(settings.pool))


def rank_answers(answers: Vectors, query: str, known: Known, settings: RankingSettings) -> Ranked:
    """Choose among `ways` by what the objective answers to pairs: nothing else is known of a model that doesn't compare
    samples by themselves.

    Args:
        answers: [N, ways] to each frame beside each sound of its group of so many consecutive samples.
        query: what chooses, frames or sounds.
    """
    ways, count = settings.ways, len(known)
    fill = (0, -count % ways)
    groups = np.pad(answers, (fill, (0, 0))).reshape(-1, ways, ways)
    groups = groups if query == VISUAL else groups.transpose(0, 2, 1)
    scenes = torch.from_numpy(np.pad(known.scenes, (fill, (0, 0))).reshape(-1, ways, 3))
    there = torch.from_numpy(np.pad(np.ones(count, np.bool_), fill).reshape(-1, 1, ways))
    others = ~of_one_scene(scenes[:, :, None], scenes[:, None]) & there
    alike = _rounded(torch.from_numpy(groups.copy()))
    stand = standings(alike.flatten(0, 1)[:count], torch.arange(count) % ways, others.flatten(0, 1)[:count])
    nothing = np.full(count, np.nan)
    whole = stand.wrong == ways - 1  # else the choice would be easier
    scores = dict.fromkeys((*RECALLS, "choice", "by_label"), nothing)
    return Ranked(scores | {"choice": np.where(whole, stand.recall(1), np.nan)}, nothing)


def ids_among(known: Known, settings: RankingSettings) -> list[str]:
    """The samples' keys with what each looks among and how: it finds its own more easily among fewer."""
    how = settings.pool, settings.ways, settings.own_video, sorted(known.keys)
    among = f"among {len(known)} ({hashlib.sha256(repr(how).encode()).hexdigest()[:8]})"
    return [f"{key} {among}" for key in known.keys]


def _rounded(alike: Tensor) -> Tensor:
    return alike.cpu().double().mul(10**_DECIMALS).round()


def of_one_scene(scenes: Tensor, others: Tensor) -> Tensor:
    """bool […]: of numbers of scenes […, 3] that go together, those that have one in common."""
    return ((scenes == others) & (scenes != 0)).any(-1)


def _marks(labels: Sequence[Sequence[str]]) -> Tensor:
    """float32 [N, C]: 1 for the labels of each."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(name for some in labels for name in some))}
    marks = torch.zeros(len(labels), len(numbers))
    for row, some in enumerate(labels):
        marks[row, [numbers[name] for name in some]] = 1
    return marks
