"""Samples of segments: each segment's middle frame, and the audio of them all."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from barcode_video import RATE_HZ, bursts, clicks, read_barcode, write_video
from listed_rows import ListedRows
from pipeline.errors import ManifestError, MediaError
from pipeline.experiment import ExperimentSettings
from pipeline.prepare.layouts.sample import EncodedSample, PreparedVideo
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.plan import settle_plan
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from pipeline.samples.metadata import SampleMetadata
from pipeline.settings.load import load_settings
from pipeline.shards.members import read_sample
from pipeline.sound.flac import decode_flac

FOUR = PrepareSettings(layout="segments", segments=4, segment_s=1, min_clip_s=1)


def segments_of(path: Path, settings: PrepareSettings = FOUR, **row: Any) -> PreparedVideo:
    return prepare_video(VideoRow("video", str(path), **row), settings)


def metadata_of(sample: EncodedSample) -> SampleMetadata:
    return SampleMetadata.model_validate_json(sample.files["json"])


def numbers_in(sample: EncodedSample) -> list[int]:
    return [
        read_barcode(np.array(Image.open(io.BytesIO(content))))
        for name, content in sample.files.items()
        if name.endswith(".jpg")
    ]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mp4", {}),
        ("a.mp4", {"gop": 250}),
        ("a.mp4", {"codec": "libx265"}),
        ("a.mkv", {}),
        ("a.ts", {"start_s": 8.3}),
        ("a.webm", {"codec": "libvpx-vp9", "audio_codec": "libopus"}),
    ],
)
def test_each_segment_shows_its_middle_frame_and_sounds_in_its_place(
    name: str, how: dict[str, Any], tmp_path: Path
) -> None:
    found = segments_of(write_video(tmp_path / name, 9, **how))
    assert [sample.key for sample in found.samples] == ["video_0000", "video_0001"]
    heard = []
    for place, sample in enumerate(found.samples):
        assert list(sample.files) == ["json", "00.jpg", "01.jpg", "02.jpg", "03.jpg", "flac"]
        metadata = metadata_of(sample)
        assert (metadata.layout, metadata.fps) == ("segments", None)
        numbers = numbers_in(sample)
        middles = [metadata.audio_start_s + second + 0.5 for second in range(4)]
        shift = metadata.frame_times_s[0] - numbers[0] / 25  # B-frames and priming shift a container's whole timeline
        assert 0 <= shift < 0.08
        assert numbers == [int((middle - shift) * 25 + 0.025) for middle in middles]
        assert metadata.frame_times_s == pytest.approx([number / 25 + shift for number in numbers], abs=1.1e-3)
        audio, rate_hz = decode_flac(sample.files["flac"])
        assert audio.shape == (1, 4 * rate_hz) == (1, metadata.audio_samples)
        assert metadata.audio_start_s == pytest.approx(4 * place, abs=0.09)  # with the first picture
        for burst in bursts(audio[0], rate_hz):
            source_s = metadata.audio_start_s + burst - shift
            heard.append(source_s - round(source_s * 2) / 2)
    assert len(heard) >= 12
    assert max(map(abs, heard)) <= 5e-3


def test_a_row_with_a_range_is_one_sample_from_its_start(tmp_path: Path) -> None:
    labels = (("dog",), ("dog",), (), ())
    path = write_video(tmp_path / "a.mp4", 9)
    found = segments_of(path, start_s=2.0, end_s=8.0, segment_labels=labels, labels=("dog",), split="test")
    assert len(found.samples) == 1
    assert numbers_in(found.samples[0]) == [62, 87, 112, 137]
    metadata = metadata_of(found.samples[0])
    assert metadata.segment_labels == [["dog"], ["dog"], [], []]
    assert (metadata.labels, metadata.split) == (["dog"], "test")


def test_a_row_with_labels_of_segments_is_one_sample_from_its_start(tmp_path: Path) -> None:
    found = segments_of(write_video(tmp_path / "a.mp4", 9), segment_labels=((), ("a",), ("b",), ("c",)))
    assert [numbers_in(sample) for sample in found.samples] == [[12, 37, 62, 87]]


def test_what_is_known_of_segments_is_kept_and_the_boxes_of_the_middle_one_are_the_samples(tmp_path: Path) -> None:
    box = (0.1, 0.2, 0.3, 0.4)
    path = write_video(tmp_path / "a.mp4", 9)
    told = {"segment_heard": (("a",), (), ("b",), ()), "segment_visible": ((), ("c", "a"), ("b",), ())}
    found = segments_of(path, segment_boxes=((), (), (box,), ()), **told)
    (metadata,) = map(metadata_of, found.samples)
    assert metadata.segment_heard == [["a"], [], ["b"], []]
    assert metadata.segment_visible == [[], ["c", "a"], ["b"], []]
    assert metadata.segment_boxes == [[], [], [box], []]
    assert metadata.boxes == [box]
    nowhere = segments_of(path, segment_boxes=((box,), (), (), ()))
    assert metadata_of(nowhere.samples[0]).boxes == []
    with pytest.raises(ManifestError, match="video: segment_boxes: expected boxes for 4 segments"):
        prepare_video(VideoRow("video", str(path), segment_boxes=((), (box,))), FOUR)


def test_labels_for_another_number_of_segments_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    sentence = "video: segment_labels: expected labels for 4 segments as prepare.segments says, found 2"
    row = VideoRow("video", str(path), segment_labels=(("a",), ("b",)))
    with pytest.raises(ManifestError, match=sentence):
        prepare_video(row, FOUR)
    with pytest.raises(ManifestError, match=sentence):  # and before anything is decoded
        settle_plan(str(tmp_path / "out"), ListedRows([VideoRow("other", str(path)), row]), FOUR)
    assert not (tmp_path / "out/plan.json").exists()


def test_a_file_that_lacks_less_than_half_a_segment_still_gives_a_sample(tmp_path: Path) -> None:
    found = segments_of(write_video(tmp_path / "a.mp4", 3.6))
    assert numbers_in(found.samples[0]) == [12, 37, 62, 87]
    audio, rate_hz = decode_flac(found.samples[0].files["flac"])
    assert audio.shape == (1, 4 * rate_hz)
    assert not audio[0, round(3.7 * rate_hz) :].any()
    assert audio[0, : round(3.55 * rate_hz)].any()


def test_a_file_that_lacks_half_a_segment_is_too_short(tmp_path: Path) -> None:
    with pytest.raises(
        MediaError, match=r"expected 3\.5 s or more, as prepare\.segments of prepare\.segment_s ask, found 3\.4"
    ) as caught:
        segments_of(write_video(tmp_path / "a.mp4", 3.4))
    assert caught.value.reason == "too_short"


def test_sound_that_ends_early_is_too_short(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="its audio ends before") as caught:
        segments_of(write_video(tmp_path / "a.mp4", 4, audio=clicks(3, [0.5])))
    assert caught.value.reason == "too_short"


def test_silence_is_left_out(tmp_path: Path) -> None:
    audio = clicks(8, [0.5, 1.0])
    audio[:, int(3.9 * RATE_HZ) :] = 0
    found = segments_of(write_video(tmp_path / "a.mp4", 8, audio=audio))
    assert found.left_out == {"silent": 1}
    assert [sample.key for sample in found.samples] == ["video_0000"]


def test_more_than_a_hundred_segments_have_three_digits_and_stay_in_order(tmp_path: Path) -> None:
    settings = FOUR.model_copy(update={"segments": 120, "segment_s": 0.04})
    sample = segments_of(write_video(tmp_path / "a.mp4", 5), settings).samples[0]
    assert list(sample.files)[1:3] == ["000.jpg", "001.jpg"]
    assert numbers_in(sample) == list(range(120))


def test_a_sample_of_segments_reads_back_in_order(tmp_path: Path) -> None:
    sample = segments_of(write_video(tmp_path / "a.mp4", 5)).samples[0]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in reversed(sample.files.items()):
            member = tarfile.TarInfo(f"{sample.key}.{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    read = read_sample(buffer.getvalue(), sample.key)
    assert read.images == [sample.files[f"{place:02}.jpg"] for place in range(4)]
    assert read.clip is None


def test_the_same_video_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    assert segments_of(path) == segments_of(path)


@pytest.mark.parametrize(
    ("recipe", "seconds", "frames", "audio_shape"),
    [("ave", 9.9, 10, (1, 160000)), ("tribert", 6.1, 6, (1, 66150))],
)
def test_recipes_of_papers_give_what_they_take(
    recipe: str, seconds: float, frames: int, audio_shape: tuple[int, int], tmp_path: Path
) -> None:
    settings = load_settings(f"configs/data/{recipe}.yaml", ExperimentSettings).settings.prepare
    found = segments_of(write_video(tmp_path / "a.mp4", seconds, size=(640, 360)), settings)
    assert len(found.samples) == 1
    assert len(numbers_in(found.samples[0])) == frames
    assert decode_flac(found.samples[0].files["flac"])[0].shape == audio_shape
    assert Image.open(io.BytesIO(found.samples[0].files["00.jpg"])).height == 256
