"""Frames are exactly those displayed at the wanted times, whatever the codec and the container."""

import bisect
import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from barcode_video import RATE_HZ, read_barcode, write_video
from pipeline.errors import MediaError
from pipeline.video import frames as frames_module
from pipeline.video.frames import Frame
from pipeline.video.picture import encode_picture
from pipeline.video.upright import Display
from pipeline.video.video_file import open_video
from reading import read_frames

TIMES = [Fraction(33, 100) + step * Fraction(61, 100) for step in range(26)]
UNEVEN = np.cumsum(np.random.default_rng(0).integers(15, 90, 300)).tolist()
OPEN_264 = {"x264-params": "keyint=30:min-keyint=30:scenecut=0:open-gop=1:bframes=3"}
CLOSED_265 = {"x265-params": "keyint=30:bframes=4:scenecut=0:log-level=none:open-gop=0"}

# name → (file, how it is written, who must have decoded: decord always, PyAV always, or each where it may)
KINDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "H.264, closed GOP": ("a.mp4", {}, "decord"),
    "H.264 in Matroska": ("a.mkv", {}, "decord"),
    "H.264, keyframe every 250": ("a.mp4", {"gop": 250}, "decord"),
    "H.264, open GOP": ("a.mp4", {"options": OPEN_264}, "either"),
    "H.264, open GOP in a transport stream": ("a.ts", {"options": OPEN_264}, "either"),
    "H.265, open GOP": ("a.mp4", {"codec": "libx265"}, "either"),
    "H.265, open GOP in Matroska": ("a.mkv", {"codec": "libx265"}, "either"),
    "H.265, closed GOP": ("a.mp4", {"codec": "libx265", "options": CLOSED_265}, "decord"),
    "VP9": ("a.webm", {"codec": "libvpx-vp9", "audio_codec": "libopus"}, "decord"),
    "VP8 with hidden frames": ("a.webm", {"codec": "libvpx", "audio_codec": "libopus"}, "pyav"),
    "AV1": ("a.mp4", {"codec": "libsvtav1"}, "pyav"),
    "MPEG-4": ("a.mp4", {"codec": "mpeg4"}, "either"),
    "MPEG-4 in AVI, no presentation times": ("a.avi", {"codec": "mpeg4", "audio_codec": "libmp3lame"}, "either"),
    "starts at 8.3 s": ("a.mp4", {"start_s": 8.3}, "decord"),
    "transport stream, starts at 8.3 s": ("a.ts", {"start_s": 8.3}, "decord"),
    "Flash": ("a.flv", {}, "decord"),
    "variable frame rate": ("a.mp4", {"frame_times": UNEVEN}, "decord"),
    "variable frame rate in Matroska": ("a.mkv", {"frame_times": UNEVEN}, "decord"),
    "rotated": ("a.mp4", {"rotation": 90}, "pyav"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_wanted_time_gives_the_frame_displayed_then(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, how, decoder = KINDS[kind]
    path = write_video(tmp_path / name, **how)
    by_decord: list[bool] = []

    def sure(*arguments: Any) -> bool:
        by_decord.append(decord_is_sure(*arguments))
        return by_decord[-1]

    decord_is_sure = frames_module.decord_is_sure
    monkeypatch.setattr(frames_module, "decord_is_sure", sure)
    with open_video(str(path)) as video:
        found = list(read_frames(video, TIMES))
    written = [tick / 1000 for tick in how.get("frame_times", range(0, 16000, 40))]
    numbers = [read_barcode(frame.pixels) for frame in found]
    # a container may shift its whole timeline (B-frames, priming), but nothing within it
    shift = float(found[0].time_s) - written[numbers[0]]
    assert 0 <= shift < 0.08
    assert [float(frame.time_s) for frame in found] == pytest.approx([written[n] + shift for n in numbers], abs=1.1e-3)
    shown = [bisect.bisect_right(written, float(time) - shift + 1e-3) - 1 for time in TIMES]
    assert numbers == shown
    assert {"decord": all(by_decord), "pyav": not any(by_decord), "either": True}[decoder]


def test_decord_and_pyav_give_the_same_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", 4)
    with open_video(str(path)) as video:
        by_decord = list(read_frames(video, TIMES[:5]))
        monkeypatch.setattr(frames_module, "decord_is_sure", lambda *_: False)
        by_pyav = list(read_frames(video, TIMES[:5]))
    for one, other in zip(by_decord, by_pyav, strict=True):
        assert one.time_s == other.time_s
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_a_frame_wanted_twice_comes_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 4)
    with open_video(str(path)) as video:
        found = list(read_frames(video, [Fraction(101, 100), Fraction(102, 100), Fraction(2)]))
    assert [read_barcode(frame.pixels) for frame in found] == [25, 50]


def test_damaged_frames_are_left_out_and_never_replaced_by_others(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    content = bytearray(path.read_bytes())
    generator = np.random.default_rng(3)
    middle = content.index(b"mdat") + len(content) // 4
    for place in generator.integers(middle, middle + len(content) // 3, 400):
        content[place] = generator.integers(256)
    path.write_bytes(content)
    with open_video(str(path)) as video:
        found = list(read_frames(video, TIMES))
    # what a frame says about its own time is true as far as its bar code can still be read
    right = sum(abs(read_barcode(frame.pixels) / 25 - float(frame.time_s)) < 1e-6 for frame in found)
    assert right >= 10
    assert len({frame.time_s for frame in found}) == len(found)


def size_of(jpeg: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(jpeg)).size


@pytest.mark.parametrize(
    ("shape", "display", "size"),
    [
        ((1080, 1920), Display(0, pixel_aspect=Fraction(1)), (853, 480)),
        ((240, 426), Display(0, pixel_aspect=Fraction(1)), (426, 240)),
        ((1080, 1920), Display(1, pixel_aspect=Fraction(1)), (270, 480)),
        ((576, 720), Display(0, pixel_aspect=Fraction(16, 11)), (720, 396)),
        ((576, 720), Display(0, pixel_aspect=Fraction(8, 9)), (533, 480)),
    ],
)
def test_pictures_are_upright_with_square_pixels_and_never_enlarged(
    shape: tuple[int, int], display: Display, size: tuple[int, int]
) -> None:
    image = av.VideoFrame.from_ndarray(np.zeros((*shape, 3), np.uint8), format="rgb24")
    assert size_of(encode_picture(Frame(Fraction(0), image, display), 480, 90)) == size


def test_a_rotated_video_comes_out_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 2, rotation=90)
    with open_video(str(path)) as video:
        frame = next(read_frames(video, [Fraction(1)]))
    assert frame.display == Display(turns=1)
    assert size_of(encode_picture(frame, 480, 90)) == (160, 280)


COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (128, 128, 128), (200, 60, 30), (255, 255, 255)]
BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)


def write_colours(path: Path, matrix: tuple[float, float], full_range: bool, tagged: bool) -> Path:
    """A video of 7 columns in `COLOURS`, converted to YUV by the textbook."""
    red, blue = matrix
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "4", "preset": "veryfast"})
        sound = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        video.width, video.height, video.pix_fmt, video.gop_size = 448, 256, "yuv420p", 5
        for number in range(20):
            frame = av.VideoFrame(448, 256, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            if tagged:
                space, area = (1 if matrix == BT709 else 6), (2 if full_range else 1)
                video.codec_context.colorspace, video.codec_context.color_range = space, area
                frame.colorspace, frame.color_range = space, area
            values = []
            for r, g, b in np.array(COLOURS) / 255:
                y = red * r + (1 - red - blue) * g + blue * b
                cb, cr = (b - y) / 2 / (1 - blue), (r - y) / 2 / (1 - red)
                low, luma, chroma = (0, 255, 255) if full_range else (16, 219, 224)
                values.append([low + luma * y, 128 + chroma * cb, 128 + chroma * cr])
            for plane, column in zip(frame.planes, np.rint(np.array(values).T).clip(0, 255), strict=True):
                row = np.zeros(plane.line_size, np.uint8)
                row[: plane.width] = column.repeat(plane.width // 7)
                plane.update(np.tile(row, (plane.height, 1)))
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        piece = av.AudioFrame.from_ndarray(np.zeros((1, RATE_HZ), np.float32), format="fltp", layout="mono")
        piece.sample_rate = RATE_HZ
        container.mux(sound.encode(piece))
        container.mux(sound.encode(None))
    return path


@pytest.mark.parametrize("by_decord", [True, False])
@pytest.mark.parametrize(
    ("matrix", "full_range", "tagged"),
    [(BT601, False, False), (BT601, False, True), (BT601, True, True), (BT709, False, True), (BT709, True, True)],
)
def test_colours_of_stored_pictures_are_those_of_the_video(
    matrix: tuple[float, float], full_range: bool, tagged: bool, by_decord: bool, tmp_path: Path
) -> None:
    path = write_colours(tmp_path / "a.mp4", matrix, full_range, tagged)
    with open_video(str(path)) as video:
        # a keyframe, which is PyAV's, or one between, which is decord's
        frame = next(read_frames(video, [Fraction(13 if by_decord else 11, 50)]))
    picture = np.asarray(Image.open(io.BytesIO(encode_picture(frame, 128, 95)))).astype(int)
    for column, colour in enumerate(COLOURS):
        left = column * picture.shape[1] // 7
        patch = picture[40:90, left + 8 : left + 24].mean(axis=(0, 1))
        assert np.abs(patch - colour).max() <= 4


def test_a_track_that_appears_in_the_middle_of_a_damaged_stream_is_passed_over(tmp_path: Path) -> None:
    content = write_video(tmp_path / "a.ts", 6).read_bytes()
    generator = np.random.default_rng(5)
    outcomes: list[str] = []
    for number in range(60):
        spoilt = bytearray(content)
        for place in generator.integers(0, len(spoilt), len(spoilt) // 5000):
            spoilt[place] ^= 1 << int(generator.integers(8))
        path = tmp_path / f"{number}.ts"
        path.write_bytes(spoilt)
        try:
            with open_video(str(path)) as video:
                outcomes.append(f"{len(list(read_frames(video, TIMES[:8])))} frames")
        except MediaError as error:
            outcomes.append(error.reason)
    assert len(outcomes) == 60
    assert sum("frames" in outcome for outcome in outcomes) > 30
