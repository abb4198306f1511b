"""What evaluations of several runs say together: of each figure the mean over runs, its spread, and the single values.

The runs are of the same settings with other seeds, or of what else is to be averaged over.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from pipeline.errors import RunError
from pipeline.evaluate.coverage import Coverage, added_coverage
from pipeline.evaluate.measures.contract import Row, Table, as_json, tables_of
from pipeline.evaluate.result import LABEL_FREE, Evaluation
from pipeline.evaluate.spread import interval

OVER_RUNS = "evaluations.json"


class JudgedRun(TypedDict):
    """One of the runs: `name` is the last part of its `folder`, or all of it where others end alike."""

    name: str
    folder: str
    checkpoint: str
    step: int
    label_aided: str | None


class EvaluationOverRuns(TypedDict):
    """The content of `evaluations.json`. Rows of `tables` have means over `runs` as values, half of the 95 % interval
    as spread, and in `of_runs` the value of each run. `left_out` and `warnings` say of which runs they are."""

    runs: list[JudgedRun]
    tables: list[dict[str, Any]]
    left_out: list[str]
    warnings: list[str]
    samples: int
    coverage: Coverage
    data: str
    validation: str | None


def over_runs(evaluations: Sequence[Evaluation], folders: Sequence[str], splits: bool = False) -> EvaluationOverRuns:
    """Put evaluations of different runs together, which lie in `folders`.

    Args:
        splits: each is of another split of a benchmark, which the mean is over: of samples of its own.

    Raises:
        RunError: they are of other samples, or were judged in another way.
    """
    first, *others = evaluations
    for other in others:
        _check_alike(first, other, splits)
    names, of_runs = names_of(folders), [tables_of(one) for one in evaluations]
    return EvaluationOverRuns(
        runs=[
            JudgedRun(
                name=name,
                folder=folder,
                checkpoint=one["checkpoint"],
                step=one["step"],
                label_aided=one["label_aided"],
            )
            for name, folder, one in zip(names, folders, evaluations, strict=True)
        ],
        tables=as_json(tables_over_runs(of_runs, names)),
        left_out=_said(names, [one["left_out"] for one in evaluations]),
        warnings=_said(names, [one["warnings"] for one in evaluations]),
        samples=sum(one["samples"] for one in evaluations) if splits else first["samples"],
        coverage=added_coverage([one["coverage"] for one in evaluations]) if splits else first["coverage"],
        data=", ".join(dict.fromkeys(one["data"] for one in evaluations)),
        validation=", ".join(dict.fromkeys(one["validation"] or "nothing" for one in evaluations))
        if any(one["validation"] for one in evaluations)
        else None,
    )


def _check_alike(one: Mapping[str, Any], other: Mapping[str, Any], splits: bool) -> None:
    of_samples = () if splits else ("data", "samples", "validation")
    for name in (*of_samples, "geometry", "alignment_geometry", "align_corners"):
        if one[name] != other[name]:
            raise RunError(
                f"{other['checkpoint']}: expected to be judged with {name} = {one[name]} as {one['checkpoint']} was, "
                f"found {other[name]}"
            )


def names_of(folders: Sequence[str]) -> list[str]:
    """Short names of runs: the last parts of their folders; the whole folder of those that end alike."""
    last = [folder.rstrip("/").rpartition("/")[2] for folder in folders]
    return [name if last.count(name) == 1 else folder for name, folder in zip(last, folders, strict=True)]


def tables_over_runs(of_runs: Sequence[Sequence[Table]], names: Sequence[str]) -> list[Table]:
    """One table of each that all runs have; a measure that some could not be judged by is told by their `left_out`.

    Raises:
        RunError: they have none in common.
    """
    by_place = [_by_place(tables) for tables in of_runs]
    shared = [place for place in by_place[0] if all(place in one for one in by_place)]
    if not shared:
        told = "; ".join(
            f"{name} has {', '.join(place[0] for place in one) or 'none'}"
            for name, one in zip(names, by_place, strict=True)
        )
        raise RunError(f"expected runs that were judged by the same measures, found no table in common: {told}")
    return [_over_runs([one[place] for one in by_place], names) for place in shared]


def _by_place(tables: Sequence[Table]) -> dict[tuple[str, int], Table]:
    """Tables by their measure, and the how manieth of it they are."""
    seen: Counter[str] = Counter()
    placed = {}
    for table in tables:
        placed[table.measure, seen[table.measure]] = table
        seen[table.measure] += 1
    return placed


def _over_runs(tables: Sequence[Table], names: Sequence[str]) -> Table:
    """The means of one table's rows; those that only some runs have are left out and told."""
    first, by_name = tables[0], [{row.name: row for row in table.rows} for table in tables]
    rows = [
        _mean([rows[row.name] for rows in by_name]) for row in first.rows if all(row.name in one for one in by_name)
    ]
    some = dict.fromkeys(name for rows in by_name for name in rows if any(name not in other for other in by_name))
    notes = [f"± is half of the 95 % interval of the mean over {len(tables)} runs, by Student's t"] if rows else []
    notes += [sentence for sentence in first.notes if all(sentence in table.notes for table in tables)]
    if some:
        notes.append(f"rows that not all runs have are left out: {', '.join(some)}")
    return Table(
        first.measure,
        first.title,
        first.columns,
        tuple(rows),
        first.samples if len({table.samples for table in tables}) == 1 else sum(table.samples for table in tables),
        about=first.about,
        notes=tuple(notes),
        warnings=tuple(_said(names, [table.warnings for table in tables])),
    )


def _mean(rows: Sequence[Row]) -> Row:
    """One row of each run's; a figure that one of them lacks has no mean."""
    first, values, spread = rows[0], dict[str, float | None](), dict[str, float]()
    if first.kind == "other" and all(row.values == first.values for row in rows):
        return first  # what was published is no mean over these runs
    of_runs = {column: [row.values.get(column) for row in rows] for column in first.values}
    for column, found in of_runs.items():
        known = [value for value in found if value is not None]
        values[column] = None
        if len(known) == len(rows):
            over = interval(known)
            values[column] = over.mean
            if len(known) > 1:
                spread[column] = over.half
    made_by = ", ".join(dict.fromkeys(row.made_by for row in rows if row.made_by)) or None
    costs = {row.cost for row in rows}
    cost = first.cost if len(costs) == 1 else None
    return Row(first.name, first.kind, values, spread, made_by, cost, of_runs=of_runs)


def _said(names: Sequence[str], sentences: Sequence[Sequence[str]]) -> list[str]:
    """Sentences, each once, with the runs of which they were said unless it is all."""
    of: dict[str, list[str]] = {}
    for name, said in zip(names, sentences, strict=True):
        for sentence in said:
            of.setdefault(sentence, []).append(name)
    return [
        sentence if len(runs) == len(names) else f"{', '.join(dict.fromkeys(runs))}: {sentence}"
        for sentence, runs in of.items()
    ]


def said_of_labels(evaluation: Mapping[str, Any]) -> list[str]:
    """Whether labels helped in training: of one run or of several."""
    if "runs" not in evaluation:
        return [evaluation["label_aided"] or LABEL_FREE]
    return _said([run["name"] for run in evaluation["runs"]], [said_of_labels(run) for run in evaluation["runs"]])


def summary(together: Mapping[str, Any]) -> str:
    """Of what runs and samples the figures are, in a sentence."""
    runs = ", ".join(f"{run['name']} (step {run['step']:,})" for run in together["runs"])
    return f"{runs}; {together['samples']:,} samples of {together['data']}"
