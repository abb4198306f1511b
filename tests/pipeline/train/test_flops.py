"""FLOPs of a sample, against what they must be by hand."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.experiment import ExperimentSettings
from pipeline.models.peak_flops import device_peak_flops, known_gpu, peak_flops
from pipeline.settings.load import load_settings
from pipeline.train.flops import SampleFlops, model_flops_utilization, training_flops
from pipeline.train.load import untrained
from pipeline.train.system import build_system, example_batch
from tiny_shards import FEATURES, MODEL


def tiny(**changes):
    return ExperimentSettings.model_validate({"features": FEATURES, "model": MODEL | changes})


def encoder_by_hand(settings, tokens):
    """Four projections, the feed-forward network, and both products of attention; a multiply-add is 2."""
    model = settings.model
    linear = 4 * model.width**2 + 2 * model.width * model.feed_forward
    return model.layers * 2 * tokens * (linear + 2 * tokens * model.width)


@pytest.mark.parametrize("pairs", ["one", "both"])
def test_the_encoder_is_counted_as_by_hand_once_a_pair(pairs):
    settings = tiny(registers=3)
    settings = settings.model_copy(update={"task": settings.task.model_copy(update={"pairs": pairs})})
    with torch.device("meta"):
        tokens = build_system(settings).model.layout.count
    flops = training_flops(settings)
    assert flops.parts["encoder"] == encoder_by_hand(settings, tokens) * (2 if pairs == "both" else 1)
    assert sum(flops.parts.values()) == flops.forward
    assert flops.recomputed == 0


def test_what_is_counted_without_memory_is_what_a_real_pass_takes():
    settings = tiny(visual_embedder={"kind": "resnet18"})
    system = untrained(settings, "cpu", 0).train()
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        loss, _ = system(*example_batch(system, settings, 3, "cpu"))
        loss.backward()
    spectrogram = system.model.spectrogram
    warp = 2 * spectrogram.warp.numel() * settings.features.time_frames
    assert counter.get_total_flops() == 3 * (training_flops(settings).training + warp)


def test_grouped_convolutions_cost_as_much_backward_as_forward_for_each_gradient():
    # torch's own rule counts the weight's gradient of a depthwise convolution as of a full one
    flops = training_flops(tiny(visual_embedder={"kind": "convnext"}))
    assert 1.8 * flops.forward < flops.backward <= 2 * flops.forward


def test_recomputation_is_counted_apart():
    settings = tiny()
    full = settings.model_copy(update={"train": settings.train.model_copy(update={"activation_checkpointing": "full"})})
    kept, recomputed = training_flops(settings), training_flops(full)
    assert recomputed.training == kept.training
    assert 0.5 * kept.forward < recomputed.recomputed <= kept.forward


def test_a_variant_is_counted_without_its_memory():
    settings = load_settings("configs/experiments/gavt_small.yaml", ExperimentSettings).settings
    with torch.device("meta"):
        system = build_system(settings)
    assert all(parameter.is_meta for parameter in system.parameters())
    flops = training_flops(
        settings.model_copy(update={"train": settings.train.model_copy(update={"activation_checkpointing": "none"})})
    )
    matrices = sum(m.weight.numel() for m in system.modules() if isinstance(m, nn.Linear))
    tokens = system.model.layout.count
    assert flops.forward > 2 * matrices  # each matrix sees many tokens
    assert flops.parts["encoder"] == encoder_by_hand(settings, tokens)


def test_utilisation_is_what_is_needed_over_what_there_is():
    flops = SampleFlops(forward=10**12, backward=2 * 10**12, recomputed=10**12, parts={})
    assert model_flops_utilization(100, flops, devices=2, peak_flops=1e15) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("name", "bf16"),
    [
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("Tesla V100-SXM2-32GB", None),  # it has no bf16
        ("some other device", None),
    ],
)
def test_known_gpus_have_their_peak(name, bf16):
    assert peak_flops(name, "bf16") == bf16


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("NVIDIA GH200 480GB", 94),
        ("NVIDIA A100-SXM4-40GB", 39),
        ("NVIDIA A100 80GB PCIe", 79),
        ("Tesla V100-SXM2-16GB", 15),
        ("h200", 139),
    ],
)
def test_known_gpus_have_the_memory_that_cuda_tells(name, gib):
    assert known_gpu(name).memory_gib == gib


@pytest.mark.parametrize("name", ["NVIDIA RTX A4000", "NVIDIA RTX A1000", "NVIDIA T400 4GB", "NVIDIA GB200"])
def test_a_gpu_is_not_taken_for_another_whose_name_is_a_part_of_its_own(name):
    assert known_gpu(name) is None


@pytest.mark.parametrize(("name", "tera"), [("NVIDIA H100 80GB HBM3", 494.7), ("Tesla V100-SXM2-32GB", 15.7)])
def test_fp32_counts_as_tf32_which_convolutions_use_where_the_gpu_has_it(monkeypatch, name, tera):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert device_peak_flops(torch.device("cuda"), "fp32") == tera * 1e12
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert device_peak_flops(torch.device("cuda"), "fp32") == known_gpu(name).fp32 * 1e12


def test_a_cpu_has_no_known_peak():
    assert device_peak_flops(torch.device("cpu"), "fp32") is None
    assert known_gpu("cpu") is None
