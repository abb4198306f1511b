"""Blocks that differ in numbers alone share what torch.compile makes of them; no later step compiles anything."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.experiment import ExperimentSettings
from pipeline.models.build import build_on
from pipeline.models.recompute import Mode, set_checkpointing
from pipeline.settings.load import load_settings
from pipeline.train.engine.build import compile_blocks
from pipeline.train.system import build_system, example_batch
from tiny_shards import FEATURES, MODEL

VIT = {"kind": "vit", "patch": 8, "width": 16, "feed_forward": 32, "heads": 2, "layers": 5, "drop_path": 0.3}


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> "Iterator[Any]":
    """The number of graphs so far; they are traced as ever, and run as they are instead of being made into kernels."""
    import torch._dynamo

    compile_as_ever = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module, **words: compile_as_ever(module, backend="eager", **words))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield lambda: torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch._dynamo.reset()


@pytest.mark.parametrize("recomputed", ["none", "full"])
def test_an_encoder_of_any_depth_is_one_graph_and_no_later_step_compiles(graphs: Any, recomputed: Mode) -> None:
    model = MODEL | {"visual_embedder": VIT, "layers": 6, "dropout": 0.1, "drop_path": 0.2}
    words = [f"features={json.dumps(FEATURES)}", f"model={json.dumps(model)}"]
    settings = load_settings(None, ExperimentSettings, words).settings
    system = build_on("cpu", 0, lambda: build_system(settings)).train()
    set_checkpointing(system, recomputed)
    compile_blocks(system)
    counted = []
    for samples in (8, 8, 8):
        loss, _ = system(*example_batch(system, settings, samples, "cpu"))
        loss.backward()
        counted.append(graphs())
    # the encoder's layers, the tower's, and the three stages of the sound's convolutions, which have other shapes
    assert counted == [5, 5, 5]


def test_the_blocks_of_a_convnexts_stage_are_one_graph(graphs: Any) -> None:
    convnext = {"kind": "convnext", "drop_path": 0.3}
    words = [f"features={json.dumps(FEATURES)}", f"model={json.dumps(MODEL | {'visual_embedder': convnext})}"]
    settings = load_settings(None, ExperimentSettings, words).settings
    embedder = build_on("cpu", 0, lambda: build_system(settings)).model.visual_embedder
    blocks = list(embedder.features)[1:4]
    image = torch.rand(2, 4, 4, 96, requires_grad=True).permute(0, 3, 1, 2)  # as the blocks leave it in memory
    for block in blocks:
        block.train().compile(dynamic=False)
        image = block(image)
    image.sum().backward()
    assert graphs() == 1
