"""Curves of several runs in one picture."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.train.compare import CURVES, Run


def draw_curves(runs: Sequence[Run], names: Sequence[str], out: Path) -> None:
    """Draw every curve that the runs have, one panel a curve, one line a run; below, how far each run's loss lies from
    the first's.

    Args:
        names: of the runs, for the legend.
        out: the picture, PNG, SVG or PDF by its name.
    """
    from matplotlib.figure import Figure

    curves = [curve for curve in CURVES if any(record.get(curve) is not None for record in runs[0].records.values())]
    figure = Figure(figsize=(5 * (len(curves) + 1), 4.4), layout="constrained")
    panels = figure.subplots(1, len(curves) + 1, squeeze=False)[0]
    for panel, curve in zip(panels, curves, strict=False):
        for number, (run, name) in enumerate(zip(runs, names, strict=True)):
            points = [(step, record[curve]) for step, record in run.records.items() if record.get(curve) is not None]
            # lines that lie on each other are told apart by their dashes
            panel.plot(*zip(*points, strict=True), label=name, linewidth=1.4, linestyle=_dashes(number, len(runs)))
        panel.set_title(curve)
        panel.set_xlabel("step")
    apart = panels[-1]
    first = runs[0].records
    for run, name in zip(runs[1:], names[1:], strict=True):
        both = [
            (step, abs(record["loss"] - first[step]["loss"]) / abs(first[step]["loss"]))
            for step, record in run.records.items()
            if record.get("loss") is not None and first.get(step, {}).get("loss")
        ]
        apart.plot(*zip(*both, strict=True), label=name, linewidth=1.2)
    apart.set_yscale("symlog", linthresh=1e-8)
    apart.set_title(f"|loss − loss of {names[0]}| / loss")
    apart.set_xlabel("step")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(runs)), fontsize="small")
    figure.savefig(out, dpi=110)


def _dashes(number: int, runs: int) -> tuple[float, tuple[float, ...]]:
    return (4.0 * number, (4.0, 4.0 * (runs - 1))) if runs > 1 else (0.0, (1.0, 0.0))
