"""`gavt checkpoint`: what a run has saved, whether it is whole, and taking it elsewhere."""

from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jobs.output import JsonFlag, console, print_json

if TYPE_CHECKING:
    from pipeline.train.checkpoints.listing import Listed

app = typer.Typer(help="List, verify, convert and export checkpoints.", no_args_is_help=True)
Place = Annotated[str, typer.Argument(help="Run folder, its checkpoints/ or one step's folder, local or s3://.")]


@app.callback()
def checkpoint() -> None:
    """List, verify, convert and export checkpoints."""


@app.command("ls")
def ls(place: Place, as_json: JsonFlag = False) -> None:
    """The checkpoints of a run: step, time, size, what saved them; whole, torn or damaged; which one `latest` names,
    and from which one a run would go on where that is another."""
    from pipeline.train.checkpoints.listing import latest_name, list_checkpoints

    found = list_checkpoints(place)
    goes_on = next((listed.url for listed in reversed(found) if listed.whole), None)
    rows = [_row(listed, listed.url == goes_on) for listed in found]
    table = Table("step", "saved (UTC)", "size", "processes", "ZeRO", "precision", "state", box=None, pad_edge=False)
    for column in (0, 2, 3, 4):
        table.columns[column].justify = "right"
    for row in rows:
        told = ("step", "saved", "size", "world_size", "zero_stage", "precision")
        words = ["–" if row[name] is None else str(row[name]) for name in told]
        state = row["state"] + (", latest" if row["latest"] else "")
        state += ", a run goes on from here" if row["resume"] and not row["latest"] else ""
        table.add_row(*words, state, style=None if row["whole"] else "dim")
    screen, latest = console(as_json), latest_name(place)
    screen.print(table)
    if latest is not None and not any(row["latest"] for row in rows):
        screen.print(f"{place}: latest names {latest or 'nothing'}, which is not there", style="yellow", soft_wrap=True)
    if as_json:
        print_json({"checkpoints": rows, "latest": latest})


@app.command("verify")
def verify(place: Place, as_json: JsonFlag = False) -> None:
    """Compare every file of the whole checkpoints with its hash; exit code 2 if one is damaged, or none is whole."""
    from pipeline.errors import CheckpointError
    from pipeline.train.checkpoints.listing import list_checkpoints
    from pipeline.train.checkpoints.verify import problems

    screen, found = console(as_json), []
    for listed in list_checkpoints(place):
        if listed.damage is not None:
            screen.print(listed.damage, soft_wrap=True)
            found.append({"checkpoint": listed.url, "whole": True, "files": 0, "problems": [listed.damage]})
            continue
        if listed.checkpoint is None:
            screen.print(f"{listed.url}: torn, never resumed from", soft_wrap=True)
            found.append({"checkpoint": listed.url, "whole": False, "files": 0, "problems": []})
            continue
        wrong, files = list(problems(listed.checkpoint)), len(listed.checkpoint.manifest["files"])
        told = f"{len(wrong)} of {files} files damaged" if wrong else f"{files} files whole"
        screen.print(f"{listed.url}: {told}", soft_wrap=True)
        for problem in wrong:
            screen.print(f"  {problem}", soft_wrap=True)
        found.append({"checkpoint": listed.url, "whole": True, "files": files, "problems": wrong})
    if as_json:
        print_json({"checkpoints": found})
    damaged = [entry["checkpoint"] for entry in found if entry["problems"]]
    if damaged:
        raise CheckpointError(f"{damaged[0]}: damaged; a run goes on from an older checkpoint that is whole")
    if not any(entry["whole"] for entry in found):
        raise CheckpointError(f"{place}: expected a checkpoint to verify, found torn ones only")


@app.command("convert")
def convert(
    place: Place,
    out: Annotated[str, typer.Option(help="New run folder, local or s3://.")],
    as_json: JsonFlag = False,
) -> None:
    """Write a checkpoint, its states whole in one file, to a new run folder that a run can go on in.

    To go on with other processes, another ZeRO stage or precision, this is not needed: `gavt train` does it by itself.
    """
    from pipeline.train.checkpoints.convert import convert as convert_checkpoint

    result = convert_checkpoint(place, out)
    told = f"{result.checkpoint} → {out}: step {result.step}, {_size(result.bytes)}"
    console(as_json).print(told, soft_wrap=True)
    if as_json:
        print_json(asdict(result))


@app.command("export")
def export(
    place: Place,
    out: Annotated[str, typer.Option(help="New folder of the model, local or s3://.")],
    raw: Annotated[bool, typer.Option("--raw", help="The weights themselves, not their moving average.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a model to hand on: safetensors, settings and how to load it; it needs no DeepSpeed."""
    from pipeline.train.checkpoints.export import export as export_model

    result = export_model(place, out, raw)
    which = "moving average" if result.weights == "average" else "weights"
    told = f"{result.checkpoint} → {out}: {which} of step {result.step}, {_size(result.bytes)}"
    console(as_json).print(told, soft_wrap=True)
    if as_json:
        print_json(asdict(result))


def _row(listed: "Listed", resume: bool) -> dict[str, Any]:
    manifest = listed.checkpoint.manifest if listed.checkpoint is not None else {}
    saved = manifest.get("time")
    step = listed.url.rstrip("/").rpartition("/")[2].removeprefix("step-")
    return {
        "url": listed.url,
        "step": manifest.get("step", int(step) if step.isdigit() else None),
        "time": saved,
        "saved": None if saved is None else datetime.fromtimestamp(saved, timezone.utc).strftime("%Y-%m-%d %H:%M:%S"),
        "bytes": listed.bytes,
        "size": _size(listed.bytes),
        "world_size": manifest.get("world_size"),
        "zero_stage": manifest.get("zero_stage"),
        "precision": manifest.get("precision"),
        "whole": listed.whole,
        "state": _state(listed),
        "latest": listed.latest,
        "resume": resume,
    }


def _state(listed: "Listed") -> str:
    if listed.damage is not None or listed.lacking is not None:
        return "damaged: never resumed from"
    return "whole" if listed.checkpoint is not None else "torn: never resumed from"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
