"""The AV-transformer: its sizes, and each of its parts against the same worked out place by place."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline.features.settings import FeatureSettings
from pipeline.models.av_transformer.model import AvTransformer
from pipeline.models.av_transformer.settings import AvTransformerSettings
from pipeline.models.build import build_on
from tiny_shards import FEATURES

CONFIGS = Path(__file__).parents[3] / "configs" / "models"
SEGMENTS, SIDE, VISUAL, AUDIO = 4, 3, 10, 6
PLACES = SIDE**2
SHAPES = {"visual": (SEGMENTS, SIDE, SIDE, VISUAL), "audio": (SEGMENTS, AUDIO)}
STORED = {
    "frames": SEGMENTS,
    "inputs": {name: {"kind": "stored", "member": f"{name}.npy", "shape": shape} for name, shape in SHAPES.items()},
}


def small(**changes):
    settings = AvTransformerSettings.model_validate({"segments": SEGMENTS, "hidden": 5, "event_width": 7} | changes)
    features = FeatureSettings.model_validate(FEATURES | STORED)
    assert settings.reason_against(features) is None
    model = build_on("cpu", 0, lambda: AvTransformer(settings, features, SHAPES)).eval()
    for parameter in model.parameters():  # else all attention is nearly even, and biases are zeros
        parameter.data = torch.randn_like(parameter) * 0.5
    return model


def inputs(count=2):
    random = torch.Generator().manual_seed(0)
    return {name: torch.randn(count, *shape, generator=random) for name, shape in SHAPES.items()}


def told(model, given):
    """What it says of segments, and its attention [B, T, R] to places of the own segment."""
    with torch.no_grad():
        encoded = model.fuse(model.embed(given), attention=True)
    looked = encoded.attention.between("audio", "visual")[0].whole()[:, 0]
    assert looked.sum(-1).allclose(torch.ones(len(looked), SEGMENTS))
    by_segment = looked.unflatten(2, (SEGMENTS, PLACES))
    own = torch.stack([by_segment[:, segment, segment] for segment in range(SEGMENTS)], 1)
    assert own.sum(-1).allclose(torch.ones(len(looked), SEGMENTS))  # none of it lies on another segment's frame
    return encoded.tokens["segments"].numpy(), own.numpy()


def weights(module):
    return {name: values.detach().numpy().astype(np.float64) for name, values in module.state_dict().items()}


def perceptron(module, values):
    state = weights(module)
    hidden = np.maximum(values @ state["0.weight"].T + state["0.bias"], 0)
    return hidden @ state["2.weight"].T + state["2.bias"]


def softmax(values):
    raised = np.exp(values - values.max())
    return raised / raised.sum()


def lstm(state, values, prefix="", suffix="", start=None):
    """Hidden states [T, H] of one direction, and the last hidden and cell state; gates as PyTorch's documentation has
    them."""
    size = state[f"{prefix}weight_hh_l0{suffix}"].shape[1]
    hidden, cell = (np.zeros(size), np.zeros(size)) if start is None else start
    found = []
    for value in values:
        gates = (
            state[f"{prefix}weight_ih_l0{suffix}"] @ value
            + state[f"{prefix}bias_ih_l0{suffix}"]
            + state[f"{prefix}weight_hh_l0{suffix}"] @ hidden
            + state[f"{prefix}bias_hh_l0{suffix}"]
        )
        enter, keep, new, leave = np.split(gates, 4)
        cell = cell / (1 + np.exp(-keep)) + np.tanh(new) / (1 + np.exp(-enter))
        hidden = np.tanh(cell) / (1 + np.exp(-leave))
        found.append(hidden)
    return np.array(found), (hidden, cell)


@pytest.mark.parametrize(("hears", "residual"), [(True, False), (False, True)])
@pytest.mark.parametrize("neighbours", [(-1, 0, 1), (0,), (-1, 1)])
@pytest.mark.parametrize("keys", ["summed", "each"])
def test_a_place_is_a_mean_of_places_by_query_and_keys_of_equation_2(keys, neighbours, hears, residual):
    encoding = small(keys=keys, neighbours=neighbours, hears=hears, residual=residual).encoding
    given = inputs(1)
    seen, heard = given["visual"].flatten(2, 3), given["audio"]
    with torch.no_grad():
        found = encoding(seen, heard)[0].numpy()
    seen, heard = seen[0].numpy().astype(np.float64), heard[0].numpy().astype(np.float64)
    for segment in range(SEGMENTS):
        beside = [min(max(segment + step, 0), SEGMENTS - 1) for step in neighbours]
        for place in range(PLACES):
            query = perceptron(encoding.theta, seen[segment, place]) + (heard[segment] if hears else 0)
            if keys == "summed":
                scores = [
                    sum(query @ perceptron(encoding.phi, seen[other, to]) for other in beside) for to in range(PLACES)
                ]
                values = [seen[segment, to] for to in range(PLACES)]
            else:
                looked_at = [(other, to) for other in beside for to in range(PLACES)]
                scores = [query @ perceptron(encoding.phi, seen[one]) for one in looked_at]
                values = [seen[one] for one in looked_at]
            expected = softmax(np.array(scores)) @ perceptron(encoding.value, np.array(values))
            if residual:
                expected = expected + perceptron(encoding.value, seen[segment, place])
            np.testing.assert_allclose(found[segment, place], expected, rtol=1e-4, atol=1e-5)


def test_other_encodings_are_what_they_are_called():
    given = inputs(1)
    seen, heard = given["visual"].flatten(2, 3), given["audio"]
    values = seen[0].numpy().astype(np.float64)
    for name in ("mlp", "lstm", "conv3d"):
        encoding = small(encoding=name).encoding
        with torch.no_grad():
            found = encoding(seen, heard)[0].numpy()
        if name == "mlp":
            expected = perceptron(encoding.perceptron, values)
        elif name == "lstm":
            state = weights(encoding.lstm)
            expected = np.stack([lstm(state, values[:, place])[0] for place in range(PLACES)], 1)
        else:
            state = weights(encoding.convolution)
            cube = np.pad(values.reshape(SEGMENTS, SIDE, SIDE, VISUAL), ((1, 1), (1, 1), (1, 1), (0, 0)))
            expected = np.zeros((SEGMENTS, SIDE, SIDE, AUDIO)) + state["bias"]
            for time, row, column in np.ndindex(3, 3, 3):
                part = cube[time : time + SEGMENTS, row : row + SIDE, column : column + SIDE]
                expected += part @ state["weight"][:, :, time, row, column].T
            expected = np.maximum(expected, 0).reshape(SEGMENTS, PLACES, AUDIO)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("co_attention", ["instance", "audio_guided"])
def test_places_are_weighted_by_how_they_go_with_the_sound(co_attention):
    model = small(co_attention=co_attention)
    given = inputs(1)
    _, looked = told(model, given)
    with torch.no_grad():
        encoded = model.encoding(given["visual"].flatten(2, 3), given["audio"])[0].numpy().astype(np.float64)
    for segment, sound in enumerate(given["audio"][0].numpy().astype(np.float64)):
        if co_attention == "instance":
            scores = encoded[segment] @ sound  # Eq. 3
        else:
            state = weights(model.co_attention)
            seen = np.maximum(encoded[segment] @ state["places.weight"].T + state["places.bias"], 0)
            heard = np.maximum(state["sounds.weight"] @ sound + state["sounds.bias"], 0)
            together = np.tanh(seen @ state["of_places.weight"].T + state["of_sounds.weight"] @ heard)
            scores = (together @ state["score.weight"].T)[:, 0]
        np.testing.assert_allclose(looked[0, segment], softmax(scores), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("attended", ["raw", "encoded"])
@pytest.mark.parametrize("head", ["mlp", "lstm", "avel", "avsdn"])
def test_a_head_tells_segments_from_what_is_attended_to_and_heard(head, attended):
    model = small(head=head, attended=attended)
    given = inputs(1)
    found, looked = told(model, given)
    places = given["visual"].flatten(2, 3)
    with torch.no_grad():
        weighted = places if attended == "raw" else model.encoding(places, given["audio"])
    heard = given["audio"][0].numpy().astype(np.float64)
    seen = np.einsum("tr,trd->td", looked[0], weighted[0].numpy())  # Eq. 4
    state, both = weights(model.head), np.concatenate([seen, heard], 1)
    if head == "mlp":
        hidden = both @ state["linear.weight"].T + state["linear.bias"]
    elif head == "lstm":
        hidden, _ = lstm(state, both, "lstm.")
    elif head == "avel":
        hidden = np.concatenate([both_ways(state, heard, "audio."), both_ways(state, seen, "visual.")], 1)
    else:
        ends = [lstm(state, values, prefix)[1] for values, prefix in ((seen, "visual."), (heard, "audio."))]
        start = [
            np.tanh(
                state[f"states.{kind}.weight"] @ np.concatenate([end[kind] for end in ends])
                + state[f"states.{kind}.bias"]
            )
            for kind in range(2)
        ]
        hidden, _ = lstm(state, np.concatenate([seen, heard], 1), "decoder.", start=start)
    last = weights(model.last)
    expected = np.maximum(np.maximum(hidden, 0) @ last["weight"].T + last["bias"], 0)
    assert found.shape == (1, SEGMENTS, 7)
    np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-5)


def both_ways(state, values, prefix):
    forwards, _ = lstm(state, values, prefix)
    backwards, _ = lstm(state, values[::-1], prefix, "_reverse")
    return np.concatenate([forwards, backwards[::-1]], 1)


def test_one_modality_alone_knows_nothing_of_the_other():
    first, second = inputs(), {name: values.flip(0) for name, values in inputs().items()}
    for used, other in (("visual", "audio"), ("audio", "visual")):
        model = small(modalities=used)
        answer, _ = told(model, first)
        assert np.array_equal(answer, told(model, first | {other: second[other]})[0])
        assert not np.allclose(answer, told(model, first | {used: second[used]})[0])


def test_a_stream_alone_comes_back_as_it_is():
    model, embedded = small(), small().embed(inputs())
    found = model.fuse({"audio": embedded["audio"]}, attention=True)
    assert list(found.tokens) == ["audio"]
    assert found.attention is None


def test_the_paper_s_size_has_the_paper_s_shapes_and_avel_s_parameters():
    found = yaml.safe_load((CONFIGS / "av_transformer.yaml").read_text())
    settings = AvTransformerSettings.model_validate(found["model"])
    features = FeatureSettings.model_validate(found["features"])
    assert settings.reason_against(features) is None
    with torch.device("meta"):
        shapes = {name: field.shape for name, field in features.inputs.items()}
        model = AvTransformer(settings, features, shapes)
        tokens = model.embed({name: torch.empty(3, *shape) for name, shape in shapes.items()})
        encoded = model.encoding(tokens["visual"].unflatten(1, (10, 49)), tokens["audio"])
        told = model.fuse(tokens, attention=True)
    assert {name: tuple(one.shape) for name, one in told.tokens.items()} == {
        "visual": (3, 490, 512),
        "audio": (3, 10, 128),
        "segments": (3, 10, 64),
    }
    assert encoded.shape == (3, 10, 49, 128)
    assert told.attention.between("audio", "visual")[0].shape == (3, 1, 10, 490)

    def numbers(module):
        return sum(parameter.numel() for parameter in module.parameters())

    assert numbers(model.encoding) == 3 * ((512 + 1) * 128 + (128 + 1) * 128)  # θ, φ and values, 512 → 128
    assert numbers(model.co_attention) == 0
    assert numbers(model.head.audio) == 2 * 4 * 128 * (128 + 128 + 2)  # AVEL's public code: both ways, four gates
    assert numbers(model.head.visual) == 2 * 4 * 128 * (512 + 128 + 2)
    assert numbers(model.last) == (4 * 128 + 1) * 64


def test_the_small_settings_file_is_of_a_model_that_can_be_built():
    found = yaml.safe_load((CONFIGS / "av_transformer_mini.yaml").read_text())
    settings = AvTransformerSettings.model_validate(found["model"])
    strips = yaml.safe_load((CONFIGS.parent / "data" / "event_strips.yaml").read_text())["features"]
    features = FeatureSettings.model_validate(strips)
    assert settings.reason_against(features) is None
    model = build_on("cpu", 0, lambda: AvTransformer(settings, features, {}))
    tokens = model.embed({"frames": torch.rand(1, 10, 3, 64, 64), "sound": torch.rand(1, 1, 110250) - 0.5})
    assert {name: one.shape for name, one in model.fuse(tokens).tokens.items()} == {
        name: (1, grid.count, model.widths[name]) for name, grid in model.grids.items()
    }


def test_neighbours_that_stand_twice_are_refused():
    with pytest.raises(ValueError, match="neighbours that differ, found"):
        AvTransformerSettings.model_validate({"neighbours": [0, 0]})
