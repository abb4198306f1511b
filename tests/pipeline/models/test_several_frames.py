import pytest
import torch
from tiny_gavt import inputs, tiny

from pipeline.evaluate.readouts.attention import attention_maps
from pipeline.evaluate.readouts.build import build_readout
from pipeline.evaluate.settings import AttentionSettings, EvaluateSettings
from pipeline.features.settings import FeatureSettings
from pipeline.models.gavt import Gavt
from pipeline.models.layout import TokenLayout
from pipeline.models.settings import GavtSettings
from pipeline.tasks.mma import TaskModel
from tiny_shards import FEATURES, MODEL


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_every_frame_has_its_tokens(frames):
    model = tiny(frames=frames, registers=2, dropout=0.0).eval()
    layout = model.tokens
    assert layout.visual_grid == layout.audio_grid == (8, 8)
    assert layout.count == 1 + frames * 64 + 64 + 2
    assert [layout.visual_of(frame) for frame in range(frames)] == [
        slice(1 + 64 * frame, 65 + 64 * frame) for frame in range(frames)
    ]
    assert (layout.visual.start, layout.visual.stop) == (1, layout.visual_of(frames - 1).stop)
    encoded = model.encode(*inputs(3, frames), return_attention=True)
    assert encoded.tokens.shape == (3, layout.count, 16)
    assert encoded.attention[0].shape == (3, 2, layout.count, layout.count)


def test_a_frame_changes_its_own_embedded_tokens_only():
    model = tiny(frames=4).eval()
    frames, waveform = inputs(2, 4)
    changed = frames.clone()
    changed[:, 2] = 0.5
    with torch.no_grad():
        moved = (model.embed(frames, waveform) != model.embed(changed, waveform)).any(2).any(0)
    assert moved[model.tokens.visual_of(2)].any()
    moved[model.tokens.visual_of(2)] = False
    assert not moved.any()


def test_the_same_picture_at_another_time_is_told_apart():
    model = tiny(frames=2).eval()
    frames, waveform = inputs(1, 2)
    frames[:, 1] = frames[:, 0]
    with torch.no_grad():
        embedded = model.embed(frames, waveform)
    assert not torch.allclose(embedded[:, model.tokens.visual_of(0)], embedded[:, model.tokens.visual_of(1)])


def test_aligned_sound_shares_the_position_in_time_of_the_frame_shown_then():
    model = tiny(frames=4, audio_alignment="frames").eval()
    assert model.tokens.frame_of_time == (0, 0, 1, 1, 2, 2, 3, 3)
    frames, waveform = inputs(1, 4)
    with torch.no_grad():
        before = model.embed(frames, waveform)
        model.frame_positions[:, 1] += torch.randn(16)
        moved = (model.embed(frames, waveform) != before).any(2)[0]
    assert moved[model.tokens.visual_of(1)].all()
    assert not moved[model.tokens.visual_of(0)].any()
    heard = moved[model.tokens.audio].view(8, 8)  # frequencies, times
    assert heard[:, 2:4].all()
    assert not heard[:, [0, 1, 4, 5, 6, 7]].any()


def test_frames_at_a_rate_are_aligned_where_they_are_shown():
    # two frames of 0.2 s in the middle of 0.8 s of sound
    features = FeatureSettings.model_validate(
        FEATURES | {"frames": 2, "frame_rate_hz": 5.0, "audio_rate_hz": 4096, "audio_samples": 4095}
    )
    with torch.device("meta"):
        model = Gavt(GavtSettings.model_validate(MODEL | {"audio_alignment": "frames"}), features)
    assert model.tokens.frame_of_time == (0, 0, 0, 0, 1, 1, 1, 1)


def test_whole_sound_has_no_position_in_time_of_a_frame():
    model = tiny(frames=4).eval()
    frames, waveform = inputs(1, 4)
    with torch.no_grad():
        before = model.embed(frames, waveform)[:, model.tokens.audio]
        model.frame_positions.add_(1)
        assert torch.equal(model.embed(frames, waveform)[:, model.tokens.audio], before)


@pytest.mark.parametrize(
    "name", ["attention_silence", "class_token", "gradient_weighted", "token_gradient", "occlusion"]
)
def test_readouts_give_one_map_a_sample(name):
    task_model = TaskModel(tiny(frames=3, dropout=0.0)).eval()
    assert build_readout(name, EvaluateSettings())(task_model, *inputs(2, 3)).shape == (2, 8, 8)


@pytest.mark.parametrize("name", ["occlusion", "integrated_gradients"])
def test_readouts_ask_about_the_middle_frame(name):
    """Where it is plain there is nothing to hide, whatever the other frames show."""
    torch.manual_seed(0)
    task_model = TaskModel(tiny(frames=3, dropout=0.0)).eval()
    frames, waveform = inputs(2, 3)
    plain = frames.clone()
    plain[:, 1] = 0.25
    readout = build_readout(name, EvaluateSettings())
    seen, nothing = readout(task_model, frames, waveform), readout(task_model, plain, waveform)
    assert nothing.abs().max() < 0.01 * seen.abs().max()


def test_attention_maps_are_those_of_the_middle_frames_tokens():
    layout = TokenLayout(visual_grid=(1, 2), audio_grid=(2, 1), frames=3, registers=1)
    assert layout.count == 10
    attention = torch.zeros(1, 2, 10, 10)
    attention[:, :, layout.audio] = torch.arange(10.0)
    maps = attention_maps([attention, attention], layout, AttentionSettings(direction="audio_to_visual"))
    assert maps.tolist() == [[[3.0, 4.0]]]
