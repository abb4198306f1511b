"""`gavt doctor`: tables for people, JSON for programs, an exit code for scripts."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.local.ray_cluster import RayCluster
from wandb_server import KEY

ROOT = Path(__file__).parents[2]


def test_a_broken_machine_ends_with_code_1_and_names_what_is_wrong_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--json"])
    assert left.value.code == 1
    told = capsys.readouterr()
    result = json.loads(told.out.splitlines()[-1])
    (findings,) = result["machines"].values()
    wandb = next(finding for finding in findings if finding["check"] == "wandb")
    assert (result["state"], wandb["state"]) == ("fail", "fail")
    assert "checks failed: wandb" in told.err
    assert "WANDB_MODE=offline does without" in wandb["advice"]
    assert KEY not in told.out + told.err


def test_a_machine_that_will_do_ends_with_code_0_without_importing_torch(tmp_path: Path) -> None:
    script = "import sys; from jobs.cli import main\ntry: main(['doctor'])\nfinally: print('torch' in sys.modules)"
    away = {"RAY_ADDRESS", "SLURM_CONF"}
    environment = {name: value for name, value in os.environ.items() if name not in away}
    environment |= {"WANDB_MODE": "offline", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "False"
    assert "temporary files" in done.stdout


def test_what_is_no_place_or_no_job_is_wrong_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for words, said in (
        (["shards/train"], "shards/train: expected a place on object storage, such as s3://bucket/prefix"),
        (["--in-job"], "--in-job: expected a launcher's variables (RANK, …) or RAY_ADDRESS, found neither"),
    ):
        with pytest.raises(SystemExit) as left:
            main(["doctor", *words])
        assert left.value.code == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_all_nodes_of_a_ray_cluster_are_examined_and_add_up(tmp_path: Path) -> None:
    root = Path(tempfile.mkdtemp(prefix="gavt-rd-", dir="/tmp"))
    cluster = RayCluster(root, 1)
    try:
        cluster.start_node()
        cluster.start_node()
        command = [sys.executable, "-m", "jobs.cli", "doctor", "--in-job", "--json"]
        variables = cluster.environment() | {"RAY_ADDRESS": cluster.address, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
        result = json.loads(done.stdout.splitlines()[-1])
        assert len(result["machines"]) == 2
        assert [(one["check"], one["state"]) for one in result["between"]] == [
            ("ranks", "ok"),
            ("same versions", "ok"),
            ("all-reduce", "ok"),
        ]
    finally:
        cluster.stop()
        shutil.rmtree(root)
