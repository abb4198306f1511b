"""What of a tar's files becomes a sample: its picture, clip, sound and labels by their names."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from media_bytes import picture, sound

from barcode_video import write_video
from frames_and_sound import frames_and_sound
from pipeline.features.frame_times import FrameTimes
from pipeline.samples.metadata import SampleMetadata
from pipeline.samples.skeleton import POINTS
from pipeline.shards.array_file import encode_array
from pipeline.shards.foreign.sample import read_foreign
from pipeline.stream.decode import decode_sample
from pipeline.stream.fields.keypoints import KeypointsField

SPEC = frames_and_sound(1, 32, None, 11025, 4000, 1)


def tar_with(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"k.{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        ({"json": b'{"label": "dog"}'}, ["dog"]),
        ({"json": b'{"labels": ["dog", "cat", "dog"], "class": 3}'}, ["dog", "cat", "3"]),
        ({"json": b'{"category": "x", "other": 1}', "cls": b"7\n"}, ["x", "7"]),
        ({"json": b"[1, 2]", "txt": b"a dog barks\n"}, ["a dog barks"]),
        ({"json": b"{broken", "cls": b""}, []),
        ({}, []),
    ],
)
def test_labels_come_from_the_usual_names(files: dict[str, bytes], labels: list[str]) -> None:
    content = tar_with({"jpg": picture(1), "flac": sound(1)} | files)
    assert read_foreign(content, "k").metadata.labels == labels


def test_json_of_our_own_kind_is_taken_as_it_is() -> None:
    known = SampleMetadata(
        video="v", source="s", frame_times_s=[3.0], audio_start_s=2.0, audio_rate_hz=22050, audio_samples=11025
    )
    content = tar_with({"jpg": picture(1), "flac": sound(1), "json": known.model_dump_json().encode()})
    assert read_foreign(content, "k").metadata == known


def test_the_first_image_by_name_is_the_frame() -> None:
    content = tar_with({"1.png": picture(2, "PNG"), "0.webp": picture(1, "WEBP"), "flac": sound(1), "2.jpeg": b""})
    read = read_foreign(content, "k")
    assert read.images == [picture(1, "WEBP")]
    assert decode_sample(read, SPEC).arrays["frames"].shape == (1, 3, 32, 32)
    assert read.metadata.frame_times_s == [0.25]


@pytest.mark.parametrize("beside", [False, True])
def test_a_video_is_a_clip_with_its_own_sound_or_that_beside_it(beside: bool, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 3, audio_codec=None if beside else "aac").read_bytes()
    files = {"mp4": video} | ({"wav": wav(3)} if beside else {})
    read = read_foreign(tar_with(files), "k", "t.tar")
    assert (read.metadata.layout, read.metadata.source) == ("clip", "t.tar#k")
    assert (read.audio_kind, read.metadata.audio_rate_hz) == (("wav", 16000) if beside else ("mp4", 44100))
    assert read.metadata.audio_samples == pytest.approx(3 * read.metadata.audio_rate_hz, rel=0.02)
    decoded = decode_sample(read, frames_and_sound(4, 64, None, 11025, 11025, 2), moment=0.5)
    assert decoded.arrays["frames"].shape == (4, 3, 64, 64)
    assert decoded.arrays["sound"].shape == (2, 11025)
    assert decoded.audio_start_s == pytest.approx(1.0, abs=0.03)


def wav(seconds: int, rate_hz: int = 16000) -> bytes:
    import wave

    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((np.sin(np.arange(seconds * rate_hz) * 0.1) * 8000).astype("<i2").tobytes())
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"jpg": b"", "txt": b""}, "k: expected an image and sound, a video or arrays, found jpg, txt"),
        ({"mp4": b"no video"}, "k: its sound can't be read: expected mp4"),
        ({"jpg": b"", "wav": b""}, "k: its sound can't be read: expected wav"),
    ],
)
def test_what_is_no_sample_is_refused_with_a_sentence(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_foreign(tar_with(files), "k")


def test_keypoints_of_others_shards_are_theirs_by_the_name_of_the_file() -> None:
    points = np.random.default_rng(0).random((1, 2, POINTS, 3)).astype(np.float32)
    content = tar_with({"jpg": picture(1), "flac": sound(1), "keypoints.npy": encode_array(points)})
    pose = KeypointsField("pose", FrameTimes(1, None, 0.3), persons=1, geometry="squash")
    found = decode_sample(read_foreign(content, "k"), (*SPEC, pose)).arrays["pose"]
    assert np.array_equal(found, points[:, :1])
