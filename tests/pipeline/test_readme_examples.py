"""What pipeline/README.md shows works: its files are written as they stand there, and its commands are run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_shards import write_shard_set

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "pipeline" / "README.md").read_text()
ROOTS = (REPOSITORY, REPOSITORY / "pipeline")
BLOCK = re.compile(r"^```(python|yaml|bash)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\S+/\S+)\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the page's files and a world lie, after its commands were run."""
    folder = tmp_path_factory.mktemp("readme")
    write_shard_set(folder / "shards" / "train", 16)
    write_shard_set(folder / "shards" / "test", 12, seed=1)
    commands = []
    for language, text in BLOCK.findall(PAGE):
        if language == "bash":
            commands.append(text)
            continue
        name = FILE.match(text)
        assert name, f"a block without the name of its file: {text[:80]}"
        file = folder / name[1]
        file.parent.mkdir(exist_ok=True)
        assert not file.exists(), file
        file.write_text(text)
    gavt = folder / "bin" / "gavt"
    gavt.parent.mkdir()
    gavt.write_text(f'#!/bin/sh\nexec {sys.executable} -m jobs.cli "$@"\n')
    gavt.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{gavt.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}",
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "disabled",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_input_model_and_objective_train(folder):
    records = [json.loads(line) for line in (folder / "runs/mine/metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2]
    assert all(0 <= record["nearest"] <= 1 for record in records)
    assert "validation/nearest" in records[-1]


def test_the_readout_and_the_measure_judge(folder):
    evaluation = json.loads((folder / "runs/mine/evaluation.json").read_text())
    tables = {table["measure"]: {row["name"]: row["values"] for row in table["rows"]} for table in evaluation["tables"]}
    assert tables["found_sounds"]["guessing"]["first"] == pytest.approx(2 / 12)  # a group of 8 and one of 4
    assert 0 <= tables["found_sounds"]["model"]["first"] <= 1
    assert "likeness" in tables["localisation"]
    assert "sounds found" in (folder / "runs/mine/report.html").read_text()


def test_every_file_and_package_that_the_page_names_is_there():
    packages = re.findall(r"^\| (`[^|]+) \|([^|]*)\|([^|]*)\|$", PAGE, re.MULTILINE)
    assert len(packages) > 20
    for names, _, files in packages:
        places = [REPOSITORY / "pipeline" / name for name in re.findall(r"`([^`]+)`", names)]
        assert all(place.exists() for place in places), names
        for file in re.findall(r"`([^`]+\.py)`", files):
            assert any((place / file).exists() for place in places), f"{names}: {file}"
    words = re.sub(r"^```.*?^```", "", PAGE, flags=re.DOTALL | re.MULTILINE)
    inside = re.findall(r"`([\w/]+/\w*(?:\.py|\.yaml)?)`", words)
    assert len(inside) > 40
    assert [place for place in inside if not any((root / place).exists() for root in ROOTS)] == []
