"""Training and validation data of which few or no mismatches can be made."""

import io
import json

import pytest
from rich.console import Console

from jobs.train_line import TrainLine
from pipeline.errors import RunError, SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.tasks.mma_data import MismatchWatch
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.train.loop import train
from tiny_shards import write_shard_set

GROUP_NORM = ["model.dropout=0", "model.visual_embedder.norm=group", "model.audio_embedder.norm=group"]


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    return {
        "one video": write_shard_set(folder / "video", 24, samples_per_shard=24, samples_per_video=24),
        "one label": write_shard_set(folder / "label", 24, labels=("low",)),
        "one sample": write_shard_set(folder / "sample", 1),
        "rare label": write_shard_set(folder / "rare", 48, labels=("low",) * 5 + ("high",)),
    }


def run_here(command, group, run, *words, on_event=lambda event: None):
    settings = load_settings(str(command.config), ExperimentSettings, words).settings
    return train(settings, str(run), group, lambda record: None, on_event=on_event)


def records(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["one video", "one label", "one sample"])
def test_data_without_any_mismatch_is_no_success_but_refused(command, group, sets, tmp_path, name):
    words = [f"data.train={sets[name]}", "task.negatives=unlike"]
    rule = r"each needs one of another video in its group of 8 consecutive positions, whose frame is not known to show"
    with pytest.raises(RunError, match=f"data.train: expected .* none among the first 256 samples: {rule}"):
        run_here(command, group, tmp_path, *words, "train.steps=100", "train.checkpoint_every=100")
    assert not (tmp_path / "checkpoints").exists()  # so the same folder may be used with other data
    with pytest.raises(RunError, match="none among the first 16 samples"):
        run_here(command, group, tmp_path / "short", *words, "train.steps=1")


def step_of(pairs: float, mismatches: float, left_out: float) -> dict[str, float]:
    found = {"loss": 0.7 * pairs, "pairs": pairs, "mismatches": mismatches, "left_out": left_out}
    return dict.fromkeys(MmaSettings().sums, 0.0) | found


def test_a_few_samples_whose_coins_all_say_match_are_no_reason_to_refuse():
    assert MismatchWatch(MmaSettings()).add(step_of(4, 0, 0), 4, whole=True) is None
    assert MismatchWatch(MmaSettings()).add(step_of(0, 0, 4), 4, whole=False) is None  # the last steps of a longer run
    with pytest.raises(RunError, match="none among the first 4 samples"):
        MismatchWatch(MmaSettings()).add(step_of(0, 0, 4), 4, whole=True)
    seen = MismatchWatch(MmaSettings())
    seen.add(step_of(250, 0, 5), 255, whole=False)
    with pytest.raises(RunError, match="none among the first 256 samples"):
        seen.add(step_of(1, 0, 0), 1, whole=False)


@pytest.mark.parametrize("name", ["one video", "one label", "one sample"])
def test_validation_without_any_mismatch_is_refused_before_the_first_step(command, group, sets, tmp_path, name):
    words = [f"data.validation={sets[name]}", "task.negatives=unlike"]
    with pytest.raises(
        SettingsError, match=r"data.validation: expected .* none among its \d+ samples?: each needs one"
    ):
        run_here(command, group, tmp_path, *words)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_how_many_samples_have_no_partner_is_recorded_and_said_where_they_are_most(command, group, sets, tmp_path):
    words = [f"data.train={sets['rare label']}", "task.negatives=unlike", "train.batch_size=8", "task.group=2"]
    events = []
    run_here(command, group, tmp_path, *words, "train.steps=36", on_event=events.append)
    rows = [row for row in records(tmp_path) if "loss" in row]
    left_out = sum(row["unpaired_samples"] for row in rows)
    assert left_out > 36 * 8 / 2
    assert all(row["mismatch_share"] is None or 0 <= row["mismatch_share"] <= 1 for row in rows)
    (event,) = [event for event in events if event["event"] == "warning"]
    assert event["step"] == 32
    assert "of the first 256 samples are in no pair that counts" in event["reason"]


def test_the_ceiling_stands_beside_the_accuracy_where_frames_are_known_to_show_what_sounds_in_mismatches(
    command, group, tmp_path
):
    said = io.StringIO()
    last = run_here(command, group, tmp_path, "train.steps=1").last
    assert 0.5 < last["validation/ceiling"] < 1  # half of the other frames have the sound's label
    with TrainLine(Console(file=said, width=200), 1, str(tmp_path), MmaSettings().metrics, shown=True) as line:
        line.update(last)
    assert f" of at most {last['validation/ceiling']:.1%}" in said.getvalue()


def test_samples_that_are_left_out_give_the_same_curve_on_any_ranks_and_micro_batches(command, group, sets, tmp_path):
    words = [f"data.train={sets['rare label']}", "task.negatives=unlike", "train.steps=8", "train.batch_size=32"]
    words += ["train.validate_every=8", "train.checkpoint_every=8", *GROUP_NORM]
    run_here(command, group, tmp_path / "one", *words)
    run_here(command, group, tmp_path / "micro", *words, "train.micro_batch=8")
    out, _ = command.finish(tmp_path / "ranks", "--nproc", "2", *words, "train.micro_batch=8")
    assert out.count("label-aided: class names chose") == 1
    one = records(tmp_path / "one")
    assert sum(row.get("unpaired_samples", 0) for row in one) > 8
    for other in ("micro", "ranks"):
        for name in ("unpaired_samples", "mismatch_share", "accuracy", "balanced_accuracy", "loss", "grad_norm"):
            found = [row.get(name) for row in records(tmp_path / other)]
            assert found == pytest.approx([row.get(name) for row in one], rel=1e-4), name
