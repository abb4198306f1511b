"""Files that were joined with `cat`, of which a reader shows only one."""

import os
import struct
from pathlib import Path

import pytest

from barcode_video import write_video
from pipeline.errors import MediaError
from pipeline.reasons import Reason
from pipeline.video.joined_files import next_file_in
from pipeline.video.video_file import open_video

KINDS = {
    "mp4": {},
    "mov": {},
    "mkv": {},
    "webm": {"codec": "libvpx-vp9", "audio_codec": "libopus"},
    "avi": {"codec": "mpeg4", "audio_codec": "pcm_s16le", "frames_per_second_clock": True},
    "flv": {},
}


def made(folder: Path, kind: str) -> Path:
    return write_video(folder / f"one.{kind}", 2.0, size=(112, 64), **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_two_is_refused_with_the_place_of_the_second(tmp_path, kind):
    one = made(tmp_path, kind)
    with open_video(str(one)) as video:
        assert video.duration_s > 1.5
    both = tmp_path / f"both.{kind}"
    both.write_bytes(one.read_bytes() * 2)
    with (
        pytest.raises(MediaError, match=f"second begins at byte {one.stat().st_size}$") as failed,
        open_video(str(both)),
    ):
        pass
    assert failed.value.reason == Reason.DAMAGED


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi"])
def test_what_lies_behind_a_file_and_is_none_does_not_matter(tmp_path, kind):
    one = made(tmp_path, kind)
    one.write_bytes(one.read_bytes() + os.urandom(5000))
    with one.open("rb") as file:
        assert next_file_in(file) is None


def test_fragments_and_continuations_are_no_second_file(tmp_path):
    write_video(
        tmp_path / "fragments.mp4", 2.0, size=(112, 64), container_options={"movflags": "frag_keyframe+empty_moov"}
    )
    riff = b"RIFF" + struct.pack("<I", 4) + b"AVI " + b"RIFF" + struct.pack("<I", 4) + b"AVIX"
    (tmp_path / "long.avi").write_bytes(riff)
    for path in tmp_path.iterdir():
        with path.open("rb") as file:
            assert next_file_in(file) is None, path


def test_boxes_without_end_are_not_followed_for_ever(tmp_path):
    (tmp_path / "a.mp4").write_bytes(struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4s", 0, b"mdat") * 100)
    (tmp_path / "b.mp4").write_bytes(struct.pack(">I4s", 8, b"free") * 20_000)
    for path in tmp_path.iterdir():
        with path.open("rb") as file:
            assert next_file_in(file) is None
