"""Frame choice: keyframes where one lies close enough, exact frames elsewhere, always with their true times."""

import io
import itertools
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from barcode_video import read_barcode, write_video
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from pipeline.reasons import Reason
from pipeline.sound.flac import decode_flac
from pipeline.video.frames import Frame
from pipeline.video.keyframes import choose_frames, nearest_keyframes
from pipeline.video.video_file import open_video

REACH_S = Fraction(1, 2)


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 s at 25 frames a second with a keyframe every 2.4 s: frames 0, 60, 120, …"""
    return write_video(tmp_path_factory.mktemp("keyframes") / "a.mp4", gop=60)


def numbers(path: Path, times: list[float], snap_s: Fraction) -> list[int]:
    with open_video(str(path)) as video:
        found = list(choose_frames(video, [Fraction(time) for time in times], snap_s, REACH_S))
    assert not any(isinstance(frame, Reason) for frame in found)
    frames = [frame for frame in found if isinstance(frame, Frame)]
    for frame in frames:
        assert float(frame.time_s) == pytest.approx(read_barcode(frame.pixels) / 25, abs=1e-6)
    return sorted(read_barcode(frame.pixels) for frame in frames)


def test_the_nearest_keyframe_within_reach_and_the_exact_frame_elsewhere(sparse: Path) -> None:
    # keyframes at 2.4, 4.8, 7.2 and 9.6 s
    assert numbers(sparse, [2.5, 4.5, 6.02, 9.0], Fraction(1, 2)) == [60, 120, 150, 225]
    assert numbers(sparse, [2.5, 4.5, 6.02, 9.0], Fraction(1)) == [60, 120, 150, 240]
    assert numbers(sparse, [2.5, 4.5, 6.02, 9.0], Fraction(0)) == [62, 112, 150, 225]


def test_two_wanted_times_never_give_the_same_frame(sparse: Path) -> None:
    assert numbers(sparse, [2.3, 2.5, 2.6], Fraction(1, 2)) == [57, 60, 65]
    assert numbers(sparse, [3.6, 4.7], Fraction(3, 2)) == [60, 120]
    assert numbers(sparse, [2.41, 2.42, 2.43], Fraction(1, 10)) == [60]


def test_a_keyframe_that_is_near_to_several_goes_to_the_nearest(sparse: Path) -> None:
    with open_video(str(sparse)) as video:
        found = nearest_keyframes(video, [Fraction(2), Fraction(3), Fraction(4)], Fraction(3, 2))
    assert {float(time): float(keyframe) for time, keyframe in found.items()} == {2: 2.4, 4: 4.8}


def test_a_damaged_keyframe_is_replaced_by_the_exact_frame(sparse: Path, tmp_path: Path) -> None:
    with av.open(str(sparse)) as container:
        keyframes = [packet for packet in container.demux(video=0) if packet.is_keyframe and packet.size]
        place, size = keyframes[2].pos, keyframes[2].size
    content = bytearray(sparse.read_bytes())
    content[place + 200 : place + size] = np.random.default_rng(0).bytes(size - 200)
    path = tmp_path / "spoilt.mp4"
    path.write_bytes(content)
    assert numbers(path, [2.5, 4.5, 9.5], Fraction(1, 2)) == [60, 112, 240]


def test_samples_say_the_true_time_and_have_the_sound_around_it(sparse: Path) -> None:
    settings = PrepareSettings(min_clip_s=1, frame_rate_hz=0.5, audio_samples=11025)
    row = VideoRow(video="v", source="list/a.mp4", segment_labels=(("a",), ("b",)))
    prepared = prepare_video(row, settings, str(sparse))
    assert prepared == prepare_video(row, settings, str(sparse))
    assert len(prepared.samples) == 7
    for sample in prepared.samples:
        said = json.loads(sample.files["json"])
        number = read_barcode(np.asarray(Image.open(io.BytesIO(sample.files["jpg"]))))
        assert number % 60 == 0 or number % 25 == 0
        assert said["frame_times_s"] == [pytest.approx(number / 25)]
        assert said["audio_start_s"] == pytest.approx(max(0, number / 25 - 0.5), abs=1e-4)
        assert (said["source"], said["segment_labels"]) == ("list/a.mp4", [["a"], ["b"]])


def test_flashes_and_beeps_of_a_real_file_keep_their_distance(corpus: Path) -> None:
    """A flash and a beep every second; the flash of the first of 60 beeps is hidden by a change of scene."""
    source = str(corpus / "videos/energon_sync_test.mp4")
    light: list[tuple[float, float]] = []
    sound: list[npt.NDArray[np.float32]] = []
    with av.open(source) as container:
        rate = container.streams.audio[0].sample_rate
        for frame in container.decode(video=0, audio=0):
            if isinstance(frame, av.VideoFrame):
                light.append((frame.time, float(frame.to_ndarray(format="gray").mean())))
            else:
                sound.append(frame.to_ndarray())
    before = dict(zip(rises(light), offsets(rises(light), [(0.0, np.concatenate(sound, 1)[0])], rate), strict=True))
    assert len(before) == 59

    settings = PrepareSettings(
        audio_samples=11025, audio_rate_hz=11025, frame_height=108, frame_rate_hz=30, min_clip_s=1, silence_dbfs=None
    )
    samples = prepare_video(VideoRow(video="v", source=source), settings).samples
    said = [json.loads(sample.files["json"]) for sample in samples]
    pictures = [np.asarray(Image.open(io.BytesIO(sample.files["jpg"])).convert("L")) for sample in samples]
    times = [entry["frame_times_s"][0] for entry in said]
    flashes = rises([(time, float(picture.mean())) for time, picture in zip(times, pictures, strict=True)])
    assert flashes == pytest.approx(list(before), abs=1e-3)
    windows = {
        time: (entry["audio_start_s"], decode_flac(sample.files["flac"])[0][0])
        for time, entry, sample in zip(times, said, samples, strict=True)
    }
    after = offsets(flashes, [windows[flash] for flash in flashes], 11025)
    assert np.abs(np.subtract(after, list(before.values()))).max() <= 0.005


def rises(light: list[tuple[float, float]]) -> list[float]:
    """Times at which a picture is much brighter than the one before."""
    return [now for (_, dark), (now, level) in itertools.pairwise(light) if level > dark + 6]


def offsets(flashes: list[float], windows: list[tuple[float, npt.NDArray[np.generic]]], rate_hz: int) -> list[float]:
    """How far (s) the beep nearest to each flash begins behind it; windows are (start in s, audio [S]), one for all or
    one a flash."""
    found = []
    for flash, (start, audio) in zip(flashes, itertools.cycle(windows), strict=False):
        power = np.square(audio.astype(np.float64))
        loud = np.flatnonzero(power > power.max() * 0.02)
        beeps = loud[np.r_[True, np.diff(loud) > rate_hz // 10]] / rate_hz + start
        found.append(float(beeps[np.argmin(np.abs(beeps - flash))]) - flash)
    return found
