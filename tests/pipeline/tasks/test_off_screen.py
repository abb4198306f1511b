"""Own sounds against silence, noise and sounds from off-screen."""

import math

import pytest
import torch
from pydantic import ValidationError

from objectives import OBJECTIVES
from pipeline.experiment import ExperimentSettings
from pipeline.samples.metadata import SampleMetadata
from pipeline.settings.load import load_settings
from pipeline.tasks.off_screen import OffScreen, absent_sound
from pipeline.tasks.off_screen_settings import OffScreenSettings
from pipeline.train.load import untrained
from pipeline.train.system import example_batch


def samples(count: int, videos: int) -> list[SampleMetadata]:
    return [
        SampleMetadata(
            video=f"v{index % videos}", source=f"{index % videos}.mp4", frame_times_s=[0], audio_start_s=0,
            audio_rate_hz=1, audio_samples=1,
        )
        for index in range(count)
    ]  # fmt: skip


SETTINGS = load_settings(None, ExperimentSettings, OBJECTIVES["off_screen"].words()).settings


@pytest.fixture(scope="module")
def task() -> OffScreen:
    found = untrained(SETTINGS, "cpu", 0).task
    assert isinstance(found, OffScreen)
    return found


def test_the_other_sound_is_another_videos_of_the_own_group(task: OffScreen) -> None:
    drawn = task.targets(0, range(8, 24), samples(16, 16), "train")
    own = torch.arange(16)
    assert drawn["counted"].all()
    assert (drawn["other"] != own).all()
    assert torch.equal(drawn["other"] // 4, own // 4)


def test_targets_do_not_depend_on_how_positions_are_cut_into_batches(task: OffScreen) -> None:
    whole = task.targets(3, range(16), samples(16, 16), "train")
    part = task.targets(3, range(8, 12), samples(16, 16)[8:12], "train")
    assert torch.equal(part.pop("other") + 8, whole["other"][8:12])
    assert all(torch.equal(drawn, whole[name][8:12]) for name, drawn in part.items())


def test_a_sample_without_another_video_in_its_group_has_no_other_sound(task: OffScreen) -> None:
    assert not task.targets(0, range(8), samples(8, 1), "train")["counted"].any()


def test_silence_is_none_or_a_hiss_and_noise_is_as_loud_as_was_drawn() -> None:
    own = torch.randn(3, 2, 4095) * 0.1
    targets = {
        "begin": torch.tensor([0.0, 0.5, 0.9]),
        "hiss": torch.tensor([0.0, 1e-3, 1e-4]),
        "noise": torch.tensor([0, 1, 2]),
        "loudness": torch.tensor([1.0, 2.0, 0.5]),
    }

    def level(sound: torch.Tensor) -> list[float]:
        return sound.square().mean(dim=(1, 2)).sqrt().tolist()

    assert level(absent_sound("silence", own, targets)) == pytest.approx([0.0, 1e-3, 1e-4], rel=1e-3)
    louder = [one * by for one, by in zip(level(own), [1.0, 2.0, 0.5], strict=True)]
    noise = absent_sound("noise", own, targets)
    assert level(noise) == pytest.approx(louder, rel=1e-3)
    steps = (noise.diff(dim=2).square().mean(dim=(1, 2)) / noise.square().mean(dim=(1, 2))).tolist()
    assert steps[0] > steps[1] > steps[2]  # white, pink, brown


def test_both_answers_weigh_the_same_whatever_the_number_of_absences(task: OffScreen) -> None:
    """With a head that says the same to all, the loss is that of a fair coin, and of a sure answer half of it wrong."""
    system = untrained(SETTINGS, "cpu", 0)
    assert isinstance(system.task, OffScreen)
    inputs, targets = example_batch(system, SETTINGS, 8, "cpu")
    with torch.no_grad():
        system.task.sure.scale.zero_()
        for bias, loss in ((0.0, math.log(2)), (40.0, 20.0)):
            system.task.sure.bias.fill_(bias)
            found, sums = system(inputs, targets)
            assert found.item() == pytest.approx(loss, rel=1e-5)
            figures = system.task.settings.figures(dict(zip(system.task.settings.sums, sums.tolist(), strict=True)))
            assert figures["accuracy"] == 0.5


def test_silence_and_noise_may_be_made_for_some_samples_only() -> None:
    words = [*OBJECTIVES["off_screen"].words(), "task.one_of=4"]
    settings = load_settings(None, ExperimentSettings, words).settings
    system = untrained(settings, "cpu", 0)
    inputs, targets = example_batch(system, settings, 8, "cpu")
    made = system.task.further(inputs, targets)
    assert {name: len(one["sound"]) for name, one in made.items()} == {"silence": 2, "noise": 2}
    _, sums = system(inputs, targets)
    shown = dict(zip(settings.task.sums, sums.tolist(), strict=True))
    assert (shown["shown_silence"], shown["shown_noise"], shown["samples"]) == (2, 2, 8)
    with pytest.raises(ValidationError, match="one_of that divides group = 8, found 3"):
        OffScreenSettings(one_of=3)


def test_an_absence_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="each of silence, noise and other at most once"):
        OffScreenSettings(absences=("noise", "noise"))
