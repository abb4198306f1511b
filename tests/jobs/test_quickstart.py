"""The whole path, as a newcomer runs it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from barcode_video import write_video

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "README.md").read_text()
VERBS = ["synth", "prepare", "prepare", "prepare", "train", "evaluate", "localize", "separate", "report"]
TINY = [
    "synth.train=24",
    "synth.validation=8",
    "synth.test=8",
    "prepare.rows_per_shard=16",
    "train.steps=6",
    "train.batch_size=16",
    "train.warmup_steps=2",
    "train.log_every=2",
    "train.checkpoint_every=3",
    "evaluate.examples=4",
]


def quickstart(out: Path, *overrides: str) -> tuple[list[str], dict[str, object]]:
    """The commands that it printed, and its result."""
    words = [word for override in overrides for word in ("--set", override)]
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "quickstart", "--out", str(out), "--json", *words],
        cwd=REPOSITORY,
        env=os.environ | {"WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    commands = [line.removeprefix("$ ") for line in done.stderr.splitlines() if line.startswith("$ gavt ")]
    return commands, json.loads(done.stdout.splitlines()[-1])


def test_quickstart_goes_from_nothing_to_a_report_and_prints_every_command(tmp_path):
    commands, result = quickstart(tmp_path / "run", *TINY)
    assert [command.split()[1] for command in commands] == VERBS
    assert Path(result["report"]).stat().st_size > 50_000
    names = [row["name"] for table in result["evaluation"]["tables"] for row in table["rows"]]
    assert {"model", "centre disc", "mean box", "image saliency", "untrained network", "shuffled audio"} < set(names)
    assert (tmp_path / "run" / "localize" / "overlay.mp4").stat().st_size > 1000
    assert (tmp_path / "run" / "separate" / "rest.wav").stat().st_size > 10_000
    # a printed command runs by itself
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *commands[-1].split()[1:]], cwd=REPOSITORY, check=False, capture_output=True
    )
    assert done.returncode == 0


@pytest.mark.slow
def test_short_videos_of_ones_own_go_the_way_that_the_first_page_shows(tmp_path):
    (videos := tmp_path / "my_videos").mkdir()
    for name, length_s in (("a", 1), ("b", 3), ("concert", 4), ("d", 7)):
        write_video(videos / f"{name}.mp4", length_s)
    (block,) = re.findall(r"^## Your own videos\n+```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    few = "train.steps=2 train.batch_size=4 task.group=4"
    gavt = f'gavt() {{ local few=; [ "$1" = train ] && few="{few}"; {sys.executable} -m jobs.cli "$@" $few; }}'
    commands = [gavt, *(line for line in block.splitlines() if line.startswith("gavt "))]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        cwd=tmp_path,
        env=os.environ | {"WANDB_MODE": "offline", "HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"repeated +3 +less sound than a sample holds", done.stdout)
    assert "its sound is shorter than the model hears at once, so it was repeated" in done.stdout
    assert (tmp_path / "out" / "concert" / "overlay.mp4").stat().st_size > 1000
    assert (tmp_path / "runs" / "mine" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_quickstarts_model_hears_where_the_sound_comes_from(tmp_path):
    _, result = quickstart(tmp_path / "run")
    tables = {table["measure"]: table for table in result["evaluation"]["tables"]}
    values = {row["name"]: row["values"] for row in tables["localisation"]["rows"]}
    deaf = max(values[name]["pointing"] for name in ("centre disc", "mean box", "image saliency"))
    assert values["model"]["pointing"] >= 2 * deaf
    assert values["model"]["ciou_adap"] >= 0.7
    assert values["model"]["iiou_adap"] >= 0.5
    assert values["untrained network"]["pointing"] <= 1.2 * deaf
    assert values["shuffled audio"]["pointing"] <= 0.4
    assert values["shuffled audio"]["iiou_adap"] <= 0.05
    off_screen = {row["name"]: row["values"] for row in tables["off_screen"]["rows"]}
    assert off_screen["model"]["auroc"] >= 0.9 > 0.8 > off_screen["loudness of the sound alone"]["auroc"]
