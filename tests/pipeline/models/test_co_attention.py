"""Look, Listen and Attend: its sizes, its blocks, and who looks at whom."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pydantic import ValidationError

from objectives import CO_ATTENTION
from pipeline.features.settings import FeatureSettings
from pipeline.models.build import build_on
from pipeline.models.co_attention.attention import AttentionBlock
from pipeline.models.co_attention.model import CoAttention
from pipeline.models.co_attention.settings import CoAttentionSettings

FEATURES = FeatureSettings(
    frame_size=32, frames=12, frame_rate_hz=12, audio_rate_hz=8000, audio_samples=8191, audio_channels=2
)


def build(device: str = "cpu", features: FeatureSettings = FEATURES, **settings: object) -> CoAttention:
    own = CoAttentionSettings.model_validate({**({} if device == "meta" else CO_ATTENTION), **settings})
    side = features.frame_size
    shapes = {
        "frames": (features.frames, 3, side, side),
        "sound": (features.audio_channels, features.audio_samples),
    }
    return build_on(device, 0, lambda: CoAttention(own, features, shapes)).eval()


def inputs(samples: int = 2) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return {
        "frames": torch.rand(samples, 12, 3, 32, 32, generator=random),
        "sound": torch.rand(samples, 2, 8191, generator=random) - 0.5,
    }


def test_with_the_paper_s_values_it_has_the_paper_s_tokens_and_parameters() -> None:
    paper = FeatureSettings(
        frame_size=224, frames=126, frame_rate_hz=29.97, audio_rate_hz=21000, audio_channels=2, audio_samples=88200
    )
    for kind in ("cma", "aga", "vga"):
        model = build("meta", paper, co_attention=kind)
        assert [model.grids[name].shape for name in ("visual", "audio")] == [(8, 7, 7), (115,)]
        assert sum(one.numel() for one in model.parameters()) == pytest.approx(15e6, rel=0.06)


def test_grids_and_widths_say_how_many_tokens_each_stream_has_and_placing_and_encoding_is_fusing() -> None:
    for kind in ("places", "samples"):
        model = build(tokens=kind, layers=2)
        embedded = model.embed(inputs())
        encoded, apart = model.fuse(embedded), model.encode(model.place(embedded), attention=True)
        shapes = {name: tuple(tokens.shape) for name, tokens in encoded.tokens.items()}
        assert shapes == {name: (2, grid.count, model.widths[name]) for name, grid in model.grids.items()}
        assert set(shapes) == set(model.settings.streams)
        assert all(torch.equal(encoded.tokens[name], apart.tokens[name]) for name in shapes)


def test_a_block_is_that_of_the_paper_s_equations() -> None:
    settings = CoAttentionSettings.model_validate(CO_ATTENTION)
    block = build_on("cpu", 3, lambda: AttentionBlock(settings)).eval()
    tokens, others = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    with torch.no_grad():
        found, looked = block(tokens, others)
    weights = {name: value.numpy().astype(np.float64) for name, value in block.state_dict().items()}

    def linear(name: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def normed(name: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        centred = values - values.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    for sample in range(2):
        own, seen = tokens[sample].numpy().astype(np.float64), others[sample].numpy().astype(np.float64)
        queries, both = linear("query", own), linear("key_value", seen)
        keys, values = both[:, :16], both[:, 16:]
        heads = []
        for head in range(4):
            part = slice(4 * head, 4 * head + 4)
            scores = np.exp(queries[:, part] @ keys[:, part].T / math.sqrt(4))  # Eq. 1
            shares = scores / scores.sum(1, keepdims=True)
            heads.append(shares @ values[:, part])
            np.testing.assert_allclose(looked.rows(slice(None), slice(None))[sample, head], shares, atol=1e-5)
        mixed = linear("out", np.concatenate(heads, 1))  # Eq. 2
        between = normed("norm", own + mixed)
        after = linear("feed_forward.2", np.maximum(linear("feed_forward.0", between), 0))
        np.testing.assert_allclose(found[sample], normed("last_norm", between + after), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "pairs"),
    [
        ("cma", {("audio", "visual"), ("visual", "audio")}),
        ("aga", {("audio", "visual")}),
        ("vga", {("visual", "audio")}),
    ],
)
def test_who_looks_at_the_other_is_who_guides(kind: str, pairs: set[tuple[str, str]]) -> None:
    model = build(co_attention=kind)
    embedded = model.embed(inputs())
    encoded = model.fuse(embedded, attention=True)
    assert encoded.attention is not None
    changed = model.fuse(embedded | {"audio": embedded["audio"] + 1}).tokens
    for one, other in (("audio", "visual"), ("visual", "audio")):
        looks = encoded.attention.between(one, other)
        assert (looks is not None) == ((one, other) in pairs)
        if looks is not None:
            counts = [model.grids[name].count for name in (one, other)]
            assert looks[0].shape == (2, 4, *counts)
            torch.testing.assert_close(looks[0].whole().sum(-1), torch.ones(2, 4, counts[0]))
    assert torch.equal(changed["visual"], encoded.tokens["visual"]) == (("visual", "audio") not in pairs)


def test_vision_alone_is_the_model_with_no_sound_at_all() -> None:
    model, given = build(), inputs()
    alone = model.fuse(model.embed({"frames": given["frames"]}))
    assert set(alone.tokens) == {"class", "visual"}
    nothing = torch.zeros(2, 1, 16)
    expected = model.fusion(torch.cat([alone.tokens["visual"].mean(1, keepdim=True), nothing], -1))
    torch.testing.assert_close(alone.tokens["class"], expected)


def test_of_the_highest_of_each_feature_one_place_and_moment_decides() -> None:
    for pool, decides in (("mean", False), ("max", True)):
        model, given = build(pool=pool), inputs()
        tokens = model.fuse(model.embed(given)).tokens
        streams = [tokens[name] for name in ("visual", "audio")]
        pooled = [one.amax(1, keepdim=True) if decides else one.mean(1, keepdim=True) for one in streams]
        torch.testing.assert_close(tokens["class"], model.fusion(torch.cat(pooled, -1)))


def test_a_clip_that_is_one_token_is_told_by_the_others_of_its_batch() -> None:
    for kind, alike in (("places", True), ("samples", False)):
        model, given = build(tokens=kind), inputs(3)
        together = model.fuse(model.embed(given)).tokens["class"][:2]
        two = model.fuse(model.embed({name: values[:2] for name, values in given.items()})).tokens["class"]
        assert torch.allclose(together, two, atol=1e-5) == alike


def test_tokens_lie_in_time_where_the_model_says() -> None:
    model, given = build(), {name: values.requires_grad_() for name, values in inputs(1).items()}
    embedded = model.embed(given)
    for stream, name, axis, length_s in (("visual", "frames", 1, 1.0), ("audio", "sound", 2, 8191 / 8000)):
        times = model.moments_s[stream]
        middle = len(times) // 2
        at = model.grids[stream].laid_out(embedded[stream])[0, middle].square().sum()
        (slope,) = torch.autograd.grad(at, given[name], retain_graph=True)
        over_time = slope.abs().movedim(axis, 0).flatten(1).sum(1).double()
        places = (torch.arange(len(over_time)) + 0.5) / len(over_time) - 0.5
        seen_s = float((places * over_time).sum() / over_time.sum()) * length_s
        assert seen_s == pytest.approx(times[middle], abs=0.06)


def test_tokens_begin_by_looking_at_their_own_time_where_they_are_told_to() -> None:
    model = build(near_s=0.05, near_place=0.05)
    attention = model.fuse(model.embed(inputs()), attention=True).attention
    assert attention is not None
    looks = attention.between("audio", "visual")
    assert looks is not None
    times = {name: torch.tensor(model.moments_s[name], dtype=torch.float32) for name in ("audio", "visual")}
    by_time = looks[0].whole().unflatten(-1, (len(times["visual"]), -1)).sum(-1)  # [B, heads, audio, t]
    apart = (times["audio"][:, None] - times["visual"]).abs()
    mean_apart = (by_time * apart).sum(-1).mean((0, 2))
    assert mean_apart[0] < 0.06
    assert (mean_apart.diff() > 0).all()  # each head looks farther
    looks = attention.between("visual", "visual")
    assert looks is not None
    own = looks[0].whole().unflatten(-1, model.grids["visual"].shape).sum(-3).flatten(-2)  # [B, heads, visual, places]
    places = own.shape[-1]
    assert own[:, 0].unflatten(1, (-1, places)).diagonal(dim1=-2, dim2=-1).min() > 0.9
    with pytest.raises(ValidationError, match="tokens = places for near_s and near_place, found samples"):
        build(near_s=0.05, tokens="samples")


def test_what_stands_is_not_seen_by_a_model_of_differences() -> None:
    given = inputs()
    other = given | {"frames": given["frames"] + 0.1}
    for shown, alike in (("frames", False), ("both", False), ("differences", True)):
        model = build(shown=shown)
        found, moved = (model.embed(one)["visual"] for one in (given, other))
        assert torch.allclose(found, moved, atol=1e-4) == alike


def test_a_model_that_does_not_hear_is_the_visual_half_of_one_that_does() -> None:
    whole, half = build(), build(hears=False)
    assert half.settings.fields == ("frames",)
    assert set(half.grids) == {"class", "visual"}
    taken = {name: weight for name, weight in whole.state_dict().items() if name in half.state_dict()}
    half.load_state_dict(taken)  # all that it has, and nothing else
    frames = {"frames": inputs()["frames"]}
    for name, tokens in half.fuse(half.embed(frames)).tokens.items():
        assert torch.equal(tokens, whole.fuse(whole.embed(frames)).tokens[name])
