"""Which moments of a video are wanted (G-AVT thesis, section 4.3)."""

from fractions import Fraction

import pytest
from pydantic import ValidationError

from pipeline.errors import MediaError
from pipeline.experiment import ExperimentSettings
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.recipe import Part, part_of, wanted_times
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason
from pipeline.settings.load import load_settings
from pipeline.stream.fields.frames import FramesField

THESIS = load_settings("configs/data/music200k.yaml", ExperimentSettings).settings.prepare


def test_the_thesis_17_frames_of_90_s() -> None:
    times = wanted_times(Part(Fraction(0), Fraction(90)), THESIS)
    assert [float(time) for time in times] == [2.5 + 5 * step for step in range(17)]


def test_a_long_video_gives_its_middle() -> None:
    times = wanted_times(Part(Fraction(0), Fraction(600)), THESIS)
    assert (float(times[0]), float(times[-1]), len(times)) == (257.5, 337.5, 17)


def test_15_s_give_two_frames_and_less_than_a_period_the_middle() -> None:
    assert [float(time) for time in wanted_times(Part(Fraction(0), Fraction(15)), THESIS)] == [2.5, 7.5]
    assert [float(time) for time in wanted_times(Part(Fraction(0), Fraction(4)), THESIS)] == [2.0]


def test_a_limit_of_frames_chooses_evenly() -> None:
    times = wanted_times(Part(Fraction(0), Fraction(90)), PrepareSettings(max_frames=3))
    assert [float(time) for time in times] == [12.5, 42.5, 72.5]


def test_the_defaults_are_the_thesis_but_for_short_videos() -> None:
    assert THESIS.min_clip_s == 15
    assert PrepareSettings() == THESIS.model_copy(update={"min_clip_s": None, "short_sound": "repeat"})
    assert part_of(VideoRow("v", "v.mp4"), Fraction(1, 10), PrepareSettings()) == Part(Fraction(0), Fraction(1, 10))


@pytest.mark.parametrize("version", ["a", "b", "c"])
def test_the_thesis_experiments_keep_its_limits(version: str) -> None:
    settings = load_settings(f"configs/experiments/gavt_{version}.yaml", ExperimentSettings).settings
    assert settings.prepare == THESIS


def test_clip_lengths_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_clip_s ≤ max_clip_s"):
        PrepareSettings(min_clip_s=20, max_clip_s=10)


def part(start_s: float | None, end_s: float | None, duration_s: int = 100) -> tuple[float, float]:
    row = VideoRow(video="v", source="v.mp4", start_s=start_s, end_s=end_s)
    found = part_of(row, Fraction(duration_s), THESIS)
    return float(found.start_s), float(found.end_s)


def test_a_row_with_a_range_gives_that_part_as_far_as_it_is_there() -> None:
    assert part(None, None) == (0, 100)
    assert part(30.5, 70) == (30.5, 70)
    assert part(80, 120) == (80, 100)
    times = wanted_times(Part(Fraction(30), Fraction(50)), THESIS)
    assert [float(time) for time in times] == [32.5, 37.5, 42.5]


@pytest.mark.parametrize(
    ("start_s", "end_s", "message"),
    [
        (120, 130, "expected a video that reaches 120 s, where its row begins, found 100.00 s"),
        (95, 110, "expected 15 s or more, as prepare.min_clip_s asks, found 5.00 s in its row's part of 100.00 s"),
        (None, 10, "expected 15 s or more, as prepare.min_clip_s asks, found 10.00 s in its row's part of 100.00 s"),
    ],
)
def test_a_part_that_is_not_there_is_too_short(start_s: float | None, end_s: float, message: str) -> None:
    with pytest.raises(MediaError, match=message) as caught:
        part(start_s, end_s)
    assert caught.value.reason == Reason.TOO_SHORT


@pytest.mark.parametrize("variant", "abc")
def test_frames_prepared_at_size_are_those_that_training_decodes(variant: str) -> None:
    prepared = load_settings("configs/data/music200k_at_size.yaml", ExperimentSettings).settings.prepare
    features = load_settings(f"configs/experiments/gavt_{variant}.yaml", ExperimentSettings).settings.features
    assert prepared.frame_height == FramesField.of(features, augment=True).size
    assert prepared == THESIS.model_copy(update={"frame_height": prepared.frame_height})
