"""Readouts against values worked out by hand, and what every readout promises."""

from typing import cast

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from pipeline.errors import SettingsError
from pipeline.evaluate.readouts.attention import attention_maps, log_ratio, noise_like
from pipeline.evaluate.readouts.build import build_readout, default_readout, reasons_against
from pipeline.evaluate.readouts.integrated_gradients import Attribution, IntegratedGradientsReadout
from pipeline.evaluate.readouts.occlusion import OcclusionReadout, hidden_tokens
from pipeline.evaluate.readouts.rollout import relevance, roll_back, roll_on
from pipeline.evaluate.registry import READOUTS, readout_name
from pipeline.evaluate.settings import AttentionSettings, EvaluateSettings, IntegratedGradientsSettings
from pipeline.models.attention import Attention, AttentionMap, Stored
from pipeline.models.contract import Encoded, Inputs, TokenGrid, Tokens
from pipeline.tasks.task import System
from pipeline.train.load import untrained
from tiny_run import tiny_experiment

GRIDS = {
    "visual": TokenGrid((("time", 1), ("row", 1), ("column", 2))),
    "audio": TokenGrid((("frequency", 3), ("time", 1))),
}
SLICES = {"class": slice(0, 1), "visual": slice(1, 3), "audio": slice(3, 6)}  # tokens: class, v0, v1, a0, a1, a2


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
    attention = Attention({number: Stored(layer) for number, layer in enumerate(layers)}, SLICES)
    return attention_maps(attention, GRIDS, settings, len(layers))


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


@pytest.mark.parametrize("wrong", [{"layer": 2}, {"heads": 2}])
def test_a_layer_or_head_that_is_not_there_is_said(wrong: dict[str, int]) -> None:
    with pytest.raises(
        SettingsError, match=r"evaluate\.attention\.(layer: expected mean, rollout|heads: expected mean) or"
    ):
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


def relevances(attention: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """[N, N]: of each token (columns) for each output (rows)."""
    layers = [AttentionMap(Stored(one)) for one in attention]
    return torch.stack([relevance(layers, gradients, output)[0] for output in range(attention[0].shape[2])])


def test_relevance_of_two_tokens_and_two_layers_worked_out_by_hand() -> None:
    attention = [torch.tensor([[[[0.5, 0.5], [0.2, 0.8]]]]), torch.tensor([[[[0.9, 0.1], [0.4, 0.6]]]])]
    gradient = [torch.tensor([[[[1.0, 2.0], [-1.0, 1.0]]]]), torch.tensor([[[[1.0, 1.0], [0.5, -2.0]]]])]
    # layer 1: relu(g·a) = [[.5, 1], [0, .8]], R = [[1.5, 1], [0, 1.8]]
    # layer 2: relu(g·a) = [[.9, .1], [.2, 0]], R += that @ R = [[1.35, 1.08], [.3, .2]]
    torch.testing.assert_close(relevances(attention, gradient), torch.tensor([[2.85, 2.08], [0.3, 2.0]]))


def test_relevance_averages_the_positive_parts_of_heads() -> None:
    attention = [torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]])]
    gradient = [torch.tensor([[[[2.0, 0.0], [0.0, -2.0]], [[0.0, 4.0], [6.0, 0.0]]]])]
    torch.testing.assert_close(relevances(attention, gradient), torch.tensor([[2.0, 2.0], [3.0, 1.0]]))


def test_rollout_is_a_row_or_a_column_through_the_product_of_all_layers() -> None:
    """Of the means over heads, half of each the identity; the last layer stands first in the product."""
    weights = [torch.rand(2, 2, 6, 6, generator=torch.Generator().manual_seed(seed)).softmax(3) for seed in (0, 1)]
    first, second = ((one.mean(1) + torch.eye(6)) / 2 for one in weights)
    product = second @ first
    attention = Attention({number: Stored(one) for number, one in enumerate(weights)}, SLICES)
    torch.testing.assert_close(roll_back(attention, "audio", "visual"), product[:, 3:6, 1:3].mean(1))
    torch.testing.assert_close(roll_on(attention, "visual", "audio"), product[:, 1:3, 3:6].mean(2))
    torch.testing.assert_close(roll_back(attention, "class", "visual"), product[:, 0, 1:3])
    both = maps_of(weights, AttentionSettings(layer="rollout", direction="both"))
    expected = (product[:, 3:6, 1:3].mean(1) + product[:, 1:3, 3:6].mean(2)) / 2
    torch.testing.assert_close(both.flatten(1), expected)


def test_from_the_class_token_s_perspective_the_map_is_what_passes_between_it_and_the_frame() -> None:
    assert read(perspective="class") == [1.0, 2.0]  # row 0, columns 1 and 2
    assert read(perspective="class", direction="visual_to_class") == [10.0, 20.0]
    assert read(perspective="class", direction="both") == [5.5, 11.0]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"perspective": "class", "direction": "audio_to_visual"},
            "a direction of class_to_visual, visual_to_class or both for perspective = class, found audio_to_visual",
        ),
        (
            {"direction": "visual_to_class"},
            "a direction of audio_to_visual, visual_to_audio or both for perspective = visual, found visual_to_class",
        ),
        ({"layer": "rollout", "heads": 1}, "heads = mean for layer = rollout, which mixes the heads of each layer"),
    ],
)
def test_a_look_that_there_is_not_is_refused(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        AttentionSettings.model_validate(wrong)


def test_occlusion_hides_a_token_with_its_neighbours() -> None:
    hidden = hidden_tokens((2, 3, 3), radius=1)
    assert hidden[0].nonzero().flatten().tolist() == [9, 10, 12, 13]  # the corner's four, of the middle frame
    assert hidden[4].nonzero().flatten().tolist() == list(range(9, 18))
    assert hidden_tokens((1, 3, 3), radius=0).sum(1).tolist() == [1] * 9


def test_occlusion_is_the_fall_of_the_match_logit(system: System, inputs: Inputs) -> None:
    frames, model = inputs["frames"], system.model
    with torch.no_grad():
        placed = model.place(model.embed(inputs))
        plain = inputs | {"frames": torch.ones_like(frames) * frames.mean((3, 4), keepdim=True)}
        changed = placed["visual"].clone()
        changed[:, 5] = model.place(model.embed(plain))["visual"][:, 5]  # row 1, column 1 of 4×4
        whole, less = (system.task.score(model.encode(placed | {"visual": one})) for one in (placed["visual"], changed))
    maps = OcclusionReadout("occlusion", radius=0)(system, inputs)
    torch.testing.assert_close(maps[:, 1, 1], whole - less, rtol=1e-3, atol=1e-5)


class Parts(nn.Module):
    """A system that is its own model and objective: what its parts are to integrated gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.model = self.task = self

    def fuse(self, tokens: Tokens) -> Encoded:
        return Encoded(tokens, None)


def test_integrated_gradients_find_the_pixels_that_the_answer_rests_on() -> None:
    """A model whose match logit is the mean red of one place points there, whatever else is on the frame."""
    frames = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    frames[:, :, 0, 8:20, 40:52] = 1.0
    frames[:, :, 0, 40:52, 8:20] = 1.0  # as red, but the model doesn't look

    class RedPlace(Parts):
        def embed(self, inputs: Inputs) -> Tokens:
            return {
                name: values[:, 0, 0, 8:20, 40:52].mean((1, 2)) for name, values in inputs.items() if name == "frames"
            }

        def score(self, encoded: Encoded) -> Tensor:
            return encoded.tokens["frames"]

    system = cast("System", RedPlace())
    readout = IntegratedGradientsReadout(IntegratedGradientsSettings())
    maps = readout(system, {"frames": frames, "sound": torch.zeros(2, 1, 8)})
    assert maps.shape == (2, 32, 32)
    for heat in maps:
        row, column = divmod(int(heat.argmax()), 32)
        assert 4 <= row < 10
        assert 20 <= column < 26


def test_integrated_gradients_are_cut_finely_until_they_add_up() -> None:
    """The logit jumps along the path of the second sample, which takes many steps; the first is nearly straight."""
    generator = torch.Generator().manual_seed(5)
    frames = torch.rand(2, 2, 3, 32, 32, generator=generator)

    class Jump(Parts):
        def embed(self, inputs: Inputs) -> Tokens:
            return inputs

        def score(self, encoded: Encoded) -> Tensor:
            contrast = encoded.tokens["frames"].flatten(1).std(1)
            return torch.sigmoid(encoded.tokens["sound"][:, 0, 0] * (contrast - 0.2)) * 9

    slopes = torch.tensor([1.0, 300.0]).view(2, 1, 1)
    jump = cast("System", Jump())

    def attribute(frames: Tensor, slopes: Tensor, **settings: int) -> Attribution:
        chosen = IntegratedGradientsSettings.model_validate({"residue": 0.02, **settings})
        return IntegratedGradientsReadout(chosen).attribute(jump, {"frames": frames, "sound": slopes})

    found = attribute(frames, slopes)
    assert found.steps[0] == 8
    assert 8 < found.steps[1] <= 128
    assert not found.missed.any()
    assert (found.residue <= 0.02 * found.difference.abs() + 1e-3).all()
    alone = attribute(frames[1:], slopes[1:])
    assert alone.steps[0] == found.steps[1]
    torch.testing.assert_close(alone.maps, found.maps[1:], rtol=1e-3, atol=1e-5)
    bounded = attribute(frames, slopes, most_steps=8)
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


OF_THEIR_OWN = ("similarity", "separation_energy", "class_maps", "token_maps", "class_activation", "in_sync_places")
"""Readouts that need an objective or a model of their own, which is tested beside them."""
PLAIN = [name for name in READOUTS.names() if name not in OF_THEIR_OWN]


@pytest.mark.parametrize("name", PLAIN)
def test_every_readout_gives_finite_maps_that_do_not_depend_on_the_batch(
    name: str, system: System, inputs: Inputs
) -> None:
    readout = build_readout(name, EvaluateSettings())
    assert readout.reason_against(system) is None
    maps = readout(system, inputs)
    assert readout.name == name
    assert maps.shape == ((3, 32, 32) if name == "integrated_gradients" else (3, 4, 4))
    assert torch.isfinite(maps).all()
    assert not maps.requires_grad
    alone = readout(system, {name: values[1:2] for name, values in inputs.items()})
    torch.testing.assert_close(alone, maps[1:2], rtol=1e-3, atol=1e-5)


def test_the_gradient_weighted_map_is_never_negative(system: System, inputs: Inputs) -> None:
    assert (build_readout("gradient_weighted", EvaluateSettings())(system, inputs) >= 0).all()


def test_a_readout_says_what_a_system_lacks_for_it() -> None:
    """Of a system without a score, without attention, and whose visual tokens lie along time alone."""
    deaf, blind, closed = (untrained(tiny_experiment(), "cpu", 3) for _ in range(3))
    deaf.task.scores = False
    line = {**blind.model.grids, "visual": TokenGrid((("time", 16),))}
    blind.model.__class__ = type("Line", (type(blind.model),), {"grids": line})
    encode = closed.model.encode
    closed.model.encode = lambda placed, attention=False: encode(placed)  # type: ignore[method-assign]
    lacking = {
        name: reasons_against(PLAIN, EvaluateSettings(), one)
        for name, one in (("score", deaf), ("grid", blind), ("attention", closed))
    }
    looks = {"attention", "attention_silence", "attention_noise", "class_token"}
    answers = set(PLAIN) - looks
    assert set(lacking["score"]) == answers
    assert "the objective mma gives no score" in lacking["score"]["occlusion"]
    assert set(lacking["grid"]) == set(PLAIN) - {"integrated_gradients"}
    assert "visual tokens that lie by time, row, column, and they lie by time" in lacking["grid"]["attention"]
    assert set(lacking["attention"]) == looks | {"gradient_weighted"}
    assert lacking["attention"]["attention"] == "the model gives no attention of audio to visual tokens"
    assert default_readout(EvaluateSettings(), deaf) == "attention"
    assert default_readout(EvaluateSettings(), blind) == "integrated_gradients"
    only = EvaluateSettings(attention=AttentionSettings(perspective="audio"), readouts=("attention", "occlusion"))
    with pytest.raises(
        SettingsError, match=r"found none \(integrated_gradients: the objective .*; attention: its maps"
    ):
        default_readout(only, deaf)


def test_a_readout_that_changes_an_input_says_that_the_model_does_not_take_it() -> None:
    """Of a model of features of both, whose streams are as of frames and sound."""
    system = untrained(tiny_experiment(), "cpu", 3)
    system.inputs = ("seen", "heard")
    lacking = reasons_against(PLAIN, EvaluateSettings(), system)
    frames, sound = {"integrated_gradients", "occlusion", "region_occlusion"}, {"attention_silence", "attention_noise"}
    assert set(lacking) == frames | sound
    assert lacking["occlusion"] == "it needs a model that takes frames, and this one takes seen, heard"
    assert lacking["attention_noise"] == "it needs a model that takes sound, and this one takes seen, heard"


def test_maps_from_the_audio_perspective_do_not_count_as_maps_of_the_frame() -> None:
    settings = EvaluateSettings(attention=AttentionSettings(perspective="audio"))
    assert not build_readout("attention_noise", settings).points_into_frame
    assert build_readout("class_token", settings).points_into_frame


def test_an_unknown_readout_is_said_with_those_that_exist() -> None:
    with pytest.raises(SettingsError, match=r"--readout: expected one of attention, .*, found 'atention'"):
        readout_name("atention", "--readout")
    with pytest.raises(ValidationError, match=r"one of attention, .*region_occlusion"):
        EvaluateSettings(readouts=("atention",))
