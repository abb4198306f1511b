"""The ready scripts of jobs/slurm/, which do without gavt's command of submitting."""

import os
import subprocess
from pathlib import Path

import pytest

from jobs.local.slurm import SlurmCluster
from small_job import wait_until

SCRIPTS = Path(__file__).parents[2] / "jobs" / "slurm"
GAVT = """#!/usr/bin/env python3
import os, pathlib, sys
rank = os.environ["SLURM_PROCID"]
count = pathlib.Path("count-" + rank)
number = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(number))
pathlib.Path(f"words-{rank}-{number}").write_text("|".join(sys.argv[1:]))
sys.exit(75 if number == 1 else 0)
"""


@pytest.mark.slow  # a requeued job waits for ten seconds
def test_the_training_script_starts_all_ranks_and_has_a_run_that_left_requeued(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gavt").write_text(GAVT)
    (tmp_path / "bin" / "gavt").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    options = ["--nodes=2", "--ntasks-per-node=2", "--gpus-per-node=2", "--time=5"]
    words = ["a b.yaml", "$(touch pwned)", "--run", "it's"]
    subprocess.run(["sbatch", *options, SCRIPTS / "train.sbatch", *words], cwd=tmp_path, check=True)
    wait_until(lambda: len(list(tmp_path.glob("words-*-2"))) == 4, 90)
    assert {file.read_text() for file in tmp_path.glob("words-*")} == {"|".join(["train", *words])}
    assert list(tmp_path.glob("*pwned")) == []


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sbatch")), ids=lambda script: script.name)
def test_slurm_takes_the_scripts_options(slurm: SlurmCluster, script: Path) -> None:
    small = ["--gpus-per-node=1", "--ntasks-per-node=1", "--nodes=1", "--time=5", "--test-only"]
    done = subprocess.run(["sbatch", *small, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert subprocess.run(["bash", "-n", script]).returncode == 0
