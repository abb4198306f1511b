"""`gavt checkpoint`, on a run of this process."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from small_checkpoints import newest_checkpoint

from cluster import storage
from jobs.cli import main
from pipeline.errors import CheckpointError
from pipeline.experiment import ExperimentSettings
from pipeline.plan.machines import machines
from pipeline.plan.plan import make_plan
from pipeline.settings.load import load_settings
from pipeline.train.checkpoints import find_checkpoint
from pipeline.train.checkpoints.layout import manifest_text
from pipeline.train.checkpoints.listing import list_checkpoints
from pipeline.train.checkpoints.retention import Retention
from pipeline.train.load import load_trained
from pipeline.train.loop import train
from saved_weights import saved_weights
from tiny_training import curve
from unprivileged import read_only

SETTINGS = ["model.dropout=0", "train.ema_decay=0.9"]


def settings_of(command, *overrides):
    return load_settings(str(command.config), ExperimentSettings, [*SETTINGS, *overrides]).settings


def run_here(command, group, run, *overrides):
    settings = settings_of(command, *overrides)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        return train(settings, str(run), group, lambda record: None)


@pytest.fixture(scope="module")
def finished(command, group, tmp_path_factory):
    run = tmp_path_factory.mktemp("verbs") / "run"
    run_here(command, group, run)
    return run


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def gavt(capsys, *words, code=0):
    with pytest.raises(SystemExit) as end:
        main(["checkpoint", *map(str, words)])
    assert (end.value.code or 0) == code
    return capsys.readouterr()


def answer(capsys, *words, code=0):
    return json.loads(gavt(capsys, *words, "--json", code=code).out.splitlines()[-1])


def test_ls_tells_whole_and_torn_checkpoints(run, capsys):
    (run / "checkpoints/step-0000000008/manifest.json").unlink()
    rows = answer(capsys, "ls", run)["checkpoints"]
    assert [(row["step"], row["whole"], row["latest"]) for row in rows] == [(8, False, False), (12, True, True)]
    assert rows[1] | {"world_size": 1, "zero_stage": 1, "precision": "fp32"} == rows[1]
    table = gavt(capsys, "ls", run).out
    assert "torn: never resumed from" in table
    assert "whole, latest" in table
    assert gavt(capsys, "ls", run / "nowhere", code=2).err.endswith(
        "expected a run folder or a checkpoint, found none\n"
    )


def test_ls_marks_the_latest_and_the_one_from_which_a_run_would_go_on(run, capsys):
    def marks():
        rows = answer(capsys, "ls", run)["checkpoints"]
        return [(row["step"], row["latest"], row["resume"], row["state"]) for row in rows]

    whole, damaged = "whole", "damaged: never resumed from"
    assert marks() == [(8, False, False, whole), (12, True, True, whole)]
    assert "goes on from here" not in gavt(capsys, "ls", run).out
    model = run / "checkpoints/step-0000000012/rank-00000.safetensors"
    model.write_bytes(model.read_bytes()[:-1])
    assert marks() == [(8, False, True, whole), (12, True, False, damaged)]
    said = gavt(capsys, "ls", run).out
    assert "whole, a run goes on from here" in said
    assert "damaged: never resumed from, latest" in said
    shutil.rmtree(run / "checkpoints/step-0000000012")
    assert marks() == [(8, False, True, whole)]
    assert f"{run}: latest names step-0000000012, which is not there" in gavt(capsys, "ls", run).out


def test_verify_of_torn_checkpoints_alone_is_no_success(run, capsys):
    for manifest in run.glob("checkpoints/step-*/manifest.json"):
        manifest.unlink()
    said = gavt(capsys, "verify", run, code=2)
    assert said.err.endswith(f"{run}: expected a checkpoint to verify, found torn ones only\n")


def test_verify_of_a_checkpoint_that_names_no_files_is_no_success(run, capsys):
    manifest = run / "checkpoints/step-0000000012/manifest.json"
    manifest.write_text(manifest_text(json.loads(manifest.read_text()) | {"files": []}))
    assert "expected files of the checkpoint, found none" in gavt(capsys, "verify", run, code=2).out


def test_verify_names_what_is_damaged(run, capsys):
    assert "files whole" in gavt(capsys, "verify", run).out
    with (run / "checkpoints/step-0000000012/rank-00000.safetensors").open("r+b") as file:
        file.seek(500)
        file.write(b"\x01\x02")
    said = gavt(capsys, "verify", run, code=2)
    assert "step-0000000012/rank-00000.safetensors: damaged, its content is not what was saved" in said.out
    assert "step-0000000012: damaged; a run goes on from an older checkpoint that is whole" in said.err
    assert answer(capsys, "verify", run / "checkpoints/step-0000000008")["checkpoints"][0]["problems"] == []


@pytest.mark.parametrize("content", [b"", b"[]", None])
def test_a_damaged_manifest_is_no_torn_save(run, capsys, content):
    manifest = run / "checkpoints/step-0000000012/manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"cursor"', b'"kursor"') if content is None else content)
    assert [row["state"] for row in answer(capsys, "ls", run)["checkpoints"]] == [
        "whole",
        "damaged: never resumed from",
    ]
    said = gavt(capsys, "verify", run, code=2)
    assert "step-0000000012: damaged; a run goes on from an older checkpoint" in said.err
    assert "step-0000000012/manifest.json: " in said.out


@pytest.mark.parametrize("kind", ["fp32", "ema"])
def test_weights_that_are_not_what_was_saved_are_never_evaluated(run, kind):
    (entry,) = find_checkpoint(str(run)).manifest["files"]
    _, _, _, size, offsets = find_checkpoint(str(run)).manifest["tensors"]["task.head.weight"]["held"][0]
    with (run / "checkpoints/step-0000000012" / entry["name"]).open("r+b") as file:
        file.seek(offsets[kind] + 4 * size - 2)
        file.write(b"\x01")
    with pytest.raises(CheckpointError, match="rank-00000.safetensors: damaged"):
        load_trained(str(run), "cpu")


def test_an_export_loads_without_the_run_and_holds_the_average_unless_asked_for_the_weights(run, tmp_path, capsys):
    assert answer(capsys, "export", run, "--out", tmp_path / "average")["weights"] == "average"
    gavt(capsys, "export", run, "--out", tmp_path / "raw", "--raw")
    for name in ("average", "raw"):
        trained, numbers = load_trained(str(tmp_path / name), "cpu"), saved_weights(run, name == "average")
        assert trained.step == 12
        assert all(torch.equal(value, numbers[key]) for key, value in trained.system.state_dict().items())
        assert {path.name for path in (tmp_path / name).iterdir()} == {
            "README.md",
            "config.yaml",
            "manifest.json",
            "model.safetensors",
        }
        assert (tmp_path / name / "config.yaml").read_text() == (run / "config.yaml").read_text()  # of all parts
    average, raw = (load_file(tmp_path / name / "model.safetensors") for name in ("average", "raw"))
    assert not torch.equal(average["task.head.weight"], raw["task.head.weight"])
    assert gavt(capsys, "verify", tmp_path / "average").out.strip().endswith("3 files whole")
    assert "expected an empty folder" in gavt(capsys, "export", run, "--out", tmp_path / "raw", code=2).err


def test_an_export_may_be_exported_again_and_is_no_checkpoint_to_go_on_from(run, tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    gavt(capsys, "export", run, "--out", first)
    assert answer(capsys, "export", first, "--out", second)["weights"] == "average"
    assert (second / "README.md").read_text().splitlines()[2].startswith("Moving average of the weights")
    said = gavt(capsys, "convert", first, "--out", tmp_path / "third", code=2).err
    assert "expected a checkpoint to go on from, found an export" in said


def test_what_cannot_be_exported_or_converted_leaves_nothing_behind(run, tmp_path, capsys):
    last = run / "checkpoints/step-0000000012"
    manifest = json.loads((last / "manifest.json").read_text())
    (last / "rank-00000.safetensors").write_bytes(b"")
    for verb in ("export", "convert"):
        said = gavt(capsys, verb, run, "--out", tmp_path / verb, code=2).err
        assert "rank-00000.safetensors: " in said
        assert not (tmp_path / verb).exists()
    manifest["settings"]["train"]["warp_drive"] = 9
    (last / "manifest.json").write_text(manifest_text(manifest))
    for verb in ("export", "convert"):
        said = gavt(capsys, verb, run, "--out", tmp_path / verb, code=2).err
        assert "made with other settings: train.warp_drive" in said


@pytest.mark.parametrize("verb", ["export", "convert"])
@pytest.mark.parametrize("out", ["file", "file/model"])
def test_a_place_that_can_not_be_written_to_is_refused(run, tmp_path, capsys, verb, out):
    (tmp_path / "file").touch()
    said = gavt(capsys, verb, run, "--out", tmp_path / out, code=2).err
    found = f"expected a folder, or room for one, found that {tmp_path}/file is a file"
    assert f"gavt: {tmp_path / out}: {found}" in said


def test_a_read_only_place_is_said_before_the_checkpoint_is_read(run, tmp_path, capsys, monkeypatch):
    def work(*_, **__):
        raise AssertionError("the work has begun")

    monkeypatch.setattr("pipeline.train.checkpoints.convert.SavedState", work)
    (tmp_path / "kept").mkdir()
    with read_only(tmp_path / "kept"):
        said = gavt(capsys, "convert", run, "--out", tmp_path / "kept/new", code=2).err
    assert said.startswith(f"gavt: {tmp_path}/kept/new: not allowed to write to it")


@pytest.mark.parametrize("latest", ["step-0000000012", "", None])
def test_the_newest_whole_checkpoint_is_meant_where_latest_names_none(run, tmp_path, capsys, latest):
    shutil.rmtree(run / "checkpoints/step-0000000012")
    (run / "checkpoints/latest").unlink()
    if latest is not None:
        (run / "checkpoints/latest").write_text(latest)
    assert answer(capsys, "export", run, "--out", tmp_path / "model")["step"] == 8


def test_a_run_goes_on_from_what_was_converted_as_if_nothing_had_happened(
    command, group, run, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "out"
    answer(capsys, "convert", run / "checkpoints/step-0000000008", "--out", out)
    names = {file.name for file in (out / "checkpoints/step-0000000008").iterdir()}
    assert names == {"manifest.json", "rank-00000.safetensors"}
    # nothing of it is unpickled
    monkeypatch.setattr(torch, "load", lambda *words, **more: pytest.fail("something was unpickled"))
    run_here(command, group, out)
    assert [row[1] for row in curve(out)] == [row[1] for row in curve(run) if row[0] > 8]


@pytest.mark.parametrize(
    "words", [("train.precision=bf16",), ("train.zero_stage=3",), ("train.zero_stage=0", "train.ema_decay=null")]
)
def test_checkpoints_are_as_large_as_planned(command, group, tmp_path, words):
    words = ("train.steps=1", "train.validation_samples=8", "model.width=96", "model.feed_forward=1024", *words)
    run_here(command, group, tmp_path / "run", *words)
    numbers = find_checkpoint(str(tmp_path / "run")).bytes
    plan = make_plan(settings_of(command, *words), machines(1, None, None, 80.0, None, 0.4, None))
    assert numbers == pytest.approx(plan.checkpoint_bytes, rel=0.03)


def test_a_run_on_s3_goes_on_before_damaged_checkpoints_and_replaces_them(command, group, run, s3_bucket):
    there = f"{s3_bucket}/run"
    for file in run.rglob("*"):
        if file.is_file():
            storage.upload(file, f"{there}/{file.relative_to(run)}")
    storage.write_text(f"{there}/checkpoints/step-0000000012/manifest.json", "no manifest")
    assert newest_checkpoint(f"{there}/checkpoints").step == 8
    Retention(f"{there}/checkpoints", keep_last=1, keep_every=None).remove_old(newest=8)
    assert [(row.checkpoint and row.checkpoint.step) for row in list_checkpoints(there)] == [8, None]
    assert run_here(command, group, there).step == 12
    assert [row.checkpoint.step for row in list_checkpoints(there)] == [8, 12]


def test_checkpoints_on_s3_are_listed_verified_and_exported(run, s3_bucket, tmp_path, capsys):
    there = f"{s3_bucket}/run"
    for file in run.rglob("*"):
        if file.is_file():
            storage.upload(file, f"{there}/{file.relative_to(run)}")
    assert [row["step"] for row in answer(capsys, "ls", there)["checkpoints"]] == [8, 12]
    assert all(not entry["problems"] for entry in answer(capsys, "verify", there)["checkpoints"])
    answer(capsys, "export", there, "--out", f"{s3_bucket}/export")
    assert load_trained(f"{s3_bucket}/export", "cpu").step == 12
    answer(capsys, "convert", there, "--out", tmp_path / "converted")
    assert (tmp_path / "converted/checkpoints/latest").read_text() == "step-0000000012"
    storage.remove(f"{there}/checkpoints/step-0000000012/rank-00000.safetensors")
    said = gavt(capsys, "verify", there, code=2)
    assert "rank-00000.safetensors: missing from its checkpoint" in said.out
