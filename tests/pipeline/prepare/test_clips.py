"""Clips show the right frame at every moment, whatever the source, and every reader finds it."""

import bisect
import io
import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import webdataset
from av.video.reformatter import ColorRange, Colorspace

from barcode_odd_kinds import ODD_KINDS
from barcode_video import RATE_HZ, bursts, clicks, read_barcode, write_video
from listed_rows import ListedRows
from pipeline.errors import MediaError
from pipeline.experiment import ExperimentSettings
from pipeline.prepare.layouts.sample import PreparedVideo
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.prepare import in_this_process, prepare
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from pipeline.reasons import Reason
from pipeline.samples.metadata import SampleMetadata
from pipeline.settings.load import load_settings
from pipeline.shards.shard_set import ShardSet
from pipeline.sound.flac import decode_flac
from pipeline.video.clip import ClipEncoder, convert, decode_clip
from pipeline.video.decord_library import decord

CLIPS = PrepareSettings(layout="clip", clip_s=2.1, clip_fps=29.97, min_clip_s=2, audio_rate_hz=21000)
UNEVEN = np.cumsum(np.random.default_rng(0).integers(15, 90, 112)).tolist()
OPEN_264 = {"x264-params": "keyint=30:min-keyint=30:scenecut=0:open-gop=1:bframes=3"}

SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "closed GOP": ("a.mp4", {}),
    "keyframe every 250, B-frames": ("a.mp4", {"gop": 250}),
    "open GOP, B-frames": ("a.mp4", {"options": OPEN_264}),
    "H.265, open GOP": ("a.mp4", {"codec": "libx265"}),
    "VP9": ("a.webm", {"codec": "libvpx-vp9", "audio_codec": "libopus"}),
    "MPEG-4 in AVI": ("a.avi", {"codec": "mpeg4", "audio_codec": "libmp3lame"}),
    "variable frame rate": ("a.mp4", {"frame_times": UNEVEN}),
    "rounded times (Matroska), the clip's rate": (
        "a.mkv",
        {"frame_times": [round(n * 1e5 / 2997) for n in range(180)]},
    ),
    "starts at 8.3 s": ("a.ts", {"start_s": 8.3}),
    "rotated": ("a.mp4", {"rotation": 90}),
}


def clips_of(path: Path, settings: PrepareSettings = CLIPS, **row: Any) -> PreparedVideo:
    return prepare_video(VideoRow("video", str(path), **row), settings)


def numbers_in(clip: bytes, turned: int = 0) -> list[int]:
    return [read_barcode(np.rot90(picture, -turned // 90)) for picture in decode_clip(clip)]


@pytest.mark.parametrize("source", SOURCES)
def test_every_frame_of_a_clip_is_the_one_that_the_source_shows_then(source: str, tmp_path: Path) -> None:
    name, how = SOURCES[source]
    path = write_video(tmp_path / name, 6, **how)
    written = [tick / 1000 for tick in how.get("frame_times", range(0, 6000, 40))]
    found = clips_of(path)
    assert not found.left_out
    assert len(found.samples) == 2
    wrong = []
    for clip, sample in enumerate(found.samples):
        metadata = SampleMetadata.model_validate_json(sample.files["json"])
        assert (metadata.layout, metadata.fps) == ("clip", 29.97)
        shown = numbers_in(sample.files["mp4"], how.get("rotation", 0))
        assert len(shown) == len(metadata.frame_times_s) == 62
        # a container may shift its whole timeline (B-frames, priming), but nothing within it
        shift = metadata.frame_times_s[0] - written[shown[0]]
        assert 0 <= shift < 0.08
        assert metadata.frame_times_s == pytest.approx([written[n] + shift for n in shown], abs=1.1e-3)
        assert metadata.audio_start_s == pytest.approx(clip * 2.1, abs=0.09)  # with the first picture
        for frame, number in enumerate(shown):
            moment = metadata.audio_start_s + (frame + 0.5) / 29.97
            # container times are rounded, so at a frame's very edge either of two is right
            right = {max(0, bisect.bisect_right(written, moment - shift + edge) - 1) for edge in (-1.1e-3, 1.1e-3)}
            if number not in right:
                wrong.append((clip, frame, number, right))
    assert wrong == []


def test_a_clip_of_the_sources_own_rate_has_each_frame_once(tmp_path: Path) -> None:
    times = [round(number * 1e5 / 2997) for number in range(180)]  # rounded to ms, as Matroska does
    found = clips_of(write_video(tmp_path / "a.mkv", 6, frame_times=times))
    for sample in found.samples:
        shown = numbers_in(sample.files["mp4"])
        assert shown == list(range(shown[0], shown[0] + 62))


def test_decord_and_pyav_find_the_same_frames_in_any_order(tmp_path: Path) -> None:
    clip = clips_of(write_video(tmp_path / "a.mp4", 3)).samples[0].files["mp4"]
    by_pyav = np.stack(list(decode_clip(clip)))
    reader = decord.VideoReader(io.BytesIO(clip), num_threads=1)
    assert len(reader) == len(by_pyav)
    assert reader.get_avg_fps() == pytest.approx(29.97)
    order = np.random.default_rng(0).permutation(len(by_pyav))
    np.testing.assert_array_equal(reader.get_batch(order).asnumpy(), by_pyav[order])
    times = reader.get_frame_timestamp(range(len(by_pyav)))[:, 0]
    assert times == pytest.approx(np.arange(len(by_pyav)) / 29.97, abs=1e-4)


def test_gops_are_closed_and_at_most_a_second_long(tmp_path: Path) -> None:
    clip = clips_of(write_video(tmp_path / "a.mp4", 4)).samples[0].files["mp4"]
    whole = numbers_in(clip)
    with av.open(io.BytesIO(clip)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert all(packet.pts == packet.dts for packet in packets)
        keyframes = [index for index, packet in enumerate(packets) if packet.is_keyframe]
        assert keyframes[0] == 0
        assert max(b - a for a, b in itertools.pairwise([*keyframes, len(packets)])) <= 29
        assert len(keyframes) == 3
        for first, behind in itertools.pairwise([*keyframes, len(packets)]):
            decoder = av.CodecContext.create("h264", "r")
            decoder.extradata = container.streams.video[0].codec_context.extradata
            frames = [f for packet in [*packets[first:behind], None] for f in decoder.decode(packet)]
            assert [read_barcode(f.to_ndarray(format="rgb24")) for f in frames] == whole[first:behind]


def test_a_clip_reads_from_the_front_and_starts_at_zero(tmp_path: Path) -> None:
    clip = clips_of(write_video(tmp_path / "a.mp4", 4, start_s=8.3)).samples[0].files["mp4"]
    assert clip.index(b"moov") < clip.index(b"mdat")
    with av.open(io.BytesIO(clip)) as container:
        video = container.streams.video[0]
        assert video.start_time == 0
        assert video.average_rate == Fraction(2997, 100)
        assert float(video.duration * video.time_base) == pytest.approx(62 / 29.97, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mp4", {}),
        ("a.mkv", {}),
        ("a.ts", {"start_s": 8.3}),
        ("a.webm", {"codec": "libvpx-vp9", "audio_codec": "libopus"}),
    ],
)
def test_a_click_is_heard_within_5_ms_of_its_frame(name: str, how: dict[str, Any], tmp_path: Path) -> None:
    found = clips_of(write_video(tmp_path / name, 6.5, **how))  # clicks every half second of what its frames show
    heard = []
    assert len(found.samples) == 3
    for sample in found.samples:
        metadata = SampleMetadata.model_validate_json(sample.files["json"])
        audio, rate_hz = decode_flac(sample.files["flac"])
        assert (rate_hz, audio.shape) == (21000, (1, round(62 / 29.97 * 21000)))
        assert audio.shape[1] == metadata.audio_samples
        shown = numbers_in(sample.files["mp4"])
        # the clip's own clock: frame n at n / fps, sample n at n / rate
        for burst in bursts(audio[0], rate_hz):
            frame = min(int(burst * 29.97), len(shown) - 1)
            source_s = metadata.audio_start_s + burst - metadata.frame_times_s[frame] + shown[frame] / 25
            heard.append(source_s - round(source_s * 2) / 2)
            assert abs(metadata.audio_start_s + burst - metadata.frame_times_s[frame]) < 1 / 25 + 1 / 29.97
    assert len(heard) >= 10
    assert max(map(abs, heard)) <= 5e-3


def test_sound_begins_with_the_first_frame(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 200 * np.arange(6 * RATE_HZ) / RATE_HZ)
    path = write_video(tmp_path / "a.mov", 6, audio_codec="pcm_s16le", audio=tone[None].astype(np.float32))
    for number, sample in enumerate(clips_of(path).samples):
        metadata = SampleMetadata.model_validate_json(sample.files["json"])
        assert metadata.audio_start_s == pytest.approx(number * 2.1, abs=1 / 42000)
        times = metadata.audio_start_s + np.arange(metadata.audio_samples) / 21000
        audio = decode_flac(sample.files["flac"])[0][0]
        np.testing.assert_allclose(audio[50:-50], (0.5 * 32768 * np.sin(2 * np.pi * 200 * times))[50:-50], atol=80)


def test_flashes_and_beeps_of_a_real_file_fall_together(corpus: Path) -> None:
    settings = CLIPS.model_copy(update={"clip_s": 20.0, "clip_fps": 30.0, "max_clip_s": 20.0, "frame_height": 96})
    (sample,) = clips_of(corpus / "videos/energon_sync_test.mp4", settings).samples
    metadata = SampleMetadata.model_validate_json(sample.files["json"])
    light = [float(picture.mean()) for picture in decode_clip(sample.files["mp4"])]
    power = np.square(decode_flac(sample.files["flac"])[0][0].astype(np.float64))
    loud = np.flatnonzero(power > power.max() * 0.02)
    beeps = loud[np.r_[True, np.diff(loud) > 2100]] / 21000
    flashes = [n for n, (before, now) in enumerate(itertools.pairwise(light), 1) if now > before + 6]
    assert len(flashes) >= 19
    # the file's own offset, found by decoding it from its start: flash at n + 33.3 ms, beep at n + 53.6 ms
    for clock, most in (
        ([metadata.frame_times_s[n] - metadata.audio_start_s for n in flashes], 5e-3),
        ([n / 30 for n in flashes], 5e-3 + 1 / 60),  # the clip's own, where a frame may be half a frame off
    ):
        offsets = [float(beeps[np.argmin(np.abs(beeps - flash))]) - flash - 0.0202 for flash in clock]
        assert max(map(abs, offsets)) <= most


COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 20), (128, 128, 128), (20, 20, 20), (240, 240, 240)]


@pytest.mark.parametrize(
    ("space", "extent", "pixel_format"),
    [
        (None, ColorRange.MPEG, "yuv420p"),
        (Colorspace.ITU709, ColorRange.MPEG, "yuv420p"),
        (None, ColorRange.JPEG, "yuvj420p"),
        (Colorspace.ITU709, ColorRange.JPEG, "yuv420p"),
    ],
)
def test_colours_stay_whatever_their_coding(
    space: Colorspace | None, extent: ColorRange, pixel_format: str, tmp_path: Path
) -> None:
    patches = np.repeat(np.array([COLOURS], np.uint8), 40, axis=1).repeat(160, axis=0)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "10", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = 280, 160, pixel_format
        video.codec_context.color_range = extent
        if space is not None:
            video.codec_context.colorspace = space
        sound = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(patches, format="rgb24").reformat(
                format=pixel_format, dst_colorspace=space or Colorspace.ITU601, dst_color_range=extent
            )
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        piece = av.AudioFrame.from_ndarray(clicks(2.4, [1.0]), format="fltp", layout="mono")
        piece.sample_rate, piece.pts = RATE_HZ, 0
        for item in (piece, None):
            container.mux(sound.encode(item))
    settings = CLIPS.model_copy(update={"frame_height": 80, "clip_s": 2.0})
    picture = next(decode_clip(clips_of(tmp_path / "a.mp4", settings).samples[0].files["mp4"]))
    shown = [picture[10:-10, 20 * n + 6 : 20 * n + 14].mean(axis=(0, 1)) for n in range(len(COLOURS))]
    np.testing.assert_allclose(shown, COLOURS, atol=7)


@pytest.mark.parametrize(
    ("size", "how", "stored"),
    [
        ((280, 160), {}, (280, 160)),
        ((640, 360), {}, (426, 240)),
        ((280, 160), {"rotation": 90}, (136, 240)),
        ((352, 288), {"pixel_aspect": Fraction(16, 11)}, (352, 198)),
    ],
)
def test_clips_are_upright_with_square_pixels_and_even_sizes(
    size: tuple[int, int], how: dict[str, Any], stored: tuple[int, int], tmp_path: Path
) -> None:
    settings = CLIPS.model_copy(update={"frame_height": 240})
    clip = clips_of(write_video(tmp_path / "a.mp4", 3, size=size, **how), settings).samples[0].files["mp4"]
    with av.open(io.BytesIO(clip)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height) == stored
        assert video.codec_context.sample_aspect_ratio in (None, 0, 1)
        assert next(container.decode(video)).rotation == 0


def test_a_clip_in_which_the_picture_changes_its_shape_is_left_out_and_the_others_keep_theirs(tmp_path: Path) -> None:
    path = next(kind for kind in ODD_KINDS if str(kind) == "pixel aspect changes, ts").write(tmp_path)  # at 4 s
    prepared = clips_of(path, CLIPS.model_copy(update={"clip_s": 1.2, "frame_height": 240}))
    assert prepared.left_out == {"shape_changes": 1}
    sizes = []
    for sample in prepared.samples:
        with av.open(io.BytesIO(sample.files["mp4"])) as container:
            sizes.append((container.streams.video[0].width, container.streams.video[0].height))
    assert sizes == sorted(sizes, key=lambda size: -size[1])
    assert len(set(sizes)) == 2
    with pytest.raises(MediaError, match="changes its shape") as failed:
        clips_of(path, CLIPS.model_copy(update={"clip_s": 7.0}))
    assert failed.value.reason == Reason.SHAPE_CHANGES


def test_the_same_video_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    first = clips_of(path)
    # often, since what depends on memory that nobody wrote differs seldom
    assert all(clips_of(path) == first for _ in range(20))


def test_a_row_with_a_range_is_one_clip_of_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 12)
    found = clips_of(path, start_s=3.2, end_s=8.2, labels=("dog",), split="train")
    assert len(found.samples) == 1
    metadata = SampleMetadata.model_validate_json(found.samples[0].files["json"])
    assert (metadata.labels, metadata.split) == (["dog"], "train")
    shown = numbers_in(found.samples[0].files["mp4"])
    assert len(shown) == 149
    assert (shown[0], shown[-1]) == (80, 203)
    assert metadata.audio_start_s == pytest.approx(3.2, abs=1e-4)
    assert metadata.audio_samples == round(149 / 29.97 * 21000)


def test_only_the_middle_of_a_long_video_is_taken(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 10)
    found = clips_of(path, CLIPS.model_copy(update={"max_clip_s": 4.2}))
    assert [sample.key for sample in found.samples] == ["video_0000", "video_0001"]
    assert [numbers_in(sample.files["mp4"])[0] for sample in found.samples] == [72, 125]
    (whole,) = clips_of(path, CLIPS.model_copy(update={"max_clip_s": 4.2, "clip_s": None})).samples
    assert [numbers_in(whole.files["mp4"])[at] for at in (0, -1)] == [72, 176]


def test_a_video_shorter_than_a_clip_is_too_short(tmp_path: Path) -> None:
    with pytest.raises(
        MediaError, match=r"expected a clip of 4\.2 s or more, as prepare\.clip_s asks, found 3\.0"
    ) as caught:
        clips_of(write_video(tmp_path / "a.mp4", 3), CLIPS.model_copy(update={"clip_s": 4.2}))
    assert caught.value.reason == "too_short"


def test_silent_clips_are_left_out_and_counted(tmp_path: Path) -> None:
    audio = clicks(6.3, [0.5, 5.0])
    audio[:, int(2.0 * RATE_HZ) : int(4.3 * RATE_HZ)] = 0
    found = clips_of(write_video(tmp_path / "a.mp4", 6.3, audio=audio))
    assert found.left_out == {"silent": 1}
    assert [sample.key for sample in found.samples] == ["video_0000", "video_0002"]
    with pytest.raises(MediaError) as caught:
        clips_of(write_video(tmp_path / "b.mp4", 4, audio=audio * 0))
    assert caught.value.reason == "silent"


def test_a_clip_with_frames_that_are_lost_is_left_out(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", 6.3)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        places = [packet.pos for packet in packets if 2.5 < float(packet.pts * packet.time_base) - 1.4 < 3.7]
    content = bytearray(path.read_bytes())
    low, high = min(places), max(places)
    noise = np.random.default_rng(0)
    for start in range(low - low % 188, high, 188):
        content[start + 20 : start + 188] = noise.integers(0, 256, 168, np.uint8).tobytes()
    path.write_bytes(content)
    found = clips_of(path)
    assert found.left_out.get("damaged", 0) >= 1
    for sample in found.samples:
        metadata = SampleMetadata.model_validate_json(sample.files["json"])
        assert max(b - a for a, b in itertools.pairwise(metadata.frame_times_s)) < 0.2


def test_a_frame_that_stands_still_for_seconds_is_no_damage(tmp_path: Path) -> None:
    times = [*range(0, 1000, 40), *range(3000, 6000, 40)]
    found = clips_of(write_video(tmp_path / "a.mp4", 6, frame_times=times))
    assert not found.left_out
    shown = numbers_in(found.samples[0].files["mp4"])
    assert shown[-30:] == [24] * 30


def test_a_shard_of_clips_reads_with_webdataset_and_shard_set(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    prepare(ListedRows([VideoRow("video", str(path))]), str(tmp_path / "out"), CLIPS, in_this_process)
    shards = webdataset.WebDataset(str(tmp_path / "out/shard-000000.tar"), shardshuffle=False, empty_check=False)
    seen = list(shards.decode())
    assert len(seen) == 2
    ours = ShardSet.open(str(tmp_path / "out"))
    for index, sample in enumerate(seen):
        reader = decord.VideoReader(io.BytesIO(sample["mp4"]), num_threads=1)
        numbers = [read_barcode(picture) for picture in reader.get_batch(range(len(reader))).asnumpy()]
        assert numbers == numbers_in(sample["mp4"])
        one = ours.read(index)
        assert (one.key, one.clip, one.audio, one.images) == (sample["__key__"], sample["mp4"], sample["flac"], [])
        assert len(one.metadata.frame_times_s) == len(numbers)


def test_the_recipe_of_look_listen_and_attend_gives_what_it_takes(tmp_path: Path) -> None:
    settings = load_settings("configs/data/look_listen_attend.yaml", ExperimentSettings).settings.prepare
    sample = clips_of(write_video(tmp_path / "a.mp4", 10.05, size=(640, 360)), settings).samples[0]
    pictures = list(decode_clip(sample.files["mp4"]))
    assert (len(pictures), pictures[0].shape) == (299, (256, 454, 3))
    audio, rate_hz = decode_flac(sample.files["flac"])
    assert (rate_hz, audio.shape) == (21000, (2, round(299 / 29.97 * 21000)))


def test_a_frame_may_be_shown_twice_and_keeps_its_own_time() -> None:
    encoder = ClipEncoder(64, 48, Fraction(25), 20)
    frame = convert(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24"), 64, 48, "yuv420p")
    frame.pts = 77
    encoder.add(frame)
    encoder.add(frame)
    assert frame.pts == 77
    assert len(list(decode_clip(encoder.finish()))) == 2


def test_a_cut_clip_is_refused() -> None:
    encoder = ClipEncoder(64, 48, Fraction(25), 20)
    noise: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for shift in range(30):
        encoder.add(av.VideoFrame.from_ndarray(np.roll(noise, shift, axis=1), format="rgb24"))
    clip = encoder.finish()
    assert len(list(decode_clip(clip))) == 30
    with pytest.raises(ValueError, match="MP4"):
        list(decode_clip(clip[: len(clip) // 2]))
    with pytest.raises(ValueError, match="MP4"):
        list(decode_clip(b""))
    with pytest.raises(ValueError, match="even"):
        ClipEncoder(63, 48, Fraction(25), 20)
