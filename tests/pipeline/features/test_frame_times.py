"""When the frames of a sample are shown beside its sound."""

import pytest

from pipeline.features.frame_times import FrameTimes


@pytest.mark.parametrize(
    ("frames", "rate_hz", "offsets"),
    [
        (1, None, [0.0]),
        (1, 4.0, [0.0]),
        (2, None, [-1.5, 1.5]),
        (3, None, [-2.0, 0.0, 2.0]),
        (3, 4.0, [-0.25, 0.0, 0.25]),
        (4, 0.5, [-3.0, -1.0, 1.0, 3.0]),
    ],
)
def test_frames_lie_evenly_around_the_sound_s_middle(frames: int, rate_hz: float | None, offsets: list[float]) -> None:
    assert FrameTimes(frames, rate_hz, 6.0).offsets_s == pytest.approx(offsets)


def test_each_frame_is_the_nearest_to_its_own_time_and_the_outer_ones_to_all_beyond() -> None:
    times = FrameTimes(3, 4.0, 6.0)
    assert [times.nearest(offset) for offset in times.offsets_s] == [0, 1, 2]
    assert [times.nearest(offset) for offset in (-3.0, -0.13, -0.12, 0.12, 0.13, 3.0)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("middle", "share", "first"), [(5, 0.0, 5), (5, 0.5, 4), (5, 0.99, 3), (5, 1.0, 3), (0, 0.5, 0), (9, 0.0, 7)]
)
def test_neighbours_stay_within_what_there_is(middle: int, share: float, first: int) -> None:
    times = FrameTimes(3, 1.0, 6.0, neighbours=True)
    assert times.consecutive(middle, 10, share) == [first, first + 1, first + 2]
    with pytest.raises(ValueError, match="expected 3 consecutive frames as the features ask for, found 2"):
        times.consecutive(0, 2, share)
