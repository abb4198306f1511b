"""What the engine promises at every ZeRO stage, precision and place of its states."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy_engine
from torch import nn

from chosen_pairs import targets_of
from cluster.free_port import free_port
from pipeline.errors import SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.models.blocks import blocks
from pipeline.models.dropout import Dropout
from pipeline.settings.load import load_settings
from pipeline.train.engine.buffers import KeptBuffers
from pipeline.train.engine.build import build_engine
from pipeline.train.engine.optimizer import parameter_groups
from pipeline.train.load import untrained
from pipeline.train.settings import TrainSettings


@pytest.fixture(scope="module")
def tiny(command):
    return load_settings(str(command.config), ExperimentSettings).settings


def by_kind(kinds):
    return pytest.mark.parametrize("kind", kinds, ids=lambda kind: f"zero{kind[0]}-{kind[1]}-{kind[2]}")


@by_kind(toy_engine.EVERY)
def test_a_step_whose_gradient_is_no_number_changes_nothing(group, kind):
    toy_engine.check_bad_steps(group, *kind)


@by_kind(toy_engine.EVERY)
def test_the_average_of_the_weights_is_that_of_the_whole_weights(group, kind):
    toy_engine.check_average(group, *kind)


@by_kind(toy_engine.EVERY)
def test_the_gradient_is_clipped_to_its_whole_norm(group, kind):
    toy_engine.check_gradients(group, *kind)


@by_kind(toy_engine.EVERY)
def test_steps_of_sgd_are_torchs(group, kind):
    toy_engine.check_sgd(group, *kind)


@by_kind(toy_engine.EVERY)
def test_steps_of_muon_are_those_of_whole_matrices(group, kind):
    toy_engine.check_muon(group, *kind)


@by_kind(toy_engine.IN_16_BITS)
def test_gradients_of_a_thousand_micro_batches_add_up(group, kind):
    toy_engine.check_sums(group, *kind)


@pytest.mark.slow
@by_kind([kind for kind in toy_engine.IN_16_BITS if kind[2] == "none"])
def test_2048_samples_have_the_same_gradient_in_micro_batches_of_2_as_at_once(group, command, kind):
    words = ["model.dropout=0", "model.visual_embedder.norm=group", "model.audio_embedder.norm=group"]
    settings = load_settings(str(command.config), ExperimentSettings, words).settings
    draw = torch.Generator().manual_seed(0)
    frames = torch.rand(2048, 1, 3, 32, 32, generator=draw)
    inputs = {"frames": frames, "sound": torch.rand(2048, 1, 4095, generator=draw) - 0.5}
    gradients = []
    for micro_batch in (2048, 2):
        train = TrainSettings(batch_size=2048, clip_norm=0.0, zero_stage=kind[0], precision=kind[1])
        engine = build_engine(untrained(settings, "cpu", 0).train(), train, micro_batch, group)
        targets = targets_of(range(micro_batch), range(micro_batch), [0, 1] * (micro_batch // 2))
        for first in range(0, 2048, micro_batch):
            part = {name: values[first : first + micro_batch] for name, values in inputs.items()}
            loss, _ = engine.forward(part, targets)
            engine.backward(loss)
            engine.step()
        moments = {one.name: one.kinds["exp_avg"].double() for one in engine.fragments() if "exp_avg" in one.kinds}
        gradients.append(torch.cat([moments[name] for name in sorted(moments)]))
    assert (gradients[1] - gradients[0]).norm() < 0.02 * gradients[0].norm()


@pytest.mark.slow
def test_all_of_it_on_three_processes():
    place = {"WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    place["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, str(Path(toy_engine.__file__))]
    started = [
        subprocess.Popen(
            command, env=os.environ | place | {"RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True
        )
        for rank in ("0", "1", "2")
    ]
    try:
        errors = [process.communicate(timeout=500)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0, 0], "\n".join(errors)


def test_norms_biases_positions_and_the_class_token_do_not_decay(tiny):
    model = untrained(tiny, "cpu", 0)
    names = {parameter: name for name, parameter in model.named_parameters()}
    decaying, others = ({names[p] for p in group["params"]} for group in parameter_groups(model, 0.05))
    assert decaying | others == set(names.values())
    assert not decaying & others
    assert {"model.positions", "model.class_token", "model.embedding_norm.weight", "task.head.bias"} <= others
    assert {"model.encoder.layers.0.attention.out.weight", "task.head.weight"} <= decaying
    assert not any(name.endswith("bias") or "norm" in name for name in decaying)


def test_tables_of_embeddings_do_not_decay():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4))
    decaying, others = (group["params"] for group in parameter_groups(model, 0.1))
    assert decaying == [model[1].weight]
    assert len(others) == 2


def test_parameters_without_decay_keep_their_size_where_there_is_no_gradient(group):
    engine = toy_engine.build(group, 1, "fp32", weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in engine.module.named_parameters()}
    for _ in range(2):
        # the loss does not depend on anything
        engine.backward(engine.forward(torch.zeros(1, 7), 0.0)[0])
        engine.step()
    after = dict(engine.module.named_parameters())
    assert torch.equal(after["positions"], before["positions"])
    assert torch.equal(after["norm.weight"], before["norm.weight"])
    assert after["last.weight"].norm() < before["last.weight"].norm()


def test_a_step_that_is_left_out_can_leave_batch_norm_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    kept = KeptBuffers()
    kept.keep(model)
    model(torch.full((1, 1, 2, 2), float("nan")))
    assert model[1].running_mean.isnan().all()
    kept.put_back()
    assert model[1].running_mean.tolist() == [0, 0]
    assert int(model[1].num_batches_tracked) == 0


def test_a_machine_that_cannot_offload_to_files_says_what_is_missing(group, monkeypatch, tmp_path):
    from deepspeed.ops.op_builder import AsyncIOBuilder

    monkeypatch.setattr(AsyncIOBuilder, "is_compatible", lambda self, verbose=False: False)
    settings = TrainSettings(zero_stage=3, offload="nvme", offload_folder=str(tmp_path))
    with pytest.raises(SettingsError, match="install libaio-dev, or use offload = cpu"):
        build_engine(toy_engine.Toy(), settings, 64, group)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # its operations on files are compiled at the first time
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_offload_to_files_computes_what_offload_to_memory_does(group, precision, tmp_path):
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if not AsyncIOBuilder().is_compatible(verbose=False):
        pytest.skip("libaio is not installed")
    results = []
    for offload in ("cpu", "nvme"):
        # what is smaller than a megabyte is never written
        engine = toy_engine.build(group, 3, precision, offload, width=300_000, offload_folder=str(tmp_path))
        assert toy_engine.step(engine, group, 0)
        assert not toy_engine.step(engine, group, 1, float("nan"))
        assert toy_engine.step(engine, group, 1)
        results.append(engine.full_weights())
    assert list(tmp_path.rglob("*.swp"))
    # norms are added up in another order; in 16 bits a weight may be rounded to its other neighbour, and Adam makes a
    # step of any size of a gradient that is nearly nothing
    for name, weight in results[0].items():
        apart = (weight - results[1][name]).abs()
        assert apart.max() < (1e-5 if precision == "fp32" else 1e-3)
        assert (apart > 1e-5).sum() <= 1e-5 * apart.numel()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_blocks_compute_what_plain_ones_do(group, tiny, precision):
    losses = []
    inputs = {"frames": torch.rand(8, 1, 3, 32, 32), "sound": torch.rand(8, 1, 4095) - 0.5}
    targets = targets_of(range(8), range(8), [0, 1] * 4)
    for compiled in (False, True):
        model = untrained(tiny, "cpu", 0).train()
        for module in model.modules():
            if isinstance(module, Dropout):
                module.rate = 0.0
        settings = TrainSettings(batch_size=8, learning_rate=1e-3, precision=precision, compile=compiled)
        engine = build_engine(model, settings, 8, group)
        assert all((block._compiled_call_impl is not None) == compiled for block in blocks(engine.module))
        found = []
        for _ in range(3):
            loss, _ = engine.forward(inputs, targets)
            engine.backward(loss)
            engine.step()
            found.append(float(loss.detach()))
        losses.append(found)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4 if precision == "fp32" else 3e-2)
    assert losses[0][0] != losses[0][2]
