"""Curves of several runs in one picture."""

from collections.abc import Sequence
from pathlib import Path

from cluster.os_errors import why
from pipeline.errors import RunError
from pipeline.train.records.compare import CURVES, Run

_COLUMNS = 3


def draw_curves(runs: Sequence[Run], names: Sequence[str], out: Path) -> None:
    """Draw every curve that the runs have, one panel a curve, one line a run; below, how far each run's loss lies from
    the first's.

    Args:
        names: of the runs, for the legend.
        out: the picture, PNG, SVG or PDF by its name.

    Raises:
        RunError: it can't be written there.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    curves = [curve for curve in CURVES if any(record.get(curve) is not None for record in runs[0].records.values())]
    rows = -(-(len(curves) + 1) // _COLUMNS)
    figure = Figure(figsize=(5 * _COLUMNS, 3.6 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    for panel in panels[len(curves) + 1 :]:
        panel.set_axis_off()
    palette = matplotlib.colormaps["tab20" if len(runs) > 10 else "tab10"]
    colours = [palette(number % palette.N) for number in range(len(runs))]
    for panel, curve in zip(panels, curves, strict=False):
        for number, (run, name) in enumerate(zip(runs, names, strict=True)):
            points = [(step, record[curve]) for step, record in run.records.items() if record.get(curve) is not None]
            # the first lies widest below, so that all can be seen where they lie on each other
            width = 1 + 7 * (len(runs) - 1 - number) / len(runs)
            panel.plot(*zip(*points, strict=True), label=name, linewidth=width, color=colours[number])
        panel.set_title(curve)
    apart = panels[len(curves)]
    first = runs[0].records
    for number, (run, name) in enumerate(zip(runs[1:], names[1:], strict=True), 1):
        both = [
            (step, abs(record["loss"] - first[step]["loss"]) / abs(first[step]["loss"]))
            for step, record in run.records.items()
            if record.get("loss") is not None and first.get(step, {}).get("loss")
        ]
        apart.plot(*zip(*both, strict=True), label=name, linewidth=1.2, color=colours[number])
    apart.set_yscale("symlog", linthresh=1e-8)
    apart.set_ylim(bottom=0)  # so that there are powers of ten between the ends, which are what is labelled
    apart.set_title(f"|loss − loss of {names[0]}| / loss")
    for panel in panels[: len(curves) + 1]:
        panel.set_xlabel("step")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(runs)), fontsize="small")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=110)
    except OSError as error:
        problem = why(error)
        raise RunError(f"{out}: expected a place that can be written to, found: {problem}") from None
