"""What a run on object storage sends there, and what it takes from there and from its local folder."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest

from cluster import lease, storage
from cluster.errors import InUseError, StorageError
from cluster.exit_codes import IN_USE
from faulty_proxy import FaultyProxy
from jobs.cli import main
from jobs.local.s3 import S3Server
from pipeline.errors import RunError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.loop import train
from pipeline.train.run.remote_logs import local_folder, note_crash
from pipeline.train.run.remote_run import fetch_run, run_place
from pipeline.train.run.run_folder import locked
from pipeline.train.run.sync import sync_run


def test_only_what_has_changed_is_sent_again(group, s3_server: S3Server, s3_bucket, monkeypatch: pytest.MonkeyPatch):
    with FaultyProxy(s3_server.endpoint, share=0) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)

        def put() -> Counter[str]:
            """Names in the run of what was sent since the last call, and how often."""
            requests, proxy.requests[:] = list(proxy.requests), []
            names = [one.path.partition("/run/")[2] for one in requests if one.method == "PUT"]
            return Counter(name for name in names if name != ".lock")  # which is renewed at any moment

        run = f"{s3_bucket}/run"
        for start in range(2):
            with run_place(run, group) as place:
                folder, publish = place.folder, place.publish
                maps, log = folder / "maps", folder / "metrics.jsonl"
                maps.mkdir(exist_ok=True)
                for number in range(3):
                    name = f"step-{start}{number}.png"
                    (maps / name).write_bytes(bytes(1000))
                    with log.open("a") as file:
                        file.write("a record\n")
                    put()
                    publish()
                    assert put() == Counter([f"maps/{name}", "metrics.jsonl"])
                publish()
                assert put() == Counter()
                (maps / "step-00.png").write_bytes(bytes(999))
                storage.remove(f"{run}/maps/step-01.png")  # by somebody else
                publish()
                assert put() == Counter(["maps/step-00.png", "maps/step-01.png"])
        assert len(storage.list_files(f"{run}/maps")) == 6
        assert storage.read_text(f"{run}/metrics.jsonl").count("a record") == 6


def put(bucket: str, key: str, content: bytes = b"planted") -> None:
    """An object under any key, as whoever may write to the bucket can make it."""
    client = botocore.session.get_session().create_client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    client.put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=content)


@pytest.mark.parametrize(
    "key",
    [
        "run/../../planted",
        "run/maps/../../../planted",
        "run//planted",
        "run/checkpoints/step-0000000001/../../../planted",
        "run/a\\..\\planted",
        "run/wandb/run_id/planted",
    ],
)
def test_keys_that_lead_out_of_a_run_are_refused_and_nothing_is_written(
    group, s3_bucket, tmp_path, monkeypatch: pytest.MonkeyPatch, key: str
):
    run, place = f"{s3_bucket}/run", tmp_path / "deep" / "temporary"
    place.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(place))
    for name in ("metrics.jsonl", "events.jsonl", "wandb/run_id"):
        storage.write_text(f"{run}/{name}", "{}\n")
    put(s3_bucket, key)
    refused = r"s3://.*: expected a (name that can lie below a folder|file in a folder), found"
    with pytest.raises(StorageError, match=refused), run_place(run, group):
        pass
    with pytest.raises(StorageError, match=refused):
        fetch_run(run, tmp_path / "fetched")
    if key.startswith("run/maps"):  # of the others sync takes none
        with pytest.raises(StorageError, match=refused):
            sync_run(run)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {".lock"}


def test_empty_objects_that_stand_for_folders_do_no_harm(group, s3_bucket, tmp_path, monkeypatch):
    """Web consoles of object storage make them."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    storage.write_text(f"{s3_bucket}/run/metrics.jsonl", "{}\n")
    for key in ("run/", "run/maps/"):
        put(s3_bucket, key, b"")
    with run_place(f"{s3_bucket}/run", group) as place:
        assert {path.name for path in place.folder.rglob("*") if path.is_file()} == {".lock", "metrics.jsonl"}


def test_what_checkpoints_logs_and_jobs_hold_is_not_fetched(group, s3_bucket, tmp_path, monkeypatch):
    """However many attempts a job had, a start fetches no more."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in ("metrics.jsonl", "jobs/first/job.json", "jobs/first/attempt-1/rank-0.log", "logs/rank-7.log"):
        storage.write_text(f"{s3_bucket}/run/{name}", "{}\n")
    with run_place(f"{s3_bucket}/run", group) as place:
        assert {path.name for path in place.folder.rglob("*") if path.is_file()} == {".lock", "metrics.jsonl"}
    assert storage.exists(f"{s3_bucket}/run/jobs/first/job.json")


@pytest.mark.parametrize("planted", ["link", "open to others"])
def test_a_run_does_not_work_in_what_others_planted_at_its_local_name(
    group, s3_bucket, tmp_path, monkeypatch: pytest.MonkeyPatch, planted: str
):
    """In a folder that all users share the name can be guessed: a link there once emptied a home folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    run, home = f"{s3_bucket}/run", tmp_path / "home"
    (home / "thesis").mkdir(parents=True)
    (home / "thesis" / "chapter.tex").write_text("years of work")
    folder = local_folder(run)
    if planted == "link":
        folder.symlink_to(home)
    else:
        folder.mkdir()
        folder.chmod(0o777)
    with (
        pytest.raises(StorageError, match=rf"{folder}: expected a folder that only this user can change"),
        run_place(run, group),
    ):
        pass
    with pytest.raises(StorageError, match="expected a folder that only this user can change"):
        note_crash(run, rank=0)
    assert (home / "thesis" / "chapter.tex").read_text() == "years of work"
    assert [path.name for path in home.iterdir()] == ["thesis"]


def test_a_link_in_a_killed_jobs_folder_is_removed_and_not_what_it_leads_to(
    group, s3_bucket, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "kept").touch()
    folder = local_folder(f"{s3_bucket}/run")
    folder.mkdir()
    (folder / "maps").symlink_to(tmp_path / "home")
    with run_place(f"{s3_bucket}/run", group) as place:
        assert place.folder == folder
        assert {path.name for path in folder.rglob("*") if not path.is_dir()} == {".lock"}
    assert (tmp_path / "home" / "kept").exists()


HOLD = """
import socket, sys, time
socket.gethostname = lambda: "elsewhere"
from cluster.lease import Lease
with Lease(sys.argv[1], "gavt train"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def held_elsewhere(s3_bucket) -> Iterator[str]:
    """A run in which a process trains, of another machine as far as one can see."""
    run = f"{s3_bucket}/run"
    process = subprocess.Popen([sys.executable, "-c", HOLD, f"{run}/.lock"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield run
    finally:
        process.kill()
        process.wait()


def test_a_run_that_another_machine_trains_in_is_refused_with_who_and_since_when_and_not_submitted(
    group, held_elsewhere, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    who = rf"{held_elsewhere}: another gavt train works on it \(process \d+ on elsewhere since 20[\d: -]+ UTC\); wait"
    with pytest.raises(InUseError, match=who), run_place(held_elsewhere, group):
        pass
    words = ["configs/experiments/quickstart.yaml", "data.train=shards/none", "--to", "local", "--run", held_elsewhere]
    monkeypatch.chdir(Path(__file__).parents[4])
    with pytest.raises(SystemExit) as ended:
        main(["submit", "train", *words])
    assert ended.value.code == IN_USE
    assert re.match(f"gavt: {who}", capsys.readouterr().err)
    assert [file.url for file in storage.list_files(held_elsewhere)] == [f"{held_elsewhere}/.lock"]


def test_a_job_that_stood_still_until_another_took_over_publishes_no_more(group, s3_bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    run = f"{s3_bucket}/run"

    def stand_still() -> None:
        with run_place(run, group) as place:
            (place.folder / "metrics.jsonl").write_text("mine")
            storage.write_text(f"{run}/metrics.jsonl", "the other's")
            storage.write_text(f"{run}/.lock", json.dumps({"token": "x", "host": "far", "pid": 7}))
            place.publish()

    with pytest.raises(InUseError, match=r"gavt train goes on elsewhere \(process 7 on far"):
        stand_still()
    assert storage.read_text(f"{run}/metrics.jsonl") == "the other's"
    assert json.loads(storage.read_text(f"{run}/.lock"))["host"] == "far"


def test_a_job_whose_run_was_taken_over_stops_at_once_and_leaves_it_as_it_is(
    command, group, s3_bucket, tmp_path, monkeypatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(lease, "RENEW_S", 0.1)
    run, steps = f"{s3_bucket}/run", []
    words = [f"train.{name}=2000" for name in ("steps", "checkpoint_every", "validate_every")]
    settings = load_settings(str(command.config), ExperimentSettings, ["train.log_every=1", *words]).settings

    def take_over(record: dict) -> None:
        steps.append(record["step"])
        if record["step"] == 5:
            storage.write_text(f"{run}/.lock", json.dumps({"token": "x", "host": "far", "pid": 7}))

    with pytest.raises(InUseError, match=rf"{run}: gavt train goes on elsewhere \(process 7 on far since .*stops here"):
        train(settings, run, group, take_over)
    assert 5 <= steps[-1] < 2000
    assert [file.url for file in storage.list_files(run)] == [f"{run}/.lock"]
    assert json.loads(storage.read_text(f"{run}/.lock"))["host"] == "far"


def test_machines_that_have_one_place_for_temporary_files_work_in_a_folder_each(
    group, s3_bucket, tmp_path, monkeypatch
):
    """As nodes of a test's cluster do; and of Ray, which have another name whenever they start."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    run, folders = f"{s3_bucket}/run", {}
    for node in ("gone", "other", "here"):
        monkeypatch.setenv("GAVT_NODE", node)
        folders[node] = local_folder(run)
    for node in ("gone", "other"):
        folders[node].mkdir(mode=0o700)
        (folders[node] / ".lock").touch()
        os.utime(folders[node] / ".lock", (0, 0))
    with locked(folders["other"]), run_place(run, group) as place:
        assert place.folder == folders["here"]
        assert set(tmp_path.glob("gavt-run-*")) == {folders["other"], folders["here"]}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_something_else_named_lock_in_a_run_folder_is_said_at_once(group, tmp_path, kind: str):
    (os.mkfifo if kind == "pipe" else os.mkdir)(tmp_path / ".lock")
    with (
        pytest.raises(RunError, match=rf"{tmp_path}/\.lock: .* found: expected a file to lock, found a {kind}"),
        run_place(str(tmp_path), group),
    ):
        pass
