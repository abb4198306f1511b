"""What the real wandb client sends to a server that remembers it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import wandb
from PIL import Image

import logged_run
from jobs.cli import main
from logged_run import log_steps
from made_up_task import MadeUpSettings
from pipeline.errors import RunError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import dump_settings
from pipeline.train.records.metrics_log import read_records
from pipeline.train.records.run_log import RunLog
from pipeline.train.records.wandb_file import last_step_in_files
from pipeline.train.run.sync import sync_run
from pipeline.train.run_settings import RunSettings
from small_job import wait_until
from wandb_server import WandbServer


@pytest.fixture
def server():
    with WandbServer() as server:
        yield server


@pytest.fixture
def online(server, monkeypatch):
    """This process's wandb goes to the server, which it tries again soon where it doesn't answer."""
    wandb.teardown()
    quick = {"WANDB__FILE_STREAM_RETRY_WAIT_MAX_SECONDS": "0.2", "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "0.1"}
    for name, value in (server.environment() | quick).items():
        monkeypatch.setenv(name, value)
    yield server
    wandb.teardown()


@pytest.fixture
def run(tmp_path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(dump_settings(ExperimentSettings(name="logged")))
    return run


def killed(run, first, last, environment):
    """A process that logged these steps and was killed."""
    process = subprocess.Popen(
        [sys.executable, logged_run.__file__, str(run), str(first), str(last)],
        env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "logged\n"
    os.killpg(process.pid, signal.SIGKILL)
    _, said = process.communicate()
    assert said == ""  # wandb talks a lot if it may


def assert_whole(server, run):
    """The server has every record of the run once, in order, with the same numbers."""
    (name,) = server.history
    assert name == (run / "wandb" / "run_id").read_text()
    there = [(record["step"], record["loss"]) for record in server.records(name)]
    assert there == [(record["step"], record["loss"]) for record in read_records(run / "metrics.jsonl")]
    return name


def test_an_online_run_killed_and_gone_on_is_one_run_with_every_record_once(online, run):
    killed(run, 0, 40, online.environment())
    log = logged_run.logged_run(run)
    log_steps(log, 20, 60)  # its checkpoint was older than what wandb may have
    log.event("bad_step", step=60, reason="loss is not a number")
    (run / "maps").mkdir()
    Image.new("RGB", (40, 30)).save(run / "maps" / "step-0000000062.png")
    log.record({"step": 62, "loss": 0.1, "maps": "maps/step-0000000062.png"})
    log.finish()
    name = assert_whole(online, run)
    assert online.sent[name] == 31
    picture = online.records(name)[-1]["maps"]
    assert (picture["_type"], picture["width"], picture["height"]) == ("image-file", 40, 30)
    assert picture["path"] in online.files
    assert online.records(name)[-1]["event/resume"] == 1
    assert online.summary[name]["event/bad_step"] == 1
    assert online.config[name]["train"]["batch_size"] == 64
    assert online.config[name]["code"]["version"]
    assert "label_aided" not in online.summary[name]
    assert online.alerts == ["run: bad_step"]


def test_a_run_whose_negatives_are_chosen_by_class_names_says_so_in_its_summary(online, run):
    settings = ExperimentSettings.model_validate({"name": "logged", "task": {"negatives": "unlike"}})
    log = RunLog(settings, run, True)
    log_steps(log, 0, 4)
    log.finish()
    (name,) = online.history
    assert online.summary[name]["label_aided"].startswith("label-aided: class names chose")


def test_the_best_of_every_metric_stays_in_the_summary_when_a_run_goes_on(online, run):
    settings = RunSettings.model_validate({"name": "logged", "task": MadeUpSettings()})
    curves = [(2, 0.5, 0.1), (4, 0.3, 0.9), (6, 0.4, 0.2), (8, 0.45, 0.3)]
    for first, last in ((0, 4), (4, 8)):
        log = RunLog(settings, run, True)
        log.begin(first)
        for step, nce, recall in curves[first // 2 : last // 2]:
            log.record({"step": step, "nce": nce, "validation/recall_at_5": recall, "validation/reachable": 1.0})
        log.finish()
    (summary,) = online.summary.values()
    assert (summary["best/nce"], summary["nce"]) == (0.3, 0.45)
    assert (summary["best/validation/recall_at_5"], summary["validation/recall_at_5"]) == (0.9, 0.3)
    assert not {"best/validation/reachable", "best/temperature"} & summary.keys()


def test_offline_runs_killed_and_gone_on_are_synced_without_gaps_or_doubles(online, run, monkeypatch):
    offline = {"WANDB_MODE": "offline"}
    killed(run, 0, 20, offline)  # mostly before wandb wrote anything
    monkeypatch.setenv("WANDB_MODE", "offline")
    log = logged_run.logged_run(run)
    log_steps(log, 10, 30)
    log.finish()
    files = [file for file in (run / "wandb").glob("offline-run-*/*.wandb") if not file.parent.is_symlink()]
    file = max(files, key=lambda file: file.stat().st_mtime)
    with file.open("r+b") as torn:  # as a kill in the middle of a write leaves it
        torn.truncate(file.stat().st_size - 700)
    log = logged_run.logged_run(run)
    log_steps(log, 20, 40)
    log.finish()
    monkeypatch.setenv("WANDB_MODE", "online")
    assert sync_run(str(run)) == 20
    name = assert_whole(online, run)
    assert sync_run(str(run)) == 0
    assert_whole(online, run)
    assert online.sent[name] == 20
    # the client's own command knows what is there already
    said = client_sync(online, run)
    assert "No runs to sync" in said
    # and does the same to a server that has nothing yet
    online.history.clear()
    for marker in (run / "wandb").rglob("*.synced"):
        marker.unlink()
    client_sync(online, run)
    assert_whole(online, run)


def client_sync(server, run):
    done = subprocess.run(
        [Path(sys.executable).parent / "wandb", "sync", str(run / "wandb")],
        env=os.environ | server.environment(),
        cwd=run,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "ERROR" not in done.stderr
    return done.stderr


def test_a_server_that_is_away_for_a_while_ends_nothing_and_misses_nothing(online, run):
    log = logged_run.logged_run(run)
    log_steps(log, 0, 10)
    online.stop()
    for step in range(12, 31, 2):
        log.record({"step": step, "loss": 1 / step})
    online.start()
    log.finish()
    assert_whole(online, run)


def test_a_run_goes_on_without_wandb_and_is_synced_later(online, run, monkeypatch):
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    log = logged_run.logged_run(run)
    log_steps(log, 0, 10)
    log.finish()
    online.stop()
    wandb.teardown()
    log = logged_run.logged_run(run)
    log_steps(log, 10, 20)
    log.finish()
    (said,) = log.notes
    assert said.startswith("wandb can't be reached (")
    assert said.endswith(f"; the run goes on without wandb, gavt sync {run} gives it what it lacks")
    wandb.teardown()
    with pytest.raises(RunError, match="wandb can't be reached"):
        sync_run(str(run))
    wandb.teardown()
    online.start()
    with pytest.raises(SystemExit, match="0"):
        main(["sync", str(run)])
    assert_whole(online, run)
    assert [record["step"] for record in online.records(next(iter(online.history)))] == list(range(2, 21, 2))


def test_a_run_that_was_killed_goes_on_though_an_inherited_service_of_wandbs_has_it_open(online, run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    killed(run, 0, 10, {})
    with wandb.init(id=(run / "wandb" / "run_id").read_text(), dir=str(run)):
        assert os.environ["WANDB_SERVICE"]
        killed(run, 10, 20, {})


def test_whatever_wandb_raises_as_a_run_goes_on_is_a_sentence(online, run, monkeypatch):
    log = logged_run.logged_run(run)
    log_steps(log, 0, 10)
    log.finish()
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "soon")  # an error of pydantic's
    log = logged_run.logged_run(run)
    log_steps(log, 10, 20)
    log.finish()
    (said,) = log.notes
    assert said.startswith("wandb does not take the settings of the run (1 validation error for Settings init_timeout ")
    assert "; the run goes on without wandb" in said


@pytest.mark.slow
def test_training_killed_and_gone_on_online_is_one_run_with_every_record_once(online, command, tmp_path):
    run = tmp_path / "run"
    process = command.start(run, wandb="online")
    deadline = time.monotonic() + 300
    while not (run / "checkpoints" / "latest").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    command.finish(run, wandb="online")
    name = assert_whole(online, run)
    assert online.records(name)[-1]["event/resume"] == 1
    assert {"goodput", "memory_gib", "data_wait", "validation/loss"} <= online.records(name)[-1].keys()


def test_training_whose_wandb_is_ended_by_the_same_signal_leaves_in_order_and_wandb_gets_all_later(command, tmp_path):
    """As under Slurm, whose signals reach all processes of a step."""
    run = tmp_path / "run"
    words = ("train.steps=60", "train.log_every=1", "train.checkpoint_every=50", "train.validate_every=60")
    process = command.start(run, *words, wandb="offline")
    wait_until(lambda: len(read_records(run / "metrics.jsonl")) > 3, 120)
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        one.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, "Traceback" in said) == (75, False), said
    command.finish(run, *words, wandb="offline")
    assert [record["step"] for record in read_records(run / "metrics.jsonl")] == list(range(1, 61))
    assert last_step_in_files(run / "wandb", (run / "wandb" / "run_id").read_text(), "step", run / "none") == 60


def test_a_new_run_that_cannot_reach_wandb_says_so(online, run, monkeypatch):
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    online.stop()
    with pytest.raises(RunError, match=r"train\.wandb\.mode online: wandb can't be reached .*offline keeps its files"):
        logged_run.logged_run(run).begin(0)


def test_a_folder_that_is_no_run_is_not_synced(tmp_path):
    with pytest.raises(RunError, match="expected a run folder with metrics.jsonl"):
        sync_run(str(tmp_path))
