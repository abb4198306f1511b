"""The same loss curve for every ZeRO stage, precision and number of processes."""

from itertools import product

import pytest

from many_runs import train_all
from pipeline.train.records.compare import compare_curves, read_run

EXACT = ["model.dropout=0", "model.visual_embedder.norm=group", "model.audio_embedder.norm=group"]
"""Nothing in the model depends on the batch or on the process: dropout is drawn per process, and batch norm sees one
micro-batch."""
FP32, BF16 = 1e-6, 5e-3
"""Largest relative difference of a loss from that of one process at stage 0 in fp32, over 12 steps."""


def words(stage, precision, *more):
    return [*EXACT, f"train.zero_stage={stage}", f"train.precision={precision}", "train.checkpoint_every=12", *more]


def assert_same_curves(reference, runs):
    first = read_run(str(reference))
    for run, tolerance in runs:
        found = compare_curves(first, read_run(str(run)), tolerance)
        assert {"loss", "validation/loss"} <= {row.curve for row in found.differences}
        assert found.alike, (run.name, found)


@pytest.mark.slow
def test_two_processes_of_any_stage_and_precision_follow_one(command, tmp_path):
    train_all(command.config, [[tmp_path / "one", *words(0, "fp32")]], 1)
    runs = {(1, "fp32"): FP32, (3, "fp32"): FP32, (2, "bf16"): BF16}
    folders = {key: tmp_path / f"two-zero{key[0]}-{key[1]}" for key in runs}
    train_all(command.config, [[folders[key], *words(*key)] for key in runs], 2)
    assert_same_curves(tmp_path / "one", [(folders[key], runs[key]) for key in runs])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_every_stage_and_precision_gives_the_same_curve(command, tmp_path, processes):
    train_all(command.config, [[tmp_path / "one", *words(0, "fp32")]], 1)
    every = list(product((0, 1, 2, 3), ("fp32", "bf16")))
    folders = {key: tmp_path / f"zero{key[0]}-{key[1]}" for key in every}
    train_all(command.config, [[folders[key], *words(*key)] for key in every], processes)
    assert_same_curves(tmp_path / "one", [(folders[key], FP32 if key[1] == "fp32" else BF16) for key in every])


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_offload_and_accumulation_change_no_curve_on_two_processes(command, tmp_path, stage):
    train_all(command.config, [[tmp_path / "one", *words(0, "fp32", "task.group=4")]], 1)
    more = [["train.micro_batch=4"]] + ([["train.offload=cpu"]] if stage else [])
    folders = [tmp_path / f"run{number}" for number in range(len(more))]
    train_all(
        command.config, [[f, *words(stage, "fp32", "task.group=4", *m)] for f, m in zip(folders, more, strict=True)], 2
    )
    assert_same_curves(tmp_path / "one", [(folder, FP32) for folder in folders])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_synchronised_batch_norm_follows_one_process_with_batch_norm(command, tmp_path, processes):
    def words(norm, stage, precision, *more):
        norms = [f"model.{one}_embedder.norm={norm}" for one in ("visual", "audio")]
        batch = ["model.dropout=0", "train.batch_size=12", "task.group=2", "train.checkpoint_every=12"]
        return [*norms, *batch, f"train.zero_stage={stage}", f"train.precision={precision}", *more]

    one = tmp_path / "one"
    train_all(command.config, [[one, *words("batch", 0, "fp32")]], 1)
    kinds = [
        ((0, "fp32"), FP32),
        ((1, "fp32", "train.offload=cpu"), FP32),
        ((2, "bf16"), BF16),
        ((2, "fp32", "train.compile=true", "train.activation_checkpointing=2"), FP32),
        ((3, "fp32", "train.activation_checkpointing=full"), FP32),
    ]
    folders = [tmp_path / f"run{number}" for number in range(len(kinds))]
    runs = [[folder, *words("sync_batch", *kind)] for folder, (kind, _) in zip(folders, kinds, strict=True)]
    runs.append([tmp_path / "apart", *words("batch", 0, "fp32")])
    train_all(command.config, runs, processes)
    assert_same_curves(one, [(folder, tolerance) for folder, (_, tolerance) in zip(folders, kinds, strict=True)])
    # which is no matter of course
    with pytest.raises(AssertionError):
        assert_same_curves(one, [(tmp_path / "apart", FP32)])
