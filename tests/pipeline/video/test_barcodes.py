"""No wrong frame, time or sound: codec × GOP × B-frames × container, by frames that carry their number."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from barcode_kinds import SNAP_S, TIMES, Kind, judge, kinds
from barcode_odd_kinds import ODD_KINDS, SOUND, OddKind
from barcode_video import read_barcode, write_video
from barcode_ways import judge_ways
from media_patches import remux
from pipeline.reasons import Reason
from pipeline.video.frames import Frame
from pipeline.video.keyframes import choose_frames
from pipeline.video.video_file import open_video
from reading import read_frames

_KINDS = [pytest.param(kind, id=str(kind), marks=() if kind.usual else pytest.mark.slow) for kind in kinds()]


@pytest.mark.parametrize("kind", _KINDS)
def test_frames_are_those_of_their_times_and_clicks_fall_on_theirs(kind: Kind, tmp_path: Path) -> None:
    expect_right(kind.write(tmp_path), TIMES)


_EVERYWHERE = [
    *(pytest.param(kind, id=str(kind), marks=pytest.mark.slow) for kind in kinds()),
    *(pytest.param(kind, id=str(kind), marks=() if kind.usual else pytest.mark.slow) for kind in ODD_KINDS),
]


@pytest.mark.parametrize("kind", _EVERYWHERE)
def test_no_way_shows_a_frame_that_is_not_of_its_time_or_beside_other_sound(
    kind: Kind | OddKind, tmp_path: Path
) -> None:
    outcomes = judge_ways(kind.write(tmp_path))
    assert {way: outcome.wrong for way, outcome in outcomes.items()} == dict.fromkeys(outcomes, 0)
    for way, outcome in outcomes.items():
        refused = isinstance(kind, OddKind) and (kind.refused or (kind.own_only and way == "foreign clip"))
        assert (outcome.right == 0) == refused, (way, outcome)
        assert outcome.said or not refused or way == "localize"


H264 = Kind("H.264", "closed", True, "mp4", "libx264", {}, True)
EARLY = [time for time in TIMES if time < 6]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return H264.write(tmp_path_factory.mktemp("plain"))


def expect_right(path: Path, times: list[Fraction] = EARLY, late_s: float = 0.0) -> None:
    for snap_s in (Fraction(0), SNAP_S):
        verdict = judge(path, snap_s, times, late_s)
        assert verdict.wrong == 0
        assert len(set(verdict.numbers)) == len(times)
        assert verdict.time_error_s <= 0.5 / 25
        assert verdict.sound_error_s <= 0.005


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.ts"])
def test_a_file_that_was_cut_between_keyframes_without_decoding(plain: Path, tmp_path: Path, name: str) -> None:
    # MP4 gets an edit list, which hides the frames from the keyframe to the cut; where that lies between two frames,
    # FFmpeg moves the picture by the rest of a frame
    expect_right(remux(tmp_path / name, "-ss", "1.52", "-i", str(plain)))


@pytest.mark.parametrize("late_s", [0.3, -0.3])
def test_picture_and_sound_that_begin_at_different_times(plain: Path, tmp_path: Path, late_s: float) -> None:
    picture, sound = ("0:v", "1:a") if late_s > 0 else ("1:v", "0:a")
    words = ["-itsoffset", "0.3", "-i", str(plain), "-i", str(plain), "-map", picture, "-map", sound]
    expect_right(remux(tmp_path / "late.mp4", *words), [time for time in EARLY if time > 0.6], late_s)


def test_wanted_times_before_the_first_frame_give_it_or_say_why_not(plain: Path, tmp_path: Path) -> None:
    words = ["-itsoffset", "1.1", "-i", str(plain), "-i", str(plain), "-map", "0:v", "-map", "1:a"]
    path = remux(tmp_path / "late.mp4", *words)
    with open_video(str(path)) as video:
        for snap_s in (Fraction(0), SNAP_S):
            none, first, second = choose_frames(video, TIMES[:3], snap_s, Fraction(1, 4))
            assert none == Reason.TOO_SHORT
            assert isinstance(first, Frame)
            assert isinstance(second, Frame)
            assert (read_barcode(first.pixels), float(first.time_s)) == (0, pytest.approx(1.1, abs=0.021))
            assert read_barcode(second.pixels) > 0


def test_a_cover_picture_or_a_second_angle_is_not_mixed_in(plain: Path, tmp_path: Path) -> None:
    cover = tmp_path / "cover.png"
    Image.new("RGB", (1000, 1000), "red").save(cover)
    words = ["-i", str(plain), "-i", str(cover), "-map", "0", "-map", "1", "-disposition:v:1", "attached_pic"]
    expect_right(remux(tmp_path / "cover.mp4", *words))
    small = write_video(tmp_path / "small.mp4", 8, size=(140, 80), audio_codec=None)
    angles = remux(tmp_path / "angles.mkv", "-i", str(small), "-i", str(plain), "-map", "0:v", "-map", "1")
    expect_right(angles)
    with open_video(str(angles)) as video:
        assert len({frame.pixels.shape for frame in read_frames(video, EARLY)}) == 1


def test_a_clock_of_odd_ticks(plain: Path, tmp_path: Path) -> None:
    expect_right(remux(tmp_path / "odd.mp4", "-i", str(plain), "-video_track_timescale", "30011"))


def test_interlaced_mpeg_2(tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme", "bf": "2"}
    path = write_video(
        tmp_path / "a.ts",
        8,
        codec="mpeg2video",
        options=options,
        audio=SOUND,
        audio_codec="mp2",
        frames_per_second_clock=True,
    )
    expect_right(path)


def test_frames_of_damaged_h264_are_whole_or_left_out(plain: Path, tmp_path: Path) -> None:
    whole = plain.read_bytes()
    begin, length = whole.index(b"mdat") + 8, len(whole) // 2
    given = 0
    for seed in range(4):
        generator = np.random.default_rng(seed)
        spoilt = bytearray(whole)
        for place in generator.integers(begin, begin + length, 12):
            spoilt[place] ^= 1 << generator.integers(8)
        path = tmp_path / "spoilt.mp4"
        path.write_bytes(spoilt)
        with open_video(str(path)) as video:
            for snap_s in (Fraction(0), SNAP_S):
                found = list(choose_frames(video, TIMES, snap_s, Fraction(1, 4)))
                frames = [frame for frame in found if isinstance(frame, Frame)]
                assert all(read_barcode(frame.pixels) / 25 == pytest.approx(float(frame.time_s)) for frame in frames)
                assert set(found) - set(frames) <= {Reason.DAMAGED}
                given += len(frames)
    assert given >= 40
