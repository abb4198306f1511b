"""How confidences become probabilities, and where two kinds are told apart."""

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

_NEWTON_STEPS = 50
_RIDGE = 1e-6
"""Keeps the slope finite where the two kinds don't overlap."""
_BINS = 10


def fit_platt(present: Numbers, absent: Numbers) -> tuple[float, float]:
    """Slope a and shift b with which σ(a · confidence + b) is the probability of presence where both kinds are as
    frequent (Platt 1999, with equal weights), by Newton's method."""
    both = np.concatenate([present, absent])
    answers = np.concatenate([np.ones(len(present)), np.zeros(len(absent))])
    weights = np.concatenate([np.full(len(present), 0.5 / len(present)), np.full(len(absent), 0.5 / len(absent))])
    scale = float(np.abs(both).max()) or 1.0
    design = np.stack([both / scale, np.ones(len(both))], axis=1)
    found = np.zeros(2)
    for _ in range(_NEWTON_STEPS):
        probabilities = _sigmoid(design @ found)
        gradient = design.T @ (weights * (probabilities - answers)) + _RIDGE * found
        curvature = design.T @ (design * (weights * probabilities * (1 - probabilities))[:, None])
        step = np.linalg.solve(curvature + _RIDGE * np.eye(2), gradient)
        longest = float(np.abs(step).max())
        found = found - step * min(1.0, 5.0 / max(longest, 1e-12))
        if longest < 1e-9:
            break
    return float(found[0] / scale), float(found[1])


def calibrated(confidences: Numbers, platt: tuple[float, float]) -> Numbers:
    """Probabilities, as of `fit_platt`."""
    slope, shift = platt
    return _sigmoid(slope * confidences + shift)


def best_threshold(present: Numbers, absent: Numbers) -> float:
    """The value that tells both kinds best by the mean of the two accuracies, where present is what lies above it. Of
    equals the middle one."""
    values = np.unique(np.concatenate([present, absent]))
    between = np.concatenate([values[:1] - 1e-9, (values[1:] + values[:-1]) / 2])
    found = 1 - np.searchsorted(np.sort(present), between, "right") / len(present)
    kept_out = np.searchsorted(np.sort(absent), between, "right") / len(absent)
    told = found + kept_out
    best = np.flatnonzero(told >= told.max() - 1e-12)
    return float(between[best[len(best) // 2]])


def calibration_error(present: Numbers, absent: Numbers) -> float:
    """How far probabilities lie from how often they are right: the mean over ten equal bins of the difference, weighted
    by how much lies in them (expected calibration error), both kinds as frequent."""
    both = np.concatenate([present, absent])
    answers = np.concatenate([np.ones(len(present)), np.zeros(len(absent))])
    weights = np.concatenate([np.full(len(present), 0.5 / len(present)), np.full(len(absent), 0.5 / len(absent))])
    bins = np.minimum((both * _BINS).astype(int), _BINS - 1)
    off = np.bincount(bins, weights * (both - answers), minlength=_BINS)
    return float(np.abs(off).sum())


def _sigmoid(values: Numbers) -> Numbers:
    found: Numbers = 1 / (1 + np.exp(-np.clip(values, -60, 60)))
    return found
