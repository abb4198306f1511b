"""Which moments of a video are wanted (G-AVT thesis, section 4.3)."""

from fractions import Fraction

import pytest
from pydantic import ValidationError

from pipeline.prepare.recipe import wanted_times
from pipeline.prepare.settings import PrepareSettings
from pipeline.settings.experiment import ExperimentSettings
from pipeline.settings.load import load_settings

THESIS = PrepareSettings()


def test_the_thesis_17_frames_of_90_s() -> None:
    times = wanted_times(Fraction(90), THESIS)
    assert [float(time) for time in times] == [2.5 + 5 * step for step in range(17)]


def test_a_long_video_gives_its_middle() -> None:
    times = wanted_times(Fraction(600), THESIS)
    assert (float(times[0]), float(times[-1]), len(times)) == (257.5, 337.5, 17)


def test_15_s_give_two_frames_and_less_than_a_period_the_middle() -> None:
    assert [float(time) for time in wanted_times(Fraction(15), THESIS)] == [2.5, 7.5]
    assert [float(time) for time in wanted_times(Fraction(4), THESIS)] == [2.0]


def test_a_limit_of_frames_chooses_evenly() -> None:
    times = wanted_times(Fraction(90), PrepareSettings(max_frames=3))
    assert [float(time) for time in times] == [12.5, 42.5, 72.5]


def test_the_data_file_says_what_the_defaults_are() -> None:
    assert load_settings("configs/data/music200k.yaml", ExperimentSettings).settings.prepare == THESIS


def test_clip_lengths_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_clip_s ≤ max_clip_s"):
        PrepareSettings(min_clip_s=20, max_clip_s=10)
