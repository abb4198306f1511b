"""See the Sound: its shapes, and each of its equations worked out in another way."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.features.settings import FeatureSettings
from pipeline.models.build import build_on
from pipeline.models.see_hear.fusion import BilinearAttention
from pipeline.models.see_hear.model import SeeHear
from pipeline.models.see_hear.segment_attention import SegmentAttention
from pipeline.models.see_hear.settings import SeeHearSettings
from tiny_shards import FEATURES, MODEL

SHAPES = {"visual": (10, 7, 7, 512), "audio": (10, 128)}
SMALL_SHAPES = {"visual": (10, 2, 3, 8), "audio": (10, 5)}
SMALL = {"mfb_width": 6, "mfb_factors": 3, "width": 4}
EVERY = [
    *({"fusion": fusion} for fusion in ("lstm_and_mfb", "lstm", "mfb", "multiply", "add", "concatenate", "none")),
    *({"modalities": one, "fusion": "none"} for one in ("visual", "audio")),
    {"modalities": "visual"},
    *({"segment_attention": pooled, "aggregation": False} for pooled in ("mean_and_max", "mean", "max", "none")),
    {"segment_attention": "none"},
]
"""Rows of Tables 1, 2 and 3."""


def built(shapes=SMALL_SHAPES, **words):
    features = FeatureSettings.model_validate({"frames": 10})
    settings = SeeHearSettings.model_validate(words)
    assert settings.reason_against(features) is None
    return SeeHear(settings, features, shapes)


def small(**words):
    model = build_on("cpu", 0, lambda: built(**(SMALL | words)))
    with torch.no_grad():
        for one in model.parameters():
            one.copy_(torch.randn(one.shape, generator=torch.Generator().manual_seed(one.numel())) / 2)
    return model.eval()


def stored(samples=2, shapes=SMALL_SHAPES):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(samples, *shape, generator=generator) for name, shape in shapes.items()}


def numbers(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_full_size_has_the_parameters_and_shapes_that_the_paper_implies():
    with torch.device("meta"):
        model = built(SHAPES)
        encoded = model.fuse(model.embed(stored(1, SHAPES)))
    fusion = model.fusion
    assert fusion.lstm.hidden_size == 512  # Eq. 7 adds its output to features of 512
    assert numbers(fusion.bilinear) == 512 * 5000 + 128 * 5000 + 1000 + 1  # U, V, W_z and b_z
    assert numbers(fusion.lstm) == 4 * 512 * (1024 + 512 + 2)  # inputs are pairs
    assert [numbers(model.lstms[name]) for name in ("visual", "audio")] == [
        4 * 512 * (512 + 512 + 2),
        4 * 512 * (128 + 512 + 2),
    ]
    assert all(numbers(one) == 2 * (512 * 512 + 512) + 512 + 1 for one in model.segment_attention.values())
    assert encoded.tokens["segments"].shape == (1, 10, 5 * 512)
    assert encoded.tokens["visual"].shape == (1, 10 * 49, 512)


@pytest.mark.parametrize("words", EVERY, ids=str)
def test_grids_and_widths_say_what_each_row_of_the_tables_gives(words):
    model = small(**words)
    tokens = model.fuse(model.embed(stored())).tokens
    found = {name: tuple(stream.shape) for name, stream in tokens.items()}
    assert found == {name: (2, grid.count, model.widths[name]) for name, grid in model.grids.items()}
    assert set(found) == set(model.settings.streams)


@torch.no_grad()
def test_places_are_weighed_by_bilinear_pooling_with_the_sound():
    torch.manual_seed(0)
    pooling = BilinearAttention(8, 5, width=6, factors=3)
    seen, heard = torch.randn(2, 10, 4, 8), torch.randn(2, 10, 5)
    found = pooling(seen, heard)
    place, sound = seen[1, 3, 2], heard[1, 3]
    seen_weights, heard_weights = pooling.seen.weight, pooling.heard.weight
    z = torch.stack(
        [
            sum((seen_weights[3 * i + j] @ place) * (heard_weights[3 * i + j] @ sound) for j in range(3))
            for i in range(6)
        ]
    )
    rooted = z.sign() * z.abs().sqrt()
    logit = (pooling.weigh(rooted / rooted.norm()))[0]
    others = [pooling.weigh(F.normalize(_pooled(pooling, seen[1, 3, r], sound), dim=0))[0] for r in range(4)]
    assert others[2] == pytest.approx(logit.item(), abs=1e-4)
    torch.testing.assert_close(found[1, 3], torch.stack(others).softmax(0), atol=1e-4, rtol=1e-3)


def _pooled(pooling, place, sound):
    z = ((pooling.seen.weight @ place) * (pooling.heard.weight @ sound)).view(6, 3).sum(1)
    return z.sign() * z.abs().sqrt()


def test_places_without_any_feature_have_a_finite_gradient():
    pooling = build_on("cpu", 0, lambda: BilinearAttention(8, 5, width=6, factors=3))
    pooling(torch.zeros(1, 1, 4, 8), torch.rand(1, 1, 5))[0, 0, 0].backward()
    assert all(torch.isfinite(one.grad).all() for one in pooling.parameters())


@torch.no_grad()
def test_segments_are_weighed_by_what_is_pooled_of_all():
    torch.manual_seed(0)
    segments = torch.randn(2, 10, 4)
    found = {}
    for pooled in ("mean", "max", "mean_and_max"):
        torch.manual_seed(1)
        found[pooled] = SegmentAttention(4, pooled)
    one = found["mean"]
    of_mean, of_max = (F.relu(one.of_all(pool)) for pool in (segments.mean(1), segments.max(1).values))
    each = F.relu(one.of_each(segments))
    for name, together in (("mean", of_mean), ("max", of_max), ("mean_and_max", of_mean + of_max)):
        weights = one.weigh(each * together[:, None]).softmax(1)
        torch.testing.assert_close(found[name](segments), weights * segments)
        torch.testing.assert_close(weights.sum(1), torch.ones(2, 1))


@torch.no_grad()
def test_segments_are_told_by_both_representations_and_their_similarity():
    model, given = small(), stored()
    tokens = model.fuse(model.embed(given)).tokens
    seen, heard, weighed_seen, weighed_heard, similar = tokens["segments"].split(4, -1)
    torch.testing.assert_close(tokens["visual_segments"], weighed_seen)
    torch.testing.assert_close(tokens["audio_segments"], weighed_heard)
    torch.testing.assert_close(heard, model.lstms["audio"](given["audio"])[0])
    torch.testing.assert_close(weighed_heard, model.segment_attention["audio"](heard))
    expected = heard * weighed_heard - seen * weighed_heard + seen * weighed_seen - heard * weighed_seen
    torch.testing.assert_close(similar, expected)  # the second line of Eq. 12


@torch.no_grad()
def test_an_lstm_and_weighed_places_are_added():
    model, given = small(), stored()
    seen, heard = given["visual"].flatten(2, 3), given["audio"]
    found, weights = model.fusion(seen, heard)
    places = torch.stack([weights[:, :, r, None] * seen[:, :, r] for r in range(6)]).sum(0)
    lifted = model.fusion.lift(heard)
    memory = model.fusion.lstm(torch.cat([seen.mean(2) + lifted, lifted], -1))[0]
    torch.testing.assert_close(found, places + memory)


@torch.no_grad()
def test_audio_tokens_look_at_places_of_their_own_frames():
    model, given = small(), stored()
    embedded = model.embed(given)
    between = model.fuse(embedded, attention=True).attention.between("audio", "visual")
    rows = between[0].whole()
    _, weights = model.fusion(given["visual"].flatten(2, 3), given["audio"])
    assert rows.shape == (2, 1, 10, 60)
    for segment in range(10):
        own = torch.zeros(2, 10, 6)
        own[:, segment] = weights[:, segment]
        torch.testing.assert_close(rows[:, 0, segment], own.flatten(1))
    assert model.fuse(embedded).attention is None
    assert small(fusion="lstm").fuse(embedded, attention=True).attention is None


@torch.no_grad()
def test_a_sound_alone_has_the_segments_that_it_has_beside_frames():
    model, given = small(), stored()
    alone = model.fuse(model.embed({"audio": given["audio"]})).tokens
    both = model.fuse(model.embed(given)).tokens
    assert set(alone) == {"audio", "audio_segments"}
    assert all(torch.equal(alone[name], both[name]) for name in alone)
    assert set(model.fuse(model.embed({"visual": given["visual"]})).tokens) == {"visual"}


@torch.no_grad()
def test_frames_and_sound_are_embedded_a_segment_at_a_time():
    features = FeatureSettings.model_validate(FEATURES | {"frames": 2})
    embedders = {"width": 16, **{name: MODEL[name] for name in ("visual_embedder", "audio_embedder")}}
    settings = SeeHearSettings.model_validate(SMALL | {"segments": 2, "embedders": embedders})
    assert settings.fields == ("frames", "sound")
    assert settings.reason_against(features) is None
    assert settings.reason_against(FeatureSettings.model_validate(FEATURES)) == (
        "features.frames = model.segments, which is 2, found 1"
    )
    model = build_on("cpu", 0, lambda: SeeHear(settings, features, {})).eval()
    given = {"frames": torch.rand(3, 2, 3, 32, 32), "sound": torch.rand(3, 1, 4095) - 0.5}
    tokens = model.embed(given)
    assert {name: tuple(stream.shape) for name, stream in tokens.items()} == {
        "visual": (3, 2 * 64, 16),
        "audio": (3, 2, 8 * 16),
    }
    assert (model.grids["visual"].shape, model.grids["audio"].shape) == ((2, 8, 8), (2,))
    whole = model.towers.embed({"sound": given["sound"]})["audio"].view(3, 8, 8, 16)  # frequency, time
    second = torch.cat([whole[:, row, 4:].mean(1) for row in range(8)], -1)
    torch.testing.assert_close(tokens["audio"][:, 1], second)
    assert set(model.parts()) >= {"visual_embedder", "audio_embedder", "fusion"}


@pytest.mark.parametrize(
    ("name", "shape", "axes"),
    [
        ("visual", [10, 49, 512], "rows, columns, width"),
        ("visual", [5, 7, 7, 512], "rows, columns, width"),
        ("audio", [5, 128], "width"),
        ("audio", [10], "width"),
    ],
)
def test_stored_features_that_are_not_of_its_segments_are_refused(name, shape, axes):
    shapes = {"visual": [10, 7, 7, 512], "audio": [10, 128], name: shape}
    inputs = {one: {"kind": "stored", "member": f"{one}.npy", "shape": shape} for one, shape in shapes.items()}
    features = FeatureSettings.model_validate({"frames": 10, "inputs": inputs})
    assert SeeHearSettings().reason_against(features) == (
        f"features.inputs.{name}.shape of [10, {axes}], the first as model.segments, found {shape}"
    )
