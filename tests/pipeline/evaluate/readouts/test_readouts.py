"""Readouts against values worked out by hand, and what every readout promises."""

from typing import get_args

import pytest
import torch
from tiny_run import tiny_experiment
from torch import Tensor

from pipeline.errors import SettingsError
from pipeline.evaluate.readouts.attention import attention_maps, log_ratio, noise_like
from pipeline.evaluate.readouts.build import build_readout, points_into_frame
from pipeline.evaluate.readouts.gradient_weighted import rollout
from pipeline.evaluate.readouts.integrated_gradients import IntegratedGradientsReadout
from pipeline.evaluate.readouts.occlusion import OcclusionReadout, hidden_tokens
from pipeline.evaluate.settings import (
    AttentionSettings,
    EvaluateSettings,
    IntegratedGradientsSettings,
    ReadoutName,
    readout_name,
)
from pipeline.models.contract import Attention, Inputs, TokenGrid, Tokens
from pipeline.models.layout import TokenLayout
from pipeline.tasks.task import System
from pipeline.train.load import untrained
from stub_system import answering

SLICES = TokenLayout(visual_grid=(1, 2), audio_grid=(3, 1)).slices  # tokens: class, v0, v1, a0, a1, a2
GRIDS = {
    "visual": TokenGrid((("time", 1), ("row", 1), ("column", 2))),
    "audio": TokenGrid((("frequency", 3), ("time", 1))),
}


@pytest.fixture(scope="module")
def system() -> System:
    return untrained(tiny_experiment(), "cpu", 3)


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(3, 1, 3, 32, 32, generator=generator)
    return {"frames": frames, "sound": torch.rand(3, 2, 4095, generator=generator) - 0.5}


def counted_attention() -> Tensor:
    """[1, 2 heads, 6, 6] whose weights tell their place: head · 100 + row · 10 + column."""
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
    head = rows * 10 + columns
    return torch.stack([head, head + 100])[None]


def read(**settings: object) -> list[float]:
    chosen = AttentionSettings.model_validate({"layer": 1, "heads": 0, **settings})
    return maps_of([counted_attention()], chosen).flatten().tolist()


def maps_of(layers: list[Tensor], settings: AttentionSettings) -> Tensor:
    return attention_maps(Attention(layers, SLICES), GRIDS, settings)


def test_audio_to_visual_takes_the_rows_of_audio_and_the_columns_of_visual_tokens() -> None:
    assert read() == [41.0, 42.0]  # mean over rows 3, 4, 5 of columns 1 and 2


def test_visual_to_audio_takes_the_rows_of_visual_and_the_columns_of_audio_tokens() -> None:
    assert read(direction="visual_to_audio") == [14.0, 24.0]


def test_both_directions_are_averaged() -> None:
    assert read(direction="both") == [27.5, 33.0]


def test_the_audio_perspective_is_a_map_over_the_audio_tokens() -> None:
    chosen = AttentionSettings(layer=1, heads=0, perspective="audio")
    maps = maps_of([counted_attention()], chosen)
    assert maps.shape == (1, 3, 1)
    assert maps.flatten().tolist() == [31.5, 41.5, 51.5]


def test_heads_are_averaged_or_taken_alone() -> None:
    assert read(heads="mean") == [91.0, 92.0]
    assert read(heads=1) == [141.0, 142.0]


def test_the_default_layer_is_the_one_before_the_last() -> None:
    layers = [counted_attention() + 1000 * number for number in range(3)]
    default = AttentionSettings(heads=0)
    assert maps_of(layers, default).flatten().tolist() == [1041.0, 1042.0]
    assert maps_of(layers[:1], default).flatten().tolist() == [41.0, 42.0]
    mean = AttentionSettings(heads=0, layer="mean")
    assert maps_of(layers, mean).flatten().tolist() == [1041.0, 1042.0]


@pytest.mark.parametrize("wrong", [{"layer": 2}, {"layer": 0}, {"heads": 2}])
def test_a_layer_or_head_that_is_not_there_is_said(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=r"evaluate\.attention\.(layer|heads): expected mean or"):
        read(**wrong)


def test_equation_7_is_a_log_ratio_that_stays_finite() -> None:
    ratio = log_ratio(torch.tensor([0.2, 0.0, 0.1]), torch.tensor([0.1, 0.1, 0.0]), 1e-4)
    assert ratio[0].item() == pytest.approx(torch.tensor(2.0).log().item(), abs=1e-3)
    assert torch.isfinite(ratio).all()
    assert ratio[1] < ratio[0] < ratio[2]


def test_noise_is_as_loud_as_the_sound_and_the_same_each_time() -> None:
    sound = torch.stack([torch.full((1, 4000), 0.1), torch.full((1, 4000), 0.4)])
    noise = noise_like(sound, 5)
    assert torch.equal(noise, noise_like(sound, 5))
    assert noise.square().mean((1, 2)).sqrt().tolist() == pytest.approx([0.1, 0.4], rel=0.05)


def test_rollout_of_two_tokens_and_two_layers_worked_out_by_hand() -> None:
    attention = [torch.tensor([[[[0.5, 0.5], [0.2, 0.8]]]]), torch.tensor([[[[0.9, 0.1], [0.4, 0.6]]]])]
    gradient = [torch.tensor([[[[1.0, 2.0], [-1.0, 1.0]]]]), torch.tensor([[[[1.0, 1.0], [0.5, -2.0]]]])]
    # layer 1: relu(g·a) = [[.5, 1], [0, .8]], R = [[1.5, 1], [0, 1.8]]
    # layer 2: relu(g·a) = [[.9, .1], [.2, 0]], R += that @ R = [[1.35, 1.08], [.3, .2]]
    expected = torch.tensor([[[2.85, 2.08], [0.3, 2.0]]])
    torch.testing.assert_close(rollout(attention, gradient), expected)


def test_rollout_averages_the_positive_parts_of_heads() -> None:
    attention = [torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]])]
    gradient = [torch.tensor([[[[2.0, 0.0], [0.0, -2.0]], [[0.0, 4.0], [6.0, 0.0]]]])]
    torch.testing.assert_close(rollout(attention, gradient), torch.tensor([[[2.0, 2.0], [3.0, 1.0]]]))


def test_occlusion_hides_a_token_with_its_neighbours() -> None:
    hidden = hidden_tokens((1, 3, 3), radius=1)
    assert hidden[0].nonzero().flatten().tolist() == [0, 1, 3, 4]  # the corner's four
    assert hidden[4].nonzero().flatten().tolist() == list(range(9))
    assert hidden_tokens((1, 3, 3), radius=0).sum(1).tolist() == [1] * 9


def test_occlusion_of_several_frames_hides_tokens_of_the_middle_one() -> None:
    hidden = hidden_tokens((3, 1, 2), radius=0)
    assert [row.nonzero().flatten().tolist() for row in hidden] == [[2], [3]]


def test_occlusion_is_the_fall_of_the_match_logit(system: System, inputs: Inputs) -> None:
    model, frames = system.model, inputs["frames"]
    with torch.no_grad():
        placed = model.place(model.embed(inputs))
        plain = torch.ones_like(frames) * frames.mean((3, 4), keepdim=True)
        changed = placed["visual"].clone()
        changed[:, 5] = model.place(model.embed(inputs | {"frames": plain}))["visual"][:, 5]  # row 1, column 1 of 4×4

        def logit(tokens: Tokens) -> Tensor:
            return system.task.score(model.encode(tokens))

        fall = logit(placed) - logit(placed | {"visual": changed})
    maps = OcclusionReadout("occlusion", radius=0)(system, inputs)
    torch.testing.assert_close(maps[:, 1, 1], fall, rtol=1e-3, atol=1e-5)


def test_integrated_gradients_find_the_pixels_that_the_answer_rests_on() -> None:
    """A model whose match logit is the mean red of one place points there, whatever else is on the frame."""
    frames = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    frames[:, :, 0, 8:20, 40:52] = 1.0
    frames[:, :, 0, 40:52, 8:20] = 1.0  # as red, but the model doesn't look

    def red_place(frames: Tensor) -> Tensor:
        return frames[:, 0, 0, 8:20, 40:52].mean((1, 2))[:, None, None]

    looking = answering(lambda tokens: tokens["visual"][:, 0, 0], red_place)
    maps = IntegratedGradientsReadout(IntegratedGradientsSettings())(
        looking, {"frames": frames, "sound": torch.zeros(2, 1, 8)}
    )
    assert maps.shape == (2, 32, 32)
    for heat in maps:
        row, column = divmod(int(heat.argmax()), 32)
        assert 4 <= row < 10
        assert 20 <= column < 26


def test_integrated_gradients_are_cut_finely_until_they_add_up() -> None:
    """The logit jumps along the path of the second sample, which takes many steps; the first is nearly straight."""
    generator = torch.Generator().manual_seed(5)
    frames = torch.rand(2, 2, 3, 32, 32, generator=generator)

    def score(tokens: Tokens) -> Tensor:
        contrast = tokens["visual"].flatten(1).std(1)
        return torch.sigmoid(tokens["audio"][:, 0, 0] * (contrast - 0.2)) * 9

    jump, slopes = answering(score), torch.tensor([1.0, 300.0]).view(2, 1, 1)
    inputs = {"frames": frames, "sound": slopes}
    found = IntegratedGradientsReadout(IntegratedGradientsSettings(residue=0.02)).attribute(jump, inputs)
    assert found.steps[0] == 8
    assert 8 < found.steps[1] <= 128
    assert not found.missed.any()
    assert (found.residue <= 0.02 * found.difference.abs() + 1e-3).all()
    alone = IntegratedGradientsReadout(IntegratedGradientsSettings(residue=0.02)).attribute(
        jump, {"frames": frames[1:], "sound": slopes[1:]}
    )
    assert alone.steps[0] == found.steps[1]
    torch.testing.assert_close(alone.maps, found.maps[1:], rtol=1e-3, atol=1e-5)
    bounded = IntegratedGradientsReadout(IntegratedGradientsSettings(residue=0.02, most_steps=8)).attribute(
        jump, inputs
    )
    assert bounded.steps.tolist() == [8, 8]
    assert bounded.missed.tolist() == [False, True]
    assert bounded.residue[1] > 0.02 * bounded.difference[1].abs()


def test_what_no_step_can_mend_is_not_cut_finer(system: System, inputs: Inputs) -> None:
    frames = inputs["frames"].clone()
    frames[1] = float("nan")
    readout = IntegratedGradientsReadout(IntegratedGradientsSettings(residue=1e-6))
    found = readout.attribute(system, inputs | {"frames": frames})
    assert found.steps[1] == 8
    assert found.residue.isfinite().tolist() == [True, False, True]


@pytest.mark.parametrize("name", get_args(ReadoutName))
def test_every_readout_gives_finite_maps_that_do_not_depend_on_the_batch(
    name: ReadoutName, system: System, inputs: Inputs
) -> None:
    readout = build_readout(name, EvaluateSettings())
    maps = readout(system, inputs)
    assert readout.name == name
    assert maps.shape == ((3, 32, 32) if name == "integrated_gradients" else (3, 4, 4))
    assert torch.isfinite(maps).all()
    assert not maps.requires_grad
    alone = {field: values[1:2] for field, values in inputs.items()}
    torch.testing.assert_close(readout(system, alone), maps[1:2], rtol=1e-3, atol=1e-5)


def test_the_gradient_weighted_map_is_never_negative(system: System, inputs: Inputs) -> None:
    assert (build_readout("gradient_weighted", EvaluateSettings())(system, inputs) >= 0).all()


def test_maps_from_the_audio_perspective_do_not_count_as_maps_of_the_frame() -> None:
    settings = EvaluateSettings(attention=AttentionSettings(perspective="audio"))
    assert not points_into_frame("attention_noise", settings)
    assert points_into_frame("class_token", settings)


def test_an_unknown_readout_is_said_with_those_that_exist() -> None:
    with pytest.raises(SettingsError, match=r"--readout: expected one of attention, .*, found 'atention'"):
        readout_name("atention", "--readout")
