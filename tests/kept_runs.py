"""Runs that tests have disturbed, kept for a picture of their curves.

GAVT_KEEP_RUNS=DIR pytest -m slow tests/pipeline/train/test_slurm_training.py …     the tests keep them there
python tests/kept_runs.py DIR PICTURE                                               draws them

DIR/GROUP/undisturbed/metrics.jsonl
DIR/GROUP/what happened to it/metrics.jsonl
"""

import json
import os
import sys
from pathlib import Path

from cluster import storage

UNDISTURBED = "undisturbed"


def keep_run(run: str | Path, group: str, name: str = UNDISTURBED) -> None:
    """Keep what a run (path or URL) has recorded, where the variable names a folder for it.

    Args:
        group: of runs whose curves should be the same.
        name: what happened to it, in a few words.
    """
    if folder := os.environ.get("GAVT_KEEP_RUNS"):
        place = Path(folder) / group / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "metrics.jsonl").write_text(storage.read_text(storage.join(str(run), "metrics.jsonl")))


def draw(kept: Path, picture: Path) -> None:
    """Draw the losses of all groups, a column each; below, how far each lies from that of the undisturbed run."""
    from matplotlib.figure import Figure

    groups = sorted(folder for folder in kept.iterdir() if folder.is_dir())
    figure = Figure(figsize=(6.5 * len(groups), 7.5), layout="constrained")
    panels = figure.subplots(2, len(groups), squeeze=False, height_ratios=(3, 1))
    for above, below, group in zip(*panels, groups, strict=True):
        first = _losses(group / UNDISTURBED)
        others = sorted(run for run in group.iterdir() if run.name != UNDISTURBED)
        above.plot(*zip(*first.items(), strict=True), color="0.8", linewidth=9, label=UNDISTURBED)
        for number, run in enumerate(others):
            losses, width = _losses(run), 1 + 5 * (len(others) - 1 - number) / len(others)  # all can be seen
            shown = f"{run.name}: largest difference {max(abs(losses[step] - first[step]) for step in first):.1g}"
            (line,) = above.plot(*zip(*losses.items(), strict=True), linewidth=width, label=shown)
            below.plot(list(first), [abs(losses[step] - first[step]) for step in first], color=line.get_color())
        above.set_xlabel(group.name)
        above.set_ylabel("training loss")
        above.legend(fontsize="small", loc="lower right", bbox_to_anchor=(1, 1))
        below.set_yscale("symlog", linthresh=1e-9)
        below.set_ylim(0, 1e-1)
        below.set_ylabel("|difference|")
        below.set_xlabel("step")
    figure.savefig(picture, dpi=100)


def _losses(run: Path) -> dict[int, float]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {record["step"]: record["loss"] for record in records if "loss" in record}


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
