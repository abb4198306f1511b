"""Places that a model finds by itself: where it hears most of the sound come from."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.readouts.readout import on_visual_grid
from pipeline.evaluate.separating.hearing import Hearing
from pipeline.evaluate.separating.places import Place
from pipeline.models.contract import VISUAL
from pipeline.samples.metadata import Box
from pipeline.tasks.mix_and_separate import MixAndSeparate
from pipeline.tasks.task import System

_LOOKED_AT = 48
"""Windows, spread over the video, whose maps are added."""
_MOST = 5
_FLOOR = 0.5
"""A peak rises at least so far from the map's median to its maximum."""
_APART = 0.2
"""Two peaks lie at least so far from each other, in sides of the square that the model sees."""
IN_SIGHT = "in_sight"
"""The place of models whose mask is of the whole frame."""


def find_places(hearing: Hearing, system: System, separator: MixAndSeparate) -> list[Place]:
    """Peaks of the sum of the maps over the video, as `place_1`, `place_2` …, the highest first; none where the model
    hears nothing anywhere. All that the model sees, as `in_sight`, where its mask is of the whole frame."""
    if separator.head != "places":
        left, top, right, bottom = hearing.square()
        return [Place(IN_SIGHT, ((0.0, (max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0))),))]
    grid, total, square = system.model.grids[VISUAL], None, None
    for one in hearing.some(_LOOKED_AT):
        kept, _ = separator.place_energies(system.model, one.inputs)
        maps = on_visual_grid(system.model, kept).sum(0).cpu().numpy()
        total = maps if total is None else total + maps
        square = one.moments[0].square if square is None else square
    assert total is not None
    assert square is not None
    peaks = peaks_of(total, square, grid.centres("row"), grid.centres("column"))
    return [Place(f"place_{number}", ((0.0, (x, y, x, y)),)) for number, (x, y) in enumerate(peaks, 1)]


def peaks_of(
    energy: npt.NDArray[np.float32], square: Box, rows: Sequence[float], columns: Sequence[float]
) -> list[tuple[float, float]]:
    """(x, y) in 0–1 of the frame of the peaks of a map [h, w], the highest first. Of two that lie near each other only
    the higher one counts, and what lies in the bars around a frame does not.

    Args:
        square: where the map lies in the upright frame.
        rows, columns: where the middles of its cells lie in the square.
    """
    low, high = float(np.median(energy)), float(energy.max())
    if not np.isfinite(energy).all() or high <= low:
        return []
    padded = np.pad(energy, 1, constant_values=-np.inf)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).max(axis=(2, 3))
    is_peak = (energy == around) & (energy >= low + _FLOOR * (high - low))
    found: list[tuple[float, float]] = []
    for place in np.argsort(-energy, axis=None, kind="stable"):
        row, column = divmod(int(place), len(columns))
        at = (columns[column], rows[row])
        near = any(np.hypot(at[0] - other[0], at[1] - other[1]) < _APART for other in found)
        inside = all(0 <= one <= 1 for one in _in_frame(at, square))
        if is_peak[row, column] and not near and inside:
            found.append(at)
    return [_in_frame(at, square) for at in found[:_MOST]]


def _in_frame(at: tuple[float, float], square: Box) -> tuple[float, float]:
    """A place of the square in the upright frame."""
    return (square[0] + at[0] * (square[2] - square[0]), square[1] + at[1] * (square[3] - square[1]))
