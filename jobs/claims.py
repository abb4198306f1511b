"""`gavt claims`: what papers claim, tried on your own data."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from jobs.output import JsonFlag, Overrides, console, print_json
from jobs.run_verb import run_verb

if TYPE_CHECKING:
    from pipeline.claims.trials import Trial
    from pipeline.claims.verdict import Verdict

VERDICTS = "verdicts.json"


def claims(
    files: Annotated[
        list[str],
        typer.Argument(help="Files of claims, or names of those in configs/claims/: direction, events/fusion."),
    ],
    train: Annotated[str, typer.Option(help="Shard set to train on, local or s3://.")],
    validation: Annotated[str, typer.Option(help="Shard set that chooses readouts.")],
    test: Annotated[str, typer.Option(help="Shard set that is judged on.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs and of verdicts.json.")] = Path("runs/claims"),
    form: Annotated[
        Literal["small", "full"], typer.Option(help="small: minutes on two cores. full: the paper's.")
    ] = "small",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each side; a verdict needs two or more.")] = 3,
    overrides: Overrides = None,
    as_json: JsonFlag = False,
) -> None:
    """Train and judge what each claim compares, and print a verdict for each. Runs are shared between claims; started
    again, it goes on where it stopped."""
    from pipeline.claims.settings import ClaimSettings
    from pipeline.claims.trials import trials_of
    from pipeline.claims.verdict import figure_of, judge
    from pipeline.settings.load import load_settings
    from pipeline.settings.shipped import settings_file

    words = [f"data.train={train}", f"data.validation={validation}", *(overrides or [])]
    named = [settings_file(file, "claims") for file in files]
    read = [(file, load_settings(file, ClaimSettings).settings) for file in named]
    planned = [
        trials_of(file, settings, form, seeds, words, out) for file, settings in read
    ]  # all are right, or none runs
    verdicts = []
    for (_, settings), trials in zip(read, planned, strict=True):
        figures: dict[str, list[float]] = {name: [] for name in settings.order}
        for trial in trials:
            evaluation = _evaluation(trial, test, as_json)
            row = settings.sides[trial.side].row
            figures[trial.side].append(figure_of(evaluation, settings.figure, row, str(trial.judged)))
        verdicts.append(judge(settings, figures))
    found = {"form": form, "seeds": seeds, "claims": [_as_json(verdict) for verdict in verdicts]}
    (out / VERDICTS).write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    screen = console(as_json)
    screen.print()
    screen.print(_shown(verdicts))
    screen.print(f"means over {seeds} seeds ± half of the 95 % interval; {out / VERDICTS}", soft_wrap=True)
    if any(verdict.published for verdict in verdicts):
        screen.print("in brackets the source's own figures, of other data and sizes: not comparable")
    if as_json:
        print_json(found)


def _evaluation(trial: "Trial", test: str, as_json: bool) -> dict[str, Any]:
    """What a trial's evaluation found; trains and judges what is not there yet."""
    from pipeline.evaluate.result import EVALUATION

    file = trial.judged / EVALUATION
    if not file.exists():
        run_verb(("train", trial.experiment, *trial.train, "--run", str(trial.run)), as_json, "claims")
        sets = [word for override in trial.evaluate for word in ("--set", override)]
        where = (str(trial.run), "--data", test, "--out", str(trial.judged))
        run_verb(("evaluate", *where, *sets), as_json, "claims")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _shown(verdicts: "list[Verdict]") -> Table:
    table = Table("claim", "figure", "sides", "difference", "verdict", box=None, pad_edge=False)
    styles = {"holds": "green", "contradicted": "red", "undecided": "yellow"}
    for verdict in verdicts:
        beside = {name: f" ({100 * value:.1f})" for name, value in verdict.published.items()}
        sides = "\n".join(
            f"{name} {_with_spread(values)}{beside.get(name, '')}" for name, values in verdict.figures.items()
        )
        differences = "\n".join(["", *(_percent(one.mean, one.half, "+") for one in verdict.differences.values())])
        table.add_row(
            f"{verdict.claim} ({verdict.source})", verdict.column, sides, differences, verdict.answer,
            style=styles[verdict.answer],
        )  # fmt: skip
    return table


def _with_spread(values: "Any") -> str:
    from pipeline.evaluate.spread import interval

    found = interval(values)
    return _percent(found.mean, found.half, "")


def _percent(mean: float, half: float, sign: str) -> str:
    spread = "" if math.isinf(half) else f" ± {100 * half:.1f}"
    return f"{100 * mean:{sign}.1f}{spread} %"


def _as_json(verdict: "Verdict") -> dict[str, Any]:
    found = asdict(verdict)
    for one in found["differences"].values():
        one["half"] = None if math.isinf(one["half"]) else one["half"]
    return found
