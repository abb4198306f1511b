"""Average precision over the pixels of a map, and over the maps of all sources of an image: CAP and PIAP (Mix and
Localize, Hu et al. 2022)."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.area import falling
from pipeline.evaluate.metrics.ground_truth import Mask


def pixel_average_precisions(heat: npt.NDArray[np.floating], truths: Sequence[Mask]) -> list[float]:
    """Average precision of a map's pixels [h, w], taken as scores, against each truth; equal scores are taken together.
    Nought where a truth is empty."""
    flat = heat.ravel()
    order = falling(flat)
    ranked = flat.take(order)
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of each run of equal scores
    found = []
    for truth in truths:
        hits = np.cumsum(truth.ravel().take(order))[last]
        steps = np.diff(hits, prepend=0)
        found.append(float(np.sum(steps * (hits / (last + 1))) / hits[-1]) if hits[-1] else 0.0)
    return found


def class_aware(precisions: Sequence[Sequence[float]]) -> float:
    """CAP of an image: the mean over its sources of each source's map against its own truth.

    Args:
        precisions: [K, K], of map i against truth k.
    """
    return float(np.mean([row[place] for place, row in enumerate(precisions)]))


def permutation_invariant(precisions: Sequence[Sequence[float]]) -> float:
    """PIAP of an image: the same with the maps in the order in which they fit best."""
    sources = range(len(precisions))
    return max(
        float(np.mean([precisions[which][place] for place, which in enumerate(order)]))
        for order in itertools.permutations(sources)
    )


def swapped_average_precision(taken: int, hits: int, area: int, pixels: int) -> float:
    """What AVGN's evaluator calls PIAP: `average_precision_score(predicted, truth)`, a binary prediction in the place
    of the truth and the truth in that of the scores. Nought where nothing is predicted.

    Args:
        taken: how many of the map's `pixels` are predicted.
        hits: how many of those lie on the truth, which has `area`.
    """
    if not taken:
        return 0.0
    first = hits / taken * (hits / area) if hits else 0.0
    return first + (1 - hits / taken) * taken / pixels
