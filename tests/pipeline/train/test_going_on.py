"""A small model goes on from its checkpoints, whatever shared out its states when they were saved."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy_engine
from small_checkpoints import held, saver_of
from torch import nn

from pipeline.errors import CheckpointError
from pipeline.train.checkpoints import find_checkpoint
from pipeline.train.checkpoints.restore import load_engine
from pipeline.train.engine.build import build_engine
from pipeline.train.run.resume_changes import changes_since
from ranks_of_small import compare
from saved_weights import saved_weights
from small_engine import BATCH, WAYS, Small, assert_equal, build, settings_of, train

TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize(("stage", "precision"), WAYS)
def test_an_engine_goes_on_from_every_zero_stage_and_precision_to_the_bit(group, checkpoints, stage, precision):
    engine = build(group, stage, precision, seed=9)
    averages = [torch.zeros(master.shape) for master in engine.masters()]
    for run, theirs, counted in checkpoints.values():
        load_engine(find_checkpoint(str(run)), engine, averages)
        assert_equal(held(engine, averages), theirs)
        assert engine.counters() == counted
        model = {name: parameter for name, parameter in engine.module.named_parameters() if stage < 3}
        for name, parameter in model.items():  # what the model computes with is the masters
            assert torch.equal(parameter.view(-1), theirs[name, "fp32"].to(parameter.dtype))
    train(engine, 1)


@pytest.mark.parametrize(("stage", "precision"), [(0, "fp32"), (1, "bf16"), (2, "bf16"), (3, "fp32")])
def test_sgd_goes_on_to_the_bit_from_other_stages_with_the_momentum_that_was_saved(group, tmp_path, stage, precision):
    sgd = {"optimizer": "sgd", "weight_decay": 0.1}
    engine = build(group, stage, precision, steps=2, **sgd)
    saving = saver_of(tmp_path, group, **sgd)
    saving.save(engine, 2, {})
    saving.finish()
    saved = held(engine)
    assert {kind for _, kind in saved} == {"fp32", "momentum_buffer"}
    others = [build(group, *way, seed=9, **sgd) for way in ((0, "bf16"), (2, "fp32"), (stage, precision))]
    for other in others:
        load_engine(find_checkpoint(str(tmp_path)), other)
        assert_equal(held(other), saved)
    for one in (engine, others[-1]):
        train(one, 2)
    assert_equal(held(others[-1]), held(engine))


@pytest.mark.parametrize(("stage", "precision"), [(0, "fp32"), (1, "bf16"), (2, "bf16"), (3, "fp32")])
def test_muon_goes_on_to_the_bit_from_other_stages_with_each_parameters_own_states(group, tmp_path, stage, precision):
    engine = toy_engine.build_matrices(group, stage, precision)
    toy_engine.step_matrices(engine, [0, 1])
    saving = saver_of(tmp_path, group, optimizer="muon")
    saving.save(engine, 2, {})
    saving.finish()
    saved = held(engine)
    kinds = {name: {kind for other, kind in saved if other == name} for name, _ in saved}
    assert kinds["kernel.weight"] == kinds["query_key_value.weight"] == {"fp32", "momentum_buffer"}
    assert kinds["first.weight"] == kinds["kernel.bias"] == {"fp32", "exp_avg", "exp_avg_sq"}
    others = [toy_engine.build_matrices(group, *way) for way in ((0, "bf16"), (2, "fp32"), (stage, precision))]
    for other in others:
        load_engine(find_checkpoint(str(tmp_path)), other)
        assert_equal(held(other), saved)
    for one in (engine, others[-1]):
        toy_engine.step_matrices(one, [2, 3])
    assert_equal(held(others[-1]), held(engine))


@pytest.mark.parametrize(("stage", "precision"), WAYS)
def test_the_weights_of_a_checkpoint_are_readable_without_deepspeed(checkpoints, stage, precision):
    run, theirs, _ = checkpoints[stage, precision]
    weights, average = saved_weights(run), saved_weights(run, average=True)
    assert weights.keys() == average.keys() == Small(0).state_dict().keys()
    for name, value in weights.items():
        assert torch.equal(value.view(-1).float(), theirs[name, "fp32"].float())
        kind = "ema" if (name, "ema") in theirs else "fp32"
        assert torch.equal(average[name].view(-1).float(), theirs[name, kind].float())
    Small(1).load_state_dict(weights)


def test_the_loss_scale_is_that_of_fp16_and_no_other_precision_knows_it(group, tmp_path, monkeypatch):
    def saved(engine, place):
        saving = saver_of(tmp_path / place, group)
        saving.save(engine, 2, {})
        saving.finish()
        return find_checkpoint(str(tmp_path / place))

    plain, scaled = build(group, 1, "fp32"), build(group, 1, "fp32")
    scaled._deepspeed.fp16_enabled = lambda: True  # as far as it matters here; this CPU may have no fp16
    scaled._deepspeed.optimizer.loss_scaler.cur_scale = 512.0
    from_plain, from_scaled = saved(plain, "plain"), saved(scaled, "scaled")
    load_engine(from_scaled, plain)
    assert plain._deepspeed.optimizer.loss_scaler.cur_scale == 1
    load_engine(from_plain, scaled)
    assert scaled._deepspeed.optimizer.loss_scaler.cur_scale == 512
    scaled._deepspeed.optimizer.loss_scaler.cur_scale = 65536.0
    load_engine(from_scaled, scaled)
    assert scaled._deepspeed.optimizer.loss_scaler.cur_scale == 512


@pytest.fixture(scope="module")
def from_one(tmp_path_factory):
    return in_processes(1, tmp_path_factory.mktemp("one"))


def in_processes(number, out, *others):
    """Save with so many processes, which go on from what others saved."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
    words = [sys.executable, str(TESTS / "ranks_of_small.py"), str(out), *map(str, others)]
    code = f"from cluster.launch import launch_local; raise SystemExit(launch_local({words!r}, {number}))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_two_processes_go_on_where_one_stopped_and_one_where_two_did(from_one, group, tmp_path):
    from_two = in_processes(2, tmp_path / "two", from_one)
    compare(from_two, group)


@pytest.mark.slow
def test_three_processes_go_on_where_one_or_two_stopped_and_these_where_three_did(from_one, tmp_path):
    from_two = in_processes(2, tmp_path / "two", from_one)
    from_three = in_processes(3, tmp_path / "three", from_one, from_two)
    for number in (1, 2):
        in_processes(number, tmp_path / f"again-{number}", from_three)


def test_a_model_with_other_parameters_is_refused(group, checkpoints):
    run, *_ = checkpoints[1, "fp32"]

    class Wider(Small):
        def __init__(self) -> None:
            super().__init__(0)
            self.last = nn.Linear(13, 4)

    engine = build_engine(Wider(), settings_of().train, BATCH, group)
    with pytest.raises(CheckpointError, match=r"expected last.weight of shape \[4, 13\], found \[3, 13\]"):
        load_engine(find_checkpoint(str(run)), engine)


def test_a_manifest_tells_what_saved_it(checkpoints):
    run, *_ = checkpoints[3, "bf16"]
    found = find_checkpoint(str(run))
    assert {"world_size": 1, "zero_stage": 3, "precision": "bf16"}.items() <= found.manifest.items()
    assert {"torch", "deepspeed", "gavt"} == found.manifest["versions"].keys()
    assert changes_since(found, settings_of(3, "bf16"), 1) == ({}, None)
    changed, _ = changes_since(found, settings_of(1, "bf16"), 2)
    assert changed == {"world_size": {"from": 1, "to": 2}, "train.zero_stage": {"from": 3, "to": 1}}


# what writes the files is compiled first
@pytest.mark.parametrize("offload", ["cpu", pytest.param("nvme", marks=pytest.mark.slow)])
def test_states_in_host_memory_or_in_files_go_into_a_checkpoint_and_out_of_it(group, tmp_path, offload):
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if offload == "nvme" and not AsyncIOBuilder().is_compatible(verbose=False):
        pytest.skip("libaio is not installed")
    width = 300_000 if offload == "nvme" else 13  # what is smaller than a megabyte stays in memory

    def away(name):
        return toy_engine.build(group, 3, "bf16", offload, width=width, offload_folder=str(tmp_path / name))

    engine, saving = away("a"), saver_of(tmp_path / "run", group)
    for step in range(2):
        toy_engine.step(engine, group, step)
    saving.save(engine, 2, {})
    saving.finish()
    again, plain = away("b"), toy_engine.build(group, 1, "fp32", width=width)
    for other in (again, plain):
        load_engine(find_checkpoint(str(tmp_path / "run")), other)
        assert_equal(held(other), held(engine))
    for one in (engine, again):
        toy_engine.step(one, group, 2)
    assert_equal(held(again), held(engine))
