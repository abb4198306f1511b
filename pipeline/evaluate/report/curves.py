"""Loss and accuracy curves as SVG text for the page."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

_TRAIN, _VALIDATION, _CEILING, _GRID, _INK = "#3b6fd4", "#d9622b", "#8a8f98", "#e6e8ec", "#4a4f58"
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "path",  # the page must not depend on fonts
    "svg.hashsalt": "gavt",  # the same curves give the same bytes
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw_curve(
    records: Sequence[dict[str, Any]], name: str, label: str, unit: float = 1.0, ceiling: float | None = None
) -> str | None:
    """SVG of one metric over steps, in training and validation.

    Args:
        records: lines of `metrics.jsonl`; training has `name`, validation `validation/name`.
        label: of the y axis.
        unit: factor on all values, 100 for per cent.
        ceiling: drawn as a dashed line, in the metric's own unit.

    Returns:
        None where there is no record with the metric.
    """
    train = _points(records, name, unit)
    validation = _points(records, f"validation/{name}", unit)
    if not len(train) and not len(validation):
        return None
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(5.4, 3.0), layout="constrained")
        if len(train):
            axes.plot(train[:, 0], train[:, 1], color=_TRAIN, alpha=0.25, linewidth=1)
            axes.plot(train[:, 0], _smooth(train[:, 1]), color=_TRAIN, linewidth=1.8, label="training")
        if len(validation):
            marker = "o" if len(validation) <= 40 else None
            axes.plot(
                validation[:, 0],
                validation[:, 1],
                color=_VALIDATION,
                linewidth=1.6,
                marker=marker,
                markersize=4,
                label="validation",
            )
        if ceiling is not None:
            axes.axhline(ceiling * unit, color=_CEILING, linewidth=1.2, linestyle=(0, (4, 3)), label="ceiling")
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(axis="y", color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        axes.legend(frameon=False, loc="best")
        buffer = io.StringIO()
        figure.savefig(
            buffer,
            format="svg",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
            transparent=True,
        )
        plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]  # without the XML head, which names a document type elsewhere


def _points(records: Sequence[dict[str, Any]], name: str, unit: float) -> "np.ndarray[Any, np.dtype[np.float64]]":
    points = [(record["step"], record[name] * unit) for record in records if record.get(name) is not None]
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def _smooth(values: "np.ndarray[Any, np.dtype[np.float64]]") -> "np.ndarray[Any, np.dtype[np.float64]]":
    """A moving mean over a thirtieth of the run, shorter at its ends."""
    reach = len(values) // 60
    total = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    low, high = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    smoothed: np.ndarray[Any, np.dtype[np.float64]] = (total[high] - total[low]) / (high - low)
    return smoothed
