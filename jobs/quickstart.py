"""`gavt quickstart`: the whole path on a synthetic world, verb by verb."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from jobs.output import JsonFlag, Overrides, console, print_json
from jobs.run_verb import run_verb

CONFIG = "quickstart"
_SPLITS = ("train", "validation", "test")


def quickstart(
    out: Annotated[Path, typer.Option(help="Folder of everything that it makes.")] = Path("runs/quickstart"),
    overrides: Overrides = None,
    as_json: JsonFlag = False,
) -> None:
    """Videos, shards, a trained model, its evaluation and a report, in minutes; started again, it goes on.

    Each command is printed before it runs: the same ones work on your own videos.
    """
    shards = {split: str(out / "shards" / split) for split in _SPLITS}
    sets = [word for override in overrides or [] for word in ("--set", override)]
    seconds: dict[str, float] = {}

    def verb(*words: str) -> None:
        started = time.monotonic()
        run_verb(words, as_json, "quickstart")
        seconds[words[0]] = round(seconds.get(words[0], 0.0) + time.monotonic() - started, 1)

    started = time.monotonic()
    verb("synth", "--config", CONFIG, *sets, "--out", str(out / "world"))
    for split in _SPLITS:
        source = str(out / "world" / f"{split}.jsonl")
        verb("prepare", source, "--config", CONFIG, *sets, "--out", shards[split])
    data = [f"data.{split}={shards[split]}" for split in ("train", "validation")]
    verb("train", CONFIG, *data, *(overrides or []), "--run", str(out))
    verb("evaluate", str(out), "--data", shards["test"])
    video = _first_video(out / "world")
    verb("localize", video, "--checkpoint", str(out), "--out", str(out / "localize"))
    verb("separate", video, "--checkpoint", str(out), "--all", "--out", str(out / "separate"))
    verb("report", str(out))
    total = time.monotonic() - started
    shown = " · ".join(f"{name} {_clock(time_s)}" for name, time_s in seconds.items())
    console(as_json).print(f"\ndone in {_clock(total)}: {shown}\n{out / 'report.html'}", soft_wrap=True)
    if as_json:
        evaluation = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
        print_json({"seconds": seconds, "report": str(out / "report.html"), "evaluation": evaluation})


def _first_video(world: Path) -> str:
    row = json.loads((world / "test.jsonl").read_text(encoding="utf-8").splitlines()[0])
    return str(world / row["source"])


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
