"""Curves of a task's metrics as SVG text for the page."""

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from pipeline.evaluate.sentences import percent
from pipeline.tasks.contract import Metric
from pipeline.train.metric_names import MAP_METRICS, MAP_SAMPLES, VALIDATION, in_words, is_shown

_TRAIN, _VALIDATION, _BESIDE, _GRID, _INK = "#3b6fd4", "#d9622b", "#8a8f98", "#e6e8ec", "#4a4f58"
_DASHED, _DOTTED = (0, (4, 3)), (0, (1, 2))
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


def draw_curves(records: Sequence[dict[str, Any]], metrics: Sequence[Metric]) -> list[tuple[str, str]]:
    """Caption and SVG of each metric that is shown and has a number in some record."""
    drawn = ((metric, draw_curve(records, metric)) for metric in metrics if is_shown(metric))
    return [(in_words(metric.name).capitalize(), svg) for metric, svg in drawn if svg is not None]


def said_of_maps(records: Sequence[dict[str, Any]]) -> str | None:
    """Where maps were best, in a sentence, if the last ones are clearly worse: by more than twice the standard error
    of a difference between two such shares, and by 5 points."""
    for metric in reversed(MAP_METRICS):
        name = VALIDATION + metric.name
        known = [record for record in records if record.get(name) is not None]
        if not known:
            continue
        best, last = max(known, key=lambda record: float(record[name])), known[-1]
        several = 2 if metric.name.endswith("iiou_adap") else 1  # sounds of an image, at least
        images = last[VALIDATION + MAP_SAMPLES] / several
        error = math.sqrt(sum(record[name] * (1 - record[name]) for record in (best, last)) / images)
        if best[name] - last[name] > max(2 * error, 0.05):
            return (
                f"Maps were best at step {best['step']:,} and are worse at the end: {in_words(metric.name)} was "
                f"{percent(best[name])} and is {percent(last[name])} at step {last['step']:,}. Steps whose checkpoints "
                "are to stay are set by train.keep_every."
            )
    return None


def draw_curve(records: Sequence[dict[str, Any]], metric: Metric) -> str | None:
    """SVG of one metric over steps, in training and validation, with what guessing gives and its ceiling.

    Args:
        records: lines of `metrics.jsonl`.

    Returns:
        None where there is no record with the metric.
    """
    unit = 100.0 if metric.unit == "share" else 1.0
    train = _points(records, metric.name, unit)
    validation = _points(records, VALIDATION + metric.name, unit)
    if not len(train) and not len(validation):
        return None
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(5.4, 3.0), layout="constrained")
        if len(train):
            axes.plot(train[:, 0], train[:, 1], color=_TRAIN, alpha=0.25, linewidth=1)
            marker = "o" if len(train) == 1 else None  # of which there is no line
            smooth = _smooth(train[:, 1])
            axes.plot(train[:, 0], smooth, color=_TRAIN, linewidth=1.8, marker=marker, markersize=4, label="training")
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
        if (ceiling := _ceiling(records, metric)) is not None:
            axes.axhline(ceiling * unit, color=_BESIDE, linewidth=1.2, linestyle=_DASHED, label="ceiling")
        if metric.chance is not None:
            axes.axhline(metric.chance * unit, color=_BESIDE, linewidth=1.2, linestyle=_DOTTED, label="chance")
        axes.set_xlabel("step")
        axes.set_ylabel(in_words(metric.name.rpartition("/")[2]) + (", %" if metric.unit == "share" else ""))
        axes.grid(axis="y", color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        axes.legend(loc="best", facecolor="white", edgecolor="none", framealpha=0.85)  # lines may lie below it
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


def _ceiling(records: Sequence[dict[str, Any]], metric: Metric) -> float | None:
    """The last that was recorded: validation's, whose samples stay the same, or else training's."""
    if metric.ceiling is None:
        return None
    for name in (VALIDATION + metric.ceiling, metric.ceiling):
        found = [float(record[name]) for record in records if record.get(name) is not None]
        if found:
            return found[-1]
    return None


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
