"""TriBERT: its sizes, and each of its networks against the same worked out in another way."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml

from pipeline.features.settings import FeatureSettings
from pipeline.models.attention import attention_weights
from pipeline.models.build import build_on
from pipeline.models.tribert.co_attention import TribertBlock
from pipeline.models.tribert.model import Tribert
from pipeline.models.tribert.settings import TribertSettings
from pipeline.tasks.over_time import by_time
from randomised import randomised
from small_tribert import FRAMES, POSE, SMALL, STEPS, small
from tiny_shards import FEATURES

CONFIGS = Path(__file__).parents[3] / "configs" / "models"
WIDTHS = {"visual": 32, "pose": 24, "audio": 16}


def inputs(count=2):
    return {
        "frames": torch.rand(count, FRAMES, 3, 32, 32),
        "sound": torch.rand(count, 1, 4095) - 0.5,
        "keypoints": torch.rand(count, STEPS, 2, 68, 3),
    }


def numbers(module):
    return sum(parameter.numel() for parameter in module.parameters())


def full():
    """The settings file at the paper's sizes, as its public code reads it."""
    found = yaml.safe_load((CONFIGS / "tribert.yaml").read_text())
    settings = TribertSettings.model_validate(found["model"] | {"join": "features", "expansive": "classes"})
    features = FeatureSettings.model_validate(found["features"])
    assert settings.reason_against(features) is None
    with torch.device("meta"):
        return Tribert(settings, features, {"keypoints": (256, 2, 68, 3)})


def test_the_small_settings_file_is_of_a_model_that_can_be_built():
    found = yaml.safe_load((CONFIGS / "tribert_mini.yaml").read_text())
    settings, features = (
        TribertSettings.model_validate(found["model"]),
        FeatureSettings.model_validate(found["features"]),
    )
    assert settings.reason_against(features) is None
    with torch.device("meta"):
        model = Tribert(settings, features, {"keypoints": (1, 2, 68, 3)})
    assert numbers(model) < 3_000_000


@torch.no_grad()
def test_the_full_size_has_as_many_parameters_as_the_public_code():
    model = full()
    assert numbers(model.audio) == 7_908_608  # of which 6 859 520 of convolutions
    assert numbers(model.visual) == 23_508_032 + 18_875_392 + 21_525 + 462 + 21_525
    assert numbers(model.pose.project) + numbers(model.pose.locate) == 17_826_816 + 6_144
    channels = (3, 64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
    graphs = 0
    for before, width in pairwise(channels):
        space, over_time = (before + 1) * 3 * width, (9 * width + 1) * width
        shortcut = (before + 1) * width + 2 * width if before in (64, 128) and before != width else 0
        graphs += space + over_time + 2 * 2 * width + shortcut + 3 * 68**2
    assert numbers(model.pose.graphs) == graphs
    assert numbers(model.pose.input_norm) == 2 * 3 * 68
    assert numbers(model.blocks) == 6 * 23_902_720


@torch.no_grad()
def test_the_full_size_has_the_shapes_of_the_public_code():
    model = full()
    with torch.device("meta"):
        assert model.visual.features(torch.empty(1, 3, 224, 224)).shape == (1, 1024, 7, 7)
        assert model.audio.features(torch.empty(1, 1, 256, 256)).flatten(1).shape == (1, 2048)
        assert model.pose.graphs(torch.empty(2, 3, 256, 68)).shape == (2, 256, 64, 68)
    assert model.pose.project.in_features == 256 * 68
    assert {name: (grid.count, model.widths[name]) for name, grid in model.grids.items()} == {
        "visual": (4 * 2, 1024),
        "pose": (4 * 2, 1024),
        "audio": (4 * 2, 512),
    }


@pytest.mark.parametrize("join", ["tokens", "features"])
def test_placing_and_encoding_gives_the_tokens_that_grids_and_widths_say(join):
    model = small(join=join)
    encoded = model.fuse(model.embed(inputs()), attention=[1])
    found = {name: tuple(tokens.shape) for name, tokens in encoded.tokens.items()}
    assert found == {name: (2, grid.count, model.widths[name]) for name, grid in model.grids.items()}
    looked = encoded.attention.between("visual", "pose")
    assert list(looked) == [1]
    assert looked[1].shape == (2, 2, 8, 8)
    assert encoded.attention.between("pose", "pose")[1].whole().sum(-1).allclose(torch.ones(2, 2, 8))


def test_what_frames_show_lies_in_time_behind_what_stands_for_all_and_what_is_heard_does_not():
    model = small()
    with torch.no_grad():
        embedded = model.embed(inputs())
    for name, objects in (("visual", 2), ("pose", 2)):
        timed = by_time(embedded[name], model.grids[name])
        assert torch.equal(timed, embedded[name][:, objects:].unflatten(1, (FRAMES, objects)))
    assert by_time(embedded["audio"], model.grids["audio"]).shape == (2, 1, 8, 16)
    assert {name: len(moments) for name, moments in model.moments_s.items()} == {"visual": FRAMES, "pose": FRAMES}
    assert model.class_maps.count == embedded["class_maps"].shape[1] == FRAMES * 8 * 8


@pytest.mark.parametrize("join", ["tokens", "features"])
def test_some_tokens_of_some_streams_are_encoded_too(join):
    model = small(join=join)
    with torch.no_grad():
        placed = model.place(model.embed(inputs()))
        alone = model.encode({"pose": placed["pose"]}).tokens
        some = model.encode({"pose": placed["pose"][:, :3], "audio": placed["audio"]}).tokens
    assert {name: tokens.shape[1] for name, tokens in alone.items()} == {"pose": 8}
    assert {name: tokens.shape[1] for name, tokens in some.items()} == {"pose": 3, "audio": 8}


def test_an_input_gives_the_same_tokens_with_and_without_the_others():
    model, given = small(), inputs()
    with torch.no_grad():
        together = model.embed(given)
        for field, streams in (("frames", ["visual", "class_maps"]), ("keypoints", ["pose"]), ("sound", ["audio"])):
            alone = model.embed({field: given[field]})
            assert list(alone) == streams
            assert all(torch.equal(alone[stream], together[stream]) for stream in streams)
        heard = model.embed({"heard": model.hear(given["sound"])})
    assert torch.equal(heard["audio"], together["audio"])


@pytest.mark.parametrize("expansive", ["space", "classes"])
def test_visual_tokens_are_pooled_by_the_maps_of_the_two_surest_classes(expansive):
    network = randomised(small(expansive=expansive).visual)
    with torch.no_grad():
        frames = torch.rand(2, 3, 32, 32)
        grid, (tokens, given) = network.features(frames).numpy(), network(frames)

    def pointwise(layer, values):
        return (
            np.einsum("oc,nchw->nohw", layer.weight.detach().numpy()[:, :, 0, 0], values)
            + (layer.bias.detach().numpy()[:, None, None])
        )

    expanded = np.maximum(pointwise(network.expansive, grid), 0)
    if expansive == "space":
        attention = expanded / expanded.sum((2, 3), keepdims=True)
    else:
        raised = np.exp(np.maximum(pointwise(network.expansive_classes, expanded), 0))
        attention = raised / raised.sum(1, keepdims=True)
    maps = attention * pointwise(network.discriminative, grid)
    for sample in range(2):
        surest = np.argsort(-maps[sample].mean((1, 2)))[:2]
        expected = [(grid[sample] * maps[sample, one]).mean((1, 2)) for one in surest]
        np.testing.assert_allclose(tokens[sample].numpy(), expected, rtol=1e-4, atol=1e-6)
    scores = maps.sum((2, 3)) if expansive == "space" else maps.mean((2, 3))
    np.testing.assert_allclose(given.mean((2, 3)).numpy(), scores, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(given.flatten(2).softmax(2).argmax(2), maps.reshape(2, 5, -1).argmax(2))


def test_the_audio_token_is_that_of_convolutions_worked_out_one_by_one():
    network, spectrogram = randomised(small().audio), torch.rand(2, 1, 32, 32)
    values = spectrogram
    state = network.state_dict()
    for layer in range(3):
        weight, bias = state[f"features.{layer}.0.weight"], state[f"features.{layer}.0.bias"]
        side = values.shape[-1]
        seen = F.unfold(values, 3, padding=1)  # [B, C·9, N]
        values = (weight.flatten(1) @ seen + bias[:, None]).clamp(min=0).view(2, -1, side // 2, 2, side // 2, 2)
        values = values.amax((3, 5))
    expected = values.flatten(1) @ state["project.weight"].T + state["project.bias"]
    torch.testing.assert_close(network(spectrogram), expected)


@pytest.mark.parametrize("join", ["tokens", "features"])
def test_a_block_is_what_its_equations_say(join):
    settings = TribertSettings.model_validate(SMALL | {"join": join})
    block = randomised(build_on("cpu", 0, lambda: TribertBlock(WIDTHS, settings))).eval()
    state = {name: value.double().numpy() for name, value in block.state_dict().items()}
    tokens = {name: torch.rand(1, 4, width) for name, width in WIDTHS.items()}
    given = {name: stream[0].double().numpy() for name, stream in tokens.items()}

    def linear(name, values):
        return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name, values):
        centred = values - values.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def fed(prefix, first, second, values):
        hidden = torch.from_numpy(linear(f"{prefix}.{first}", values))
        return linear(f"{prefix}.{second}", F.gelu(hidden).numpy())

    def looked(query, key, value):
        mixed = []
        for q, k, v in zip(*(np.split(one, 2, 1) for one in (query, key, value)), strict=True):
            raised = np.exp(q @ k.T / np.sqrt(k.shape[1]))
            mixed.append(raised / raised.sum(1, keepdims=True) @ v)
        return np.concatenate(mixed, 1)

    def joined(kind, others):
        one, other = (linear(f"co_attention.{kind}.{name}", given[name]) for name in others)
        if join == "tokens":
            return np.concatenate([one, other])
        halves = (*np.split(one, 2, 1), *np.split(other, 2, 1))  # each head has one of each
        return np.concatenate([halves[0], halves[2], halves[1], halves[3]], 1)

    with torch.no_grad():
        found, _ = block(tokens)
    for name in WIDTHS:
        others = [other for other in WIDTHS if other != name]
        query = linear(f"co_attention.queries.{name}", given[name])
        mixed = looked(query, joined("key_of", others), joined("value_of", others))
        seen = norm(f"co_attention.norms.{name}", given[name] + linear(f"co_attention.outs.{name}", mixed))
        crossed = norm(f"co_attention.last_norms.{name}", seen + fed(f"co_attention.feed_forwards.{name}", 0, 2, seen))
        own = f"self_attention.{name}"
        parts = np.split(linear(f"{own}.attention.query_key_value", crossed), 3, 1)
        seen = norm(f"{own}.attention_norm", crossed + linear(f"{own}.attention.out", looked(*parts)))
        expected = norm(f"{own}.feed_forward_norm", seen + fed(f"{own}.feed_forward", 0, 3, seen))
        np.testing.assert_allclose(found[name][0].numpy(), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("join", ["tokens", "features"])
def test_a_gradient_can_be_asked_of_what_a_stream_looked_at(join):
    model = small(join=join)
    encoded = model.fuse(model.embed(inputs()), attention=[0])
    pairs = [(one, other) for one in WIDTHS for other in WIDTHS]
    watched = [encoded.attention.between(*pair)[0].weights.watched for pair in pairs]
    answer = sum(stream.square().sum() for stream in encoded.tokens.values())
    assert all(gradient.any() for gradient in torch.autograd.grad(answer, watched))


def test_attention_to_others_is_their_part_of_one_softmax():
    model = small()
    with torch.no_grad():
        placed = model.place(model.embed(inputs()))
        attention = model.encode(placed, attention=[0]).attention
        layer = model.blocks[0].co_attention
        query, *keys = (
            table[name](placed[name]).unflatten(2, (2, -1)).transpose(1, 2)
            for table, name in ((layer.queries, "audio"), (layer.key_of, "visual"), (layer.key_of, "pose"))
        )
        whole = attention_weights(query, torch.cat(keys, 2))
    for other, part in zip(("visual", "pose"), whole.split(8, -1), strict=True):
        torch.testing.assert_close(attention.between("audio", other)[0].whole(), part)


@pytest.mark.parametrize(
    ("inputs_", "changes", "said"),
    [
        ({}, {}, "features.inputs.keypoints of kind keypoints for model.kind = tribert, found none"),
        ({"keypoints": POSE | {"frames": 4}}, {}, "frames of 5 or more for model.graph_widths, found 4"),
        ({"keypoints": POSE}, {"sound_widths": [4] * 6}, "of 64 or more for model.sound_widths, found 32"),
        ({"keypoints": POSE}, {"visual_embedder": {"kind": "resnet50"}, "frame": 48}, "multiples of 32"),
    ],
)
def test_inputs_that_leave_nothing_are_refused_in_a_sentence(inputs_, changes, said):
    features = {"frames": FRAMES, "inputs": inputs_, "frame_size": changes.pop("frame", 32)}
    reason = TribertSettings.model_validate(SMALL | changes).reason_against(
        FeatureSettings.model_validate(FEATURES | features)
    )
    assert reason is not None
    assert said in reason
