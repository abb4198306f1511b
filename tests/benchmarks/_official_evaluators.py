"""What the public evaluators of sound localisation compute for a map, written down as plainly as they have it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]


def scaled(heat: Array) -> Array:
    """To 0–1, as all of them do it; a constant map stays as it is."""
    low, high = heat.min(), heat.max()
    return heat if low == high else (heat - low) / (high - low)


def formula(predicted: npt.NDArray[np.generic], truth: Array) -> float:
    """Σ(P·G) / (ΣG + Σ P·[G == 0]), nought where nothing is predicted and nothing true."""
    below = truth.sum() + (predicted * (truth == 0)).sum()
    return float((predicted * truth).sum() / below) if below else 0.0


def lvs(heat: Array, truth: Array) -> float:
    """LVS (and IS3): what lies above the median."""
    inferred, ordered = np.zeros(heat.shape), np.sort(scaled(heat).ravel())
    inferred[scaled(heat) > ordered[heat.size // 2]] = 1
    return formula(inferred, truth)


def ezvsl(heat: Array, truth: Array) -> float:
    """EZ-VSL (and SLAVC, AVGN): what lies on the median too."""
    inferred, ordered = np.zeros(heat.shape), np.sort(scaled(heat).ravel())
    inferred[scaled(heat) >= ordered[heat.size // 2]] = 1
    return formula(inferred, truth)


def is3_adaptive(heat: Array, truth: Array) -> float:
    """IS3's cIoU_adap: what lies above the value that as many pixels reach as the truth has."""
    inferred, ordered = np.zeros(heat.shape), np.sort(scaled(heat).ravel())
    area = int((truth > 0).sum()) or heat.size // 2
    inferred[scaled(heat) > ordered[heat.size - area]] = 1
    return formula(inferred, truth)


EVALUATORS: dict[str, Callable[[Array, Array], float]] = {
    "LVS: above the median": lvs,
    "EZ-VSL: the median and above": ezvsl,
    "IS3: cIoU_adap": is3_adaptive,
}
