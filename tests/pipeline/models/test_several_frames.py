import pytest
import torch
from tiny_gavt import encode, inputs, sequence, tiny

from chosen_pairs import aligned
from pipeline.evaluate.readouts.attention import attention_maps
from pipeline.evaluate.readouts.build import build_readout
from pipeline.evaluate.settings import AttentionSettings, EvaluateSettings
from pipeline.features.settings import FeatureSettings
from pipeline.models.attention import Attention, Stored
from pipeline.models.contract import TokenGrid
from pipeline.models.gavt import Gavt
from pipeline.models.layout import TokenLayout
from pipeline.models.settings import GavtSettings
from tiny_shards import FEATURES, MODEL


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_every_frame_has_its_tokens(frames):
    model = tiny(frames=frames, registers=2, dropout=0.0).eval()
    layout = model.layout
    assert layout.visual_grid == layout.audio_grid == (8, 8)
    assert layout.count == 1 + frames * 64 + 64 + 2
    assert [layout.visual_of(frame) for frame in range(frames)] == [
        slice(1 + 64 * frame, 65 + 64 * frame) for frame in range(frames)
    ]
    assert (layout.visual.start, layout.visual.stop) == (1, layout.visual_of(frames - 1).stop)
    encoded = encode(model, inputs(3, frames), attention=True)
    assert sequence(model, encoded.tokens).shape == (3, layout.count, 16)
    assert encoded.attention.joint[0].shape == (3, 2, layout.count, layout.count)


def placed(model, given):
    """The sequence [B, N, D] as it enters the encoder."""
    return sequence(model, model.place(model.embed(given)))


def test_a_frame_changes_its_own_embedded_tokens_only():
    model = tiny(frames=4).eval()
    given = inputs(2, 4)
    changed = given["frames"].clone()
    changed[:, 2] = 0.5
    with torch.no_grad():
        moved = (placed(model, given) != placed(model, given | {"frames": changed})).any(2).any(0)
    assert moved[model.layout.visual_of(2)].any()
    moved[model.layout.visual_of(2)] = False
    assert not moved.any()


def test_the_same_picture_at_another_time_is_told_apart():
    model = tiny(frames=2).eval()
    given = inputs(1, 2)
    given["frames"][:, 1] = given["frames"][:, 0]
    with torch.no_grad():
        embedded = placed(model, given)
    assert not torch.allclose(embedded[:, model.layout.visual_of(0)], embedded[:, model.layout.visual_of(1)])


def test_aligned_sound_shares_the_position_in_time_of_the_frame_shown_then():
    model = tiny(frames=4, audio_alignment="frames").eval()
    assert model.layout.frame_of_time == (0, 0, 1, 1, 2, 2, 3, 3)
    with torch.no_grad():
        before = placed(model, inputs(1, 4))
        model.frame_positions[:, 1] += torch.randn(16)
        moved = (placed(model, inputs(1, 4)) != before).any(2)[0]
    assert moved[model.layout.visual_of(1)].all()
    assert not moved[model.layout.visual_of(0)].any()
    heard = moved[model.layout.audio].view(8, 8)  # frequencies, times
    assert heard[:, 2:4].all()
    assert not heard[:, [0, 1, 4, 5, 6, 7]].any()


def test_frames_at_a_rate_are_aligned_where_they_are_shown():
    # two frames of 0.2 s in the middle of 0.8 s of sound
    features = FeatureSettings.model_validate(
        FEATURES | {"frames": 2, "frame_rate_hz": 5.0, "audio_rate_hz": 4096, "audio_samples": 4095}
    )
    with torch.device("meta"):
        model = Gavt(GavtSettings.model_validate(MODEL | {"audio_alignment": "frames"}), features)
    assert model.layout.frame_of_time == (0, 0, 0, 0, 1, 1, 1, 1)


def test_whole_sound_has_no_position_in_time_of_a_frame():
    model = tiny(frames=4).eval()
    with torch.no_grad():
        before = placed(model, inputs(1, 4))[:, model.layout.audio]
        model.frame_positions.add_(1)
        assert torch.equal(placed(model, inputs(1, 4))[:, model.layout.audio], before)


@pytest.mark.parametrize(
    "name", ["attention_silence", "class_token", "gradient_weighted", "token_gradient", "occlusion"]
)
def test_readouts_give_one_map_a_sample(name):
    system = aligned(tiny(frames=3, dropout=0.0)).eval()
    assert build_readout(name, EvaluateSettings())(system, inputs(2, 3)).shape == (2, 8, 8)


@pytest.mark.parametrize("name", ["occlusion", "integrated_gradients"])
def test_readouts_ask_about_the_middle_frame(name):
    """Where it is plain there is nothing to hide, whatever the other frames show."""
    torch.manual_seed(0)
    system, given = aligned(tiny(frames=3, dropout=0.0)).eval(), inputs(2, 3)
    plain = given["frames"].clone()
    plain[:, 1] = 0.25
    readout = build_readout(name, EvaluateSettings())
    seen, nothing = readout(system, given), readout(system, given | {"frames": plain})
    assert nothing.abs().max() < 0.01 * seen.abs().max()


def test_attention_maps_are_those_of_the_middle_frames_tokens():
    layout = TokenLayout(visual_grid=(1, 2), audio_grid=(2, 1), frames=3, registers=1)
    assert layout.count == 10
    weights = torch.zeros(1, 2, 10, 10)
    weights[:, :, layout.audio] = torch.arange(10.0)
    grids = {
        "visual": TokenGrid((("time", 3), ("row", 1), ("column", 2))),
        "audio": TokenGrid((("frequency", 2), ("time", 1))),
    }
    attention = Attention({0: Stored(weights)}, layout.slices)
    maps = attention_maps(attention, grids, AttentionSettings(direction="audio_to_visual"), layers=2)
    assert maps.tolist() == [[[3.0, 4.0]]]
