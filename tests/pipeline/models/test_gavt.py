from pathlib import Path

import pytest
import torch
from tiny_gavt import encode, inputs, sequence, some, tiny

from pipeline.experiment import ExperimentSettings
from pipeline.features.settings import FeatureSettings
from pipeline.models.build import build_on
from pipeline.models.gavt import Gavt
from pipeline.models.settings import GavtSettings
from pipeline.settings.load import load_settings
from tiny_shards import FEATURES, MODEL

EXPERIMENTS = Path(__file__).parents[3] / "configs" / "experiments"


@pytest.mark.parametrize(
    ("version", "width", "layers", "heads", "millions"),
    [("a", 128, 8, 8, 1.23), ("b", 256, 8, 8, 18.5), ("c", 512, 2, 16, 18.7)],
)
def test_table_2s_versions_have_321_tokens_and_their_width(version, width, layers, heads, millions):
    settings = load_settings(EXPERIMENTS / f"gavt_{version}.yaml", ExperimentSettings).settings
    with torch.device("meta"):
        model = Gavt(settings.model, settings.features)
    assert model.layout.visual_grid == (8, 8)
    assert model.layout.audio_grid == (16, 16)
    assert model.layout.count == 321
    assert (settings.model.width, settings.model.layers, settings.model.heads) == (width, layers, heads)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize("version", ["a", "c"])
def test_the_embedders_give_as_many_tokens_as_the_layout_says(version):
    settings = load_settings(EXPERIMENTS / f"gavt_{version}.yaml", ExperimentSettings).settings
    model = build_on("cpu", 0, lambda: Gavt(settings.model, settings.features)).eval()
    given = {"frames": torch.rand(1, 1, 3, 128, 128), "sound": torch.rand(1, 1, 65535)}
    encoded = encode(model, given, attention=True)
    assert sequence(model, encoded.tokens).shape == (1, 321, settings.model.width)
    shapes = [layer.shape for layer in encoded.attention.joint.values()]
    assert shapes == [(1, settings.model.heads, 321, 321)] * settings.model.layers


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_first": True},
        {"norm_first": False},
        {"query_key_norm": True, "layer_scale": 0.5, "drop_path": 0.5, "registers": 3},
    ],
)
def test_asking_for_attention_changes_nothing(changes):
    model = tiny(**changes).eval()
    with torch.no_grad():
        fused, mapped = encode(model, inputs()), encode(model, inputs(), attention=True)
    assert fused.attention is None
    assert torch.allclose(sequence(model, fused.tokens), sequence(model, mapped.tokens), atol=1e-5)
    sums = [layer.whole().sum(-1) for layer in mapped.attention.joint.values()]
    assert all(torch.allclose(one, torch.ones_like(one)) for one in sums)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    one, same, other = tiny(1).state_dict(), tiny(1).state_dict(), tiny(2).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["positions"], other["positions"])


def test_building_leaves_the_callers_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    tiny()
    assert torch.equal(torch.rand(1), expected)


def test_running_averages_stay_in_float32_and_move_in_bf16():
    model = tiny().bfloat16().train()
    norm = model.visual_embedder.features[0][1]
    assert norm.running_mean.dtype == torch.float32
    assert norm.weight.dtype == torch.bfloat16
    before = norm.running_mean.clone()
    tokens = encode(model, inputs(8)).tokens
    assert {stream.dtype for stream in tokens.values()} == {torch.bfloat16}
    assert not torch.equal(norm.running_mean, before)


def test_group_norm_gives_the_same_tokens_for_any_batch():
    embedder = {"kind": "convolution", "widths": [8, 16, 16], "norm": "group"}
    model = tiny(visual_embedder=embedder, audio_embedder=embedder, dropout=0.0).train()
    together = sequence(model, encode(model, inputs(4)).tokens)
    half = sequence(model, encode(model, some(inputs(4), slice(2))).tokens)
    assert torch.allclose(together[:2], half, atol=1e-5)


def test_an_input_that_does_not_divide_is_refused():
    features = FeatureSettings.model_validate(FEATURES | {"frame_size": 30})
    assert "multiples of 4" in str(GavtSettings.model_validate(MODEL).reason_against(features))
