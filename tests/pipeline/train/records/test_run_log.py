"""What a run says of itself, in its folder and in TensorBoard."""

import json
import logging
import shutil
import time
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cluster.errors import StorageError
from cluster.process_group import ProcessGroup
from full_disk import fill
from logged_run import log_steps, logged_run
from pipeline.code_version import code_version
from pipeline.evaluate.training_maps import TrainingMaps
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.train.checkpoints import find_checkpoint
from pipeline.train.checkpoints.convert import convert
from pipeline.train.checkpoints.host_copy import HostCopy
from pipeline.train.checkpoints.layout import manifest_text
from pipeline.train.flops import Utilisation, training_flops
from pipeline.train.loop import train
from pipeline.train.metric_names import EVENTS, OWN, VALIDATION
from pipeline.train.records.metrics_log import EventLog, MetricsLog, read_records
from pipeline.train.records.tensorboard_sink import TensorboardSink
from pipeline.train.run.run_clock import RunClock, TimeSpent
from pipeline.train.run.run_folder import log_to
from tiny_training import curve

WORDS = ["train.tensorboard=true", "train.maps_every=6"]


@pytest.fixture(scope="module")
def run(command, group, tmp_path_factory):
    """A run that lost its last checkpoint and went on from the one before."""
    run = tmp_path_factory.mktemp("logged") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        settings = load_settings(str(command.config), ExperimentSettings, WORDS).settings
        maps = partial(TrainingMaps, settings, settings.evaluate)
        train(settings, str(run), group, lambda record: None, make_maps=maps)
        (run / "first").write_text(json.dumps(curve(run)))
        shutil.rmtree(run / "checkpoints" / "step-0000000012")
        train(settings, str(run), group, lambda record: None, make_maps=maps)
    return run


@pytest.fixture(scope="module")
def board(run):
    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    return board


def test_records_tell_memory_time_in_checkpoints_and_what_happened(run):
    records = read_records(run / "metrics.jsonl")
    assert [record["step"] for record in records] == [2, 4, 6, 8, 10, 12]
    assert all(0 < record["memory_gib"] < record["host_memory_gib"] for record in records)
    assert records[0]["checkpoint_s"] == 0
    assert records[2]["checkpoint_s"] > 0  # the one after step 4
    assert records[3]["event/start"] == 1
    assert "event/resume" not in records[3]
    assert records[-1]["event/resume"] == 1


def test_a_resumed_run_draws_and_records_the_same_as_before(run):
    assert json.loads((run / "first").read_text()) == [list(row) for row in curve(run)]


def test_goodput_counts_steps_once_and_the_time_since_the_first_start(run):
    events, (*_, earlier, last) = read_records(run / "events.jsonl"), read_records(run / "metrics.jsonl")
    before, after = (
        json.loads((run / "checkpoints" / f"step-{step:010d}" / "manifest.json").read_text())["state"]
        for step in (8, 12)
    )
    first = events[0]["time"] - events[0]["startup_s"]  # what it took to begin is no use either
    # it is taken after the last step, before its validation, when the one of step 6 was in every checkpoint
    assert 0 < before["validation_s"] < after["validation_s"]
    useful = after["training_s"] + before["validation_s"]
    assert useful / (last["time"] - first) <= last["goodput"] + 1e-4
    assert last["goodput"] <= useful / (earlier["time"] - first) + 1e-4
    # the first four steps after step 8 were thrown away; those of the second process count
    resumed = next(event["time"] for event in events if event["event"] == "resume")
    assert 0 < after["training_s"] - before["training_s"] < last["time"] - resumed


def test_the_time_in_which_the_optimiser_waits_for_a_save_is_that_of_checkpoints(command, group, tmp_path, monkeypatch):
    def slowly(copies, take=HostCopy.take):
        time.sleep(1.0)
        return take(copies)

    counted = []
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(HostCopy, "take", slowly)
    monkeypatch.setattr(RunClock, "add_step", lambda clock, *step: counted.append(step))
    words = ["train.steps=3", "train.checkpoint_every=2", "train.log_every=1"]
    settings = load_settings(str(command.config), ExperimentSettings, words).settings
    train(settings, str(tmp_path), group, lambda record: None)
    stood = [record["checkpoint_s"] for record in read_records(tmp_path / "metrics.jsonl")]
    pace = read_records(tmp_path / "metrics.jsonl")[2]["samples_per_s"]
    assert stood[:2] == [0.0, 0.0]
    assert stood[2] > 0.5
    seconds, waited_s, stalled_s, counts = counted[2]
    assert counts
    assert stalled_s == pytest.approx(stood[2], abs=0.1)
    assert seconds == pytest.approx(16 / pace, abs=0.01)
    assert waited_s < 0.2


def test_the_log_of_a_run_ends_with_it(tmp_path):
    for name in ("first", "second"):
        with log_to(tmp_path / name):
            logging.getLogger("pipeline.train").info("of the %s", name)
            logging.getLogger("cluster.s3.filesystem").warning("storage of the %s", name)
    assert (tmp_path / "first").read_text().count("of the first") == 2
    assert "second" not in (tmp_path / "first").read_text()


def test_a_run_that_branches_off_counts_its_own_useful_time(command, group, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(RunClock, "add_step", lambda clock, *_, add=RunClock.add_step: add(clock, 1.0, 0.0, 0.0, True))
    settings = load_settings(str(command.config), ExperimentSettings, []).settings
    train(settings, str(tmp_path / "run"), group, lambda record: None)
    convert(str(tmp_path / "run" / "checkpoints" / "step-0000000008"), str(tmp_path / "branch"))
    train(settings, str(tmp_path / "branch"), group, lambda record: None)
    trained = [find_checkpoint(str(tmp_path / run)).manifest["state"]["training_s"] for run in ("run", "branch")]
    assert trained == [11, 3]  # without the first step of each process


def test_goodput_is_training_and_validation_over_wall_time(monkeypatch):
    times = iter([1040.0, 1045.0, 1060.0])
    clock = RunClock(began=1000.0)
    clock.add_step(7.0, 2.0, 0.0, counts=True)  # in which loaders fill and kernels are compiled
    clock.add_step(20.0, 3.0, 1.0, counts=True)
    clock.add_step(25.0, 0.0, 1.0, counts=True)
    clock.add_step(5.0, 0.0, 0.0, counts=False)
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    with clock.validating():
        pass
    assert clock.spent == TimeSpent(training_s=40.0, validation_s=5.0, data_s=3.0, saving_s=2.0, first_steps_s=7.0)
    assert clock.goodput() == 0.75


@pytest.mark.parametrize("jump_s", [-86400.0, -3.0, 0.0, 3.0, 86400.0])
def test_goodput_stays_a_share_whatever_the_clock_is_set_to(monkeypatch, jump_s):
    times = {"monotonic": 1000.0, "day": 5000.0}
    monkeypatch.setattr("time.monotonic", lambda: times["monotonic"])
    monkeypatch.setattr("time.time", lambda: times["day"])
    first = RunClock(began=1000.0)
    for seconds in (9.0, 30.0):
        first.add_step(seconds, 0.0, 0.0, counts=True)
    times["monotonic"] += 60.0
    times["day"] += 60.0 + jump_s  # within a process it changes nothing
    assert (first.goodput(), first.elapsed_s) == (0.5, 60.0)
    left_at = times["day"]
    times["day"] += 40.0 + jump_s  # and between two processes it is a pause, or none
    second = RunClock(began=1060.0)
    said = second.resume({"state": first.state(), "time": left_at}, started=5000.0)
    assert second.goodput() == 30.0 / (60.0 + max(0.0, 40.0 + jump_s))
    assert (said is not None) == (jump_s == -86400.0)


def test_a_run_whose_times_lie_ahead_goes_on_with_a_goodput_and_says_so(run, command, group, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    shutil.copytree(run, tmp_path / "run")
    manifest = max((tmp_path / "run/checkpoints").glob("step-*/manifest.json"))
    state = json.loads(manifest.read_text())
    manifest.write_text(manifest_text(state | {"time": state["time"] + 86400}))
    events = read_records(tmp_path / "run/events.jsonl")
    lines = [json.dumps(event | {"time": event["time"] + 86400}) + "\n" for event in events]
    (tmp_path / "run/events.jsonl").write_text("".join(lines))
    settings = load_settings(str(command.config), ExperimentSettings, ["train.steps=14"]).settings
    result = train(settings, str(tmp_path / "run"), group, lambda record: None)
    assert 0 < result.last["goodput"] <= 1
    (said,) = [event["said"] for event in read_records(tmp_path / "run/events.jsonl") if event["event"] == "clock"]
    assert said.startswith("by this machine's clock the run was left 86")


@pytest.mark.parametrize("peak", [1e12, None])
def test_utilisation_is_what_the_model_needs_over_what_the_devices_can(command, monkeypatch, peak):
    settings = load_settings(str(command.config), ExperimentSettings, []).settings
    monkeypatch.setattr("pipeline.train.flops.device_peak_flops", lambda device, precision: peak)
    group = ProcessGroup(0, 0, 4, torch.device("cpu"))
    pace = 0.3 * 4 * 1e12 / training_flops(settings).training  # 30 % of four devices
    assert Utilisation(settings, group).of(pace) == ({"mfu": 0.3} if peak else {})


def test_every_number_of_a_record_is_the_tasks_or_known_as_the_trainers_own(run):
    known = {metric.name for metric in MmaSettings().metrics} | OWN
    found = {name for record in read_records(run / "metrics.jsonl") for name in record if not name.startswith(EVENTS)}
    assert {name.removeprefix(VALIDATION) for name in found} <= known


def test_tensorboard_has_every_record_once_after_a_restart(run, board):
    for name in ("loss", "accuracy", "learning_rate", "grad_norm", "goodput", "validation/loss", "event/checkpoint"):
        shown = [(point.step, point.value) for point in board.Scalars(name)]
        records = read_records(run / "metrics.jsonl")
        expected = [(record["step"], np.float32(record[name])) for record in records if name in record]
        assert shown == expected


def test_tensorboard_shows_maps_and_events(run, board):
    assert [image.step for image in board.Images("maps")] == [6, 12]
    (resume,) = board.Tensors("event/resume/text_summary")
    assert resume.step == 8
    assert b"world_size 1" in resume.tensor_proto.string_val[0]
    assert len(list((run / "tensorboard").iterdir())) == 1


def test_tensorboard_begins_again_without_maps_that_somebody_removed(run, tmp_path):
    events, records = (read_records(run / f"{name}.jsonl") for name in ("events", "metrics"))
    sink = TensorboardSink(tmp_path)
    sink.begin(records, events)
    sink.finish()
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [point.step for point in board.Scalars("loss")] == [record["step"] for record in records]


def test_maps_are_drawn_where_the_records_say(run):
    records = [record for record in read_records(run / "metrics.jsonl") if "maps" in record]
    assert [record["maps"] for record in records] == [f"maps/step-{step:010d}.png" for step in (6, 12)]
    pictures = [np.array(Image.open(run / record["maps"])) for record in records]
    assert pictures[0].shape == pictures[1].shape
    assert not np.array_equal(*pictures)  # another model by then


def test_a_torn_last_line_is_dropped_and_hides_nothing_after_it(tmp_path):
    metrics, events = MetricsLog(tmp_path / "metrics.jsonl"), EventLog(tmp_path / "events.jsonl")
    for step in (1, 2, 3):
        metrics.write({"step": step})
        events.write("checkpoint", step=step)
    for log in (metrics, events):
        with log.file.open("a") as lines:
            lines.write('{"step": 4, "ti')
    assert [record["step"] for record in metrics.rewind(2)] == [1, 2]
    assert [event["step"] for event in events.mend()] == [1, 2, 3]
    metrics.write({"step": 3})
    events.write("resume", step=2)
    metrics.sync()
    events.sync()
    assert [record["step"] for record in read_records(metrics.file)] == [1, 2, 3]
    assert [event["event"] for event in read_records(events.file)] == ["checkpoint"] * 3 + ["resume"]


def test_records_that_cannot_be_written_end_a_run_with_a_sentence_and_its_log_with_none(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="metrics.jsonl: can't be written: No space left on device"):
        MetricsLog(tmp_path / "metrics.jsonl").write({"step": 1})
    (tmp_path / "log").symlink_to("/dev/full")
    with log_to(tmp_path / "log"):
        logging.getLogger("pipeline").info("lost")


def test_a_run_that_goes_on_where_the_disk_is_full_ends_with_a_sentence_and_keeps_its_records(small_disk):
    log = logged_run(small_disk / "run", wandb={"mode": "disabled"}, tensorboard=True)
    log_steps(log, 0, 4)
    log.finish()
    before = {file.name: file.read_bytes() for file in (small_disk / "run").glob("*.jsonl")}
    fill(small_disk)
    with pytest.raises(StorageError, match="metrics.jsonl: can't write it: .*No space left on device"):
        logged_run(small_disk / "run", wandb={"mode": "disabled"}, tensorboard=True).begin(4)
    assert {file.name: file.read_bytes() for file in (small_disk / "run").glob("*.jsonl")} == before


def test_lines_that_are_no_records_are_dropped(tmp_path):
    metrics = MetricsLog(tmp_path / "metrics.jsonl")
    metrics.write({"step": 1})
    with metrics.file.open("ab") as lines:
        lines.write(b'null\n7\n{"a": 1}\n\x00\x00\n\xff{"step": 9}\n')
    metrics.write({"step": 2})
    assert metrics.rewind(9) == [{"step": 1}, {"step": 2}]


def test_what_is_no_finite_number_is_none_in_the_records(tmp_path):
    log = logged_run(tmp_path, wandb={"mode": "disabled"})
    log_steps(log, 0, 2)
    shown = log.record({"step": 4, "validation/loss": float("nan"), "validation/accuracy": 0.5})
    assert shown["validation/loss"] is None
    last = (tmp_path / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last, parse_constant=pytest.fail)["validation/accuracy"] == 0.5


def test_the_code_is_named_by_version_and_commit():
    code = code_version()
    assert code["version"]
    assert code["commit"] is None or len(code["commit"]) == 40
    assert (code["commit"] is None) == (code["changed"] is None)
