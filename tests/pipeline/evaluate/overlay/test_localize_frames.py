"""gavt localize with models of several frames: each moment has the frames and the sound that it has in training."""

import json
import weakref
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from barcode_video import clicks, read_barcode, write_video
from pipeline.errors import MediaError
from pipeline.evaluate.overlay import moments
from pipeline.evaluate.overlay.moments import FramePlaces, moments_of
from pipeline.evaluate.overlay.track import make_track
from pipeline.evaluate.overlay.video_keypoints import FoundKeypoints
from pipeline.features.settings import FeatureSettings, Geometry
from pipeline.models.contract import Inputs
from pipeline.prepare.settings import KeypointSettings
from pipeline.video.video_file import open_video

FPS, SECONDS, LAST = 25, 12, 12 * 25 - 1
CLICKS_S = [0.3, 1.0, 2.1, 3.6, 4.3, 5.5, 6.2, 7.7, 8.4, 9.5, 10.6, 11.1]
RATE_HZ, SAMPLES = 8000, 31999  # 4 s


@dataclass
class Spy:
    """In place of the system and the readout: remembers what it is given."""

    name: str = "spy"
    numbers: list[list[int]] = field(default_factory=list)
    sounds: list[npt.NDArray[np.float32]] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    poses: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def __call__(self, system: object, inputs: Inputs) -> Tensor:
        frames = inputs["frames"]
        pixels = (frames * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()
        self.numbers += [[read_barcode(picture) for picture in sample] for sample in pixels]
        self.sounds += list(inputs["sound"].numpy())
        self.groups.append(len(frames))
        self.poses += list(inputs["pose"].numpy()) if "pose" in inputs else []
        return torch.zeros(len(frames), 2, 2)

    @property
    def model(self) -> Any:
        return SimpleNamespace(embed=lambda inputs: inputs)

    @property
    def task(self) -> Any:
        return SimpleNamespace(matches=True, match=lambda model, tokens: torch.zeros(len(tokens["frames"])))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("video") / "numbered.mp4"
    return write_video(file, SECONDS, fps=FPS, size=(280, 280), audio=clicks(SECONDS, CLICKS_S))


def follow(
    video: Path, every_s: float = 0.5, keypoints: FoundKeypoints | None = None, **features: Any
) -> tuple[list[float], Spy]:
    """The times of the moments and what was given for them."""
    settings = FeatureSettings(frame_size=140, audio_rate_hz=RATE_HZ, audio_samples=SAMPLES, **features)
    spy: Any = Spy()
    device, unmoved = torch.device("cpu"), None
    track = make_track(
        str(video), spy, settings, spy, every_s, device, "centre", lambda done, total: None, unmoved, keypoints
    )
    return track.times_s.tolist(), spy


def frame_at(time_s: float) -> int:
    """Number of the frame on screen, the first before all and the last behind all."""
    return min(max(int(time_s * FPS + 1e-6), 0), LAST)


def heard_clicks(waveform: npt.NDArray[np.float32], start_s: float) -> list[float]:
    """Times of the clicks in a window that begins at `start_s`."""
    loud = np.flatnonzero(np.abs(waveform[0]) > 0.2)
    first = loud[np.diff(loud, prepend=-RATE_HZ) > RATE_HZ // 10]
    return [float(start_s + place / RATE_HZ) for place in first]


@pytest.mark.parametrize(
    ("frames", "rate_hz", "offsets_s", "lead_s"),
    [
        (1, None, [0], 0),
        (3, None, [-4 / 3, 0, 4 / 3], 0),
        (3, 2.0, [-0.5, 0, 0.5], 0),
        (5, 1.0, [-2, -1, 0, 1, 2], 0),
        (2, None, [-2, 0], 1),  # at the first and the third quarter of the sound: its middle is 1 s before the second
        (4, 2.0, [-1, -0.5, 0, 0.5], 0.25),
    ],
)
def test_each_moment_has_its_frames_and_its_sound(
    frames: int, rate_hz: float | None, offsets_s: list[float], lead_s: float, video: Path
) -> None:
    times, spy = follow(video, 0.25, frames=frames, frame_rate_hz=rate_hz)
    assert times == [number / 4 for number in range(4 * SECONDS)]
    sound_s = SAMPLES / RATE_HZ
    stretch = 1 if rate_hz else sound_s / 4
    for time, numbers, waveform in zip(times, spy.numbers, spy.sounds, strict=True):
        assert numbers == [frame_at(time + offset * stretch) for offset in offsets_s], time
        start = min(max(time - lead_s * stretch - sound_s / 2, 0), SECONDS - sound_s)
        expected = [click for click in CLICKS_S if start + 0.02 < click < start + sound_s - 0.02]
        heard = [click for click in heard_clicks(waveform, start) if start + 0.02 < click < start + sound_s - 0.02]
        assert heard == pytest.approx(expected, abs=0.005), time


def test_only_squares_that_are_still_needed_are_kept(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[object]] = []
    square_of = moments.square_seen

    def remember(pixels: npt.NDArray[np.uint8], size: int, geometry: Geometry) -> Any:
        square = square_of(pixels, size, geometry)
        made.append(weakref.ref(square))
        return square

    monkeypatch.setattr(moments, "square_seen", remember)
    places = FramePlaces.of(FeatureSettings(frames=3, frame_rate_hz=2.0))
    wanted = [Fraction(number, 25) for number in range(SECONDS * FPS)]
    kept = []
    with open_video(str(video)) as opened:
        for _ in moments_of(opened, wanted, places, 140):
            kept.append(sum(square() is not None for square in made))
    assert len(kept) == len(made) == SECONDS * FPS  # each picture becomes a square once
    assert max(kept) <= FPS + 2  # a second of them


def test_the_model_is_given_sixteen_moments_at_a_time(video: Path) -> None:
    _, spy = follow(video, 0.25, frames=3)
    assert spy.groups == [16, 16, 16]


def test_two_channels_are_given_to_a_model_that_was_trained_with_two(video: Path) -> None:
    _, spy = follow(video, 4.0, frames=3, audio_channels=2)
    assert {sound.shape for sound in spy.sounds} == {(2, SAMPLES)}


@pytest.mark.parametrize("rate_hz", [None, 0.5, 3.0, 29.97])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 7])
def test_the_middle_frame_is_the_one_of_the_moment(frames: int, rate_hz: float | None) -> None:
    features = FeatureSettings(frames=frames, frame_rate_hz=rate_hz)
    places = FramePlaces.of(features)
    assert places.offsets_s[frames // 2] == 0
    assert places.offsets_s == sorted(places.offsets_s)
    assert (places.lead_s == 0) == (frames % 2 == 1)


def test_each_moment_has_the_keypoints_around_it(video: Path, tmp_path: Path) -> None:
    persons = [
        {"image_id": f"{n}.jpg", "keypoints": [x for k in range(26) for x in (0.9 * n + k, 140, 0.5)], "score": 1}
        for n in range(LAST + 1)
    ]
    (tmp_path / "pose.json").write_text(json.dumps(persons))
    found = FoundKeypoints(str(tmp_path / "pose.json"), KeypointSettings())
    inputs = {"pose": {"kind": "keypoints", "frames": 4, "frame_rate_hz": 2.0}}
    times, spy = follow(video, 0.5, found, inputs=inputs)
    for time, shown in zip(times, spy.poses, strict=True):
        assert shown.shape == (4, 2, 68, 3)
        assert not shown[:, 1].any()
        assert not shown[:, 0, 26:].any()
        numbers = (shown[:, 0, 0, 0] * 280 / 0.9).tolist()
        wanted = [min(max((time + offset) * FPS, 0), LAST) for offset in (-0.75, -0.25, 0.25, 0.75)]
        assert numbers == pytest.approx(wanted, abs=0.51), time  # of the nearest frame
        assert shown[:, 0, :26, 1:] == pytest.approx(0.5)
    _, blind = follow(video, 0.5, None, inputs=inputs)
    assert not np.any(blind.poses)
    (tmp_path / "pose.json").write_text(json.dumps([{**persons[0], "image_id": "100000.jpg"}]))
    with pytest.raises(MediaError, match=r"its keypoints .*pose\.json: expected those of .* frames, .* frame 100"):
        follow(video, 0.5, found, inputs=inputs)
