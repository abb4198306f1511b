"""A person as a detector found it, whatever its tool: on the skeleton of the samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.masking import shown
from pipeline.samples.skeleton import BODY, HAND, POINTS

Points = npt.NDArray[np.float64]

_MOST_CONFIDENT = 2.0  # heat maps reach a little beyond 1; what is far beyond is something else

_MOST = 1e9

_COCO = (*range(17), *[-1] * 9)
_WHOLE_BODY = (*range(17), -1, -1, -1, 17, 20, 18, 21, 19, 22)
_BODY_25 = (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11, -1, 1, 8, 19, 22, 20, 23, 21, 24)
_NO_HANDS = (-1,) * 2 * HAND
LAYOUTS: Mapping[int, tuple[int, ...]] = {
    17: (*_COCO, *_NO_HANDS),
    25: (*_BODY_25, *_NO_HANDS),
    26: (*range(BODY), *_NO_HANDS),
    68: tuple(range(POINTS)),
    133: (*_WHOLE_BODY, *range(91, 133)),
    136: (*range(BODY), *range(94, 136)),
}
"""Number of points of a layout → of each point of the skeleton the place there, −1 where it has none: COCO, OpenPose's
BODY_25, Halpe's body, Halpe without the face, COCO-WholeBody, Halpe's whole body."""


@dataclass(frozen=True)
class Detection:
    """A person in a frame.

    Attributes:
        points: [68, 3], x and y in pixels and confidence in 0–1; zeros where a point wasn't found.
        score: how sure the detector is of the person.
        identity: the same for a person in all frames; None where nobody followed it.
    """

    points: Points
    score: float
    identity: str | None = None

    @property
    def centre(self) -> Points:
        """Mean [2] of the points that were found."""
        mean: Points = self.points[self.points[:, 2] > 0, :2].mean(0)
        return mean

    @property
    def extent(self) -> float:
        """Diagonal of the box around the points that were found."""
        found = self.points[self.points[:, 2] > 0, :2]
        return float(np.hypot(*(found.max(0) - found.min(0))))


def detection(points: Points, score: Any, identity: str | None, place: str, found_at: float = 1.0) -> Detection | None:
    """A person from points [n, 3] of a known layout; None where no point was found.

    Args:
        score: of the person, as the file has it; None is the mean over the body's points.
        found_at: the third value of a point that is certain: 2 where it is COCO's visibility.

    Raises:
        ValueError: another number of points, or a score that is none; begins with `place`.
    """
    places = LAYOUTS.get(len(points))
    if places is None:
        known = ", ".join(map(str, LAYOUTS))
        raise ValueError(f"{place}: expected {known} points, found {len(points)}")
    if (points[:, 2] > _MOST_CONFIDENT).any():
        raise ValueError(f"{place}: expected confidences in 0–1, found {points[:, 2].max():g}")
    taken = np.vstack([points, np.zeros(3)])[list(places)]
    taken[:, 2] = np.clip(taken[:, 2] / found_at, 0, 1)
    taken[taken[:, 2] == 0] = 0
    if not taken.any():
        return None
    if score is None:
        body = taken[:BODY, 2]
        return Detection(taken, float(body[[at >= 0 for at in places[:BODY]]].mean()), identity)
    return Detection(taken, number(score, f"{place}: score"), identity)


def triples(values: Any, place: str) -> Points:
    """Numbers `x, y, confidence, x, …` as [n, 3].

    Raises:
        ValueError: no list, no finite numbers or no three a point; begins with `place`.
    """
    if not isinstance(values, list):
        raise ValueError(f"{place}: expected a list of numbers, found {shown(values)}")
    wrong = next((at for at, value in enumerate(values) if not _is_number(value)), None)
    if wrong is not None:
        raise ValueError(f"{place}.{wrong}: expected a number, found {shown(values[wrong])}")
    if len(values) % 3:
        raise ValueError(f"{place}: expected x, y and confidence of each point, found {len(values)} numbers")
    return np.array(values, np.float64).reshape(-1, 3)


def number(value: Any, place: str) -> float:
    """A finite number.

    Raises:
        ValueError: something else; begins with `place`.
    """
    if not _is_number(value):
        raise ValueError(f"{place}: expected a number, found {shown(value)}")
    return float(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -_MOST < value < _MOST  # not so NaN


def identities_of(frames: Mapping[int, Sequence[Detection]]) -> bool:
    """Whether identities tell persons apart: no two in a frame have the same. AlphaPose gives all of them 0 where it
    doesn't follow anybody."""
    if any(one.identity is None for one in chain.from_iterable(frames.values())):
        return False
    return all(len({one.identity for one in persons}) == len(persons) for persons in frames.values())
