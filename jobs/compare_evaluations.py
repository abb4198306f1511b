"""`gavt compare --against`: two models, or two sides of several seeds, on the same samples."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from jobs.output import console, print_json

if TYPE_CHECKING:
    from pipeline.evaluate.measures.contract import Column
    from pipeline.evaluate.paired_bootstrap import Difference


def compare_evaluations(
    one: Sequence[str], other: Sequence[str], row: str, draws: int, seed: int, as_json: bool
) -> None:
    """Print the differences of a row's figures.

    Raises:
        RunError: there is no evaluation, or nothing in common.
    """
    from pipeline.evaluate.paired_bootstrap import compare_scores
    from pipeline.evaluate.run_files import evaluation_of, run_folder
    from pipeline.evaluate.sample_scores import read_scores

    folders = [run_folder(run) for run in (*one, *other)]
    evaluations = [evaluation_of(folder) for folder in folders]
    scores = [read_scores(folder) for folder in folders]
    found = compare_scores(scores[: len(one)], scores[len(one) :], row, draws, seed)
    said = _judged_otherwise(dict(zip(folders, evaluations, strict=True)))
    screen = console(as_json)
    for folder, evaluation in zip(folders, evaluations, strict=True):
        if evaluation["label_aided"]:
            screen.print(f"{folder}: {evaluation['label_aided']}", style="bold yellow", soft_wrap=True)
    screen.print(f"{row}: {' '.join(folders[: len(one)])} less {' '.join(folders[len(one) :])}", soft_wrap=True)
    screen.print(_shown(found, _columns(evaluations[0])))
    screen.print(_about(found, draws, seed), soft_wrap=True)
    for sentence in said:
        screen.print(f"warning: {sentence}", style="yellow", soft_wrap=True)
    if as_json:
        differences = [asdict(difference) | {"difference": difference.difference} for difference in found]
        sides = {"one": folders[: len(one)], "other": folders[len(one) :]}
        print_json({**sides, "row": row, "draws": draws, "seed": seed, "differences": differences, "warnings": said})


def _judged_otherwise(evaluations: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences of what some of them were judged by."""
    said = []
    for name in ("data", "geometry", "alignment_geometry", "align_corners"):
        values = {folder: evaluation.get(name) for folder, evaluation in evaluations.items()}
        if len(set(values.values())) > 1:
            told = ", ".join(f"{folder} with {value}" for folder, value in values.items())
            said.append(f"judged with another {name}: {told}")
    return said


def _columns(evaluation: Mapping[str, Any]) -> "dict[tuple[str, str], tuple[str, Column]]":
    """By measure and name the columns, with their table's title; of several tables of a measure those of the first."""
    from pipeline.evaluate.measures.contract import tables_of

    found: dict[tuple[str, str], tuple[str, Column]] = {}
    for table in tables_of(evaluation):
        for column in table.columns:
            found.setdefault((table.measure, column.name), (table.title, column))
    return found


def _shown(found: "Sequence[Difference]", columns: "Mapping[tuple[str, str], tuple[str, Column]]") -> Table:
    from pipeline.evaluate.report.figures import figure, heading

    heads = ("table", "figure", "one", "other", "difference", "95 % interval", "p", "over seeds", "samples", "left out")
    table = Table(*heads, box=None, pad_edge=False)
    for head in table.columns[2:]:
        head.justify = "right"
    for one in found:
        title, column = columns[one.measure, one.column]
        numbers = [figure(value, column.unit) for value in (one.one, one.other)]
        table.add_row(
            title,
            heading(column.title, column.unit),
            *numbers,
            figure(one.difference, column.unit, signed=True),
            f"{figure(one.low, column.unit, signed=True)} to {figure(one.high, column.unit, signed=True)}",
            f"{one.p:.2g}",
            "–" if one.over_seeds is None else f"± {figure(one.over_seeds, column.unit)}",
            f"{one.samples:,}",
            f"{one.left_out:,}",
        )
    return table


def _about(found: "Sequence[Difference]", draws: int, seed: int) -> str:
    clusters = ", ".join(f"{count:,}" for count in dict.fromkeys(one.clusters for one in found))
    over_seeds = any(one.over_seeds is not None for one in found)
    seeds = "; over seeds: half of Student's 95 % interval of the difference, pair by pair" if over_seeds else ""
    return (
        f"shares in per cent; interval and two-sided p by a paired bootstrap ({draws:,} draws, seed {seed}) of the "
        f"images or videos that samples are of ({clusters}); left out: samples that not all evaluations have{seeds}"
    )
