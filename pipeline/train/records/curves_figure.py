"""Curves of several runs in one picture."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster.os_errors import why
from pipeline.errors import RunError
from pipeline.train.metric_names import VALIDATION, is_number, is_shown
from pipeline.train.records.compare import GRADIENT, RecordedRun

_COLUMNS = 3


def draw_curves(runs: Sequence[RecordedRun], names: Sequence[str], out: Path) -> None:
    """Draw every curve that the first run has and its task shows, one panel a curve, one line a run; below, how far
    each run's loss lies from the first's.

    Args:
        names: of the runs, for the legend.
        out: the picture, PNG, SVG or PDF by its name.

    Raises:
        RunError: it can't be written there.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    curves, loss = list(_curves(runs[0])), _loss(runs[0])
    count = len(curves) + (loss is not None)
    rows = -(-count // _COLUMNS)
    figure = Figure(figsize=(5 * _COLUMNS, 3.6 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    for panel in panels[count:]:
        panel.set_axis_off()
    palette = matplotlib.colormaps["tab20" if len(runs) > 10 else "tab10"]
    colours = [palette(number % palette.N) for number in range(len(runs))]
    for panel, curve in zip(panels, curves, strict=False):
        for number, run in enumerate(runs):
            # the first lies widest below, so that all can be seen where they lie on each other
            width = 1 + 7 * (len(runs) - 1 - number) / len(runs)
            steps, values = _points(run, curve)
            marker = "o" if len(steps) == 1 else None  # of which there is no line
            panel.plot(steps, values, linewidth=width, marker=marker, color=colours[number])
        panel.set_title(curve)
    if loss is not None:
        _draw_distances(panels[count - 1], runs, loss, colours)
        panels[count - 1].set_title(f"|{loss} − {loss} of {names[0]}| / {loss}")
    for panel in panels[:count]:
        panel.set_xlabel("step")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [Line2D([], [], color=colour) for colour in colours]
    figure.legend(handles, list(names), loc="outside lower center", ncols=min(6, len(runs)), fontsize="small")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=110)
    except OSError as error:
        problem = why(error)
        raise RunError(f"{out}: expected a place that can be written to, found: {problem}") from None


def _curves(run: RecordedRun) -> Iterator[str]:
    shown = [metric.name for metric in run.metrics if is_shown(metric)]
    for curve in (*shown, GRADIENT.name, *(VALIDATION + name for name in shown)):
        if any(is_number(record.get(curve)) for record in run.records.values()):
            yield curve


def _loss(run: RecordedRun) -> str | None:
    """Name of what the run was trained on, as far as it says."""
    return next((metric.name for metric in run.metrics if metric.unit == "loss"), None)


def _points(run: RecordedRun, curve: str) -> tuple[list[int], list[float]]:
    points = {step: record[curve] for step, record in run.records.items() if record.get(curve) is not None}
    return list(points), list(points.values())


def _draw_distances(panel: Any, runs: Sequence[RecordedRun], loss: str, colours: Sequence[Any]) -> None:
    """How far each run's loss lies from the first's, over that, on a logarithmic scale that has 0."""
    first = dict(zip(*_points(runs[0], loss), strict=True))
    for run, colour in zip(runs[1:], colours[1:], strict=True):
        found = [(step, value) for step, value in zip(*_points(run, loss), strict=True) if first.get(step)]
        steps = [step for step, _ in found]
        panel.plot(steps, [abs(value - first[step]) / abs(first[step]) for step, value in found], color=colour)
    panel.set_yscale("symlog", linthresh=1e-8)
    panel.set_ylim(bottom=0)  # so that there are powers of ten between the ends, which are what is labelled
