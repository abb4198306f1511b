"""The length of a sound is the true one, whatever its header knows."""

import struct
from pathlib import Path

import pytest

from known_sound import SECONDS, ffmpeg, noise, write_video
from pipeline.sound.flac import encode_flac, read_header
from pipeline.sound.sound import decode_sound, measure_sound
from pipeline.sound.sound_frames import as_int16

RATE = 22050


@pytest.fixture(scope="module")
def flac(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "a.flac"
    path.write_bytes(encode_flac(as_int16(noise(rate_hz=RATE)[None]), RATE))
    return path


def test_flac_without_a_length_has_its_true_one(flac: Path) -> None:
    whole = flac.read_bytes()
    known = struct.unpack(">Q", whole[18:26])[0]
    content = whole[:18] + struct.pack(">Q", known >> 36 << 36) + whole[26:]  # as written through a pipe
    header = read_header(content)
    assert header is not None
    assert header.samples == 0
    assert measure_sound(content, "flac") == measure_sound(whole, "flac") == (RATE, SECONDS * RATE)


@pytest.mark.parametrize("size", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00"])
def test_wav_without_a_length_has_its_true_one(size: bytes, flac: Path, tmp_path: Path) -> None:
    ffmpeg("-i", flac, tmp_path / "a.wav")
    content = (tmp_path / "a.wav").read_bytes()
    data = content.index(b"data")
    piped = content[:4] + size + content[8 : data + 4] + size + content[data + 8 :]
    assert measure_sound(piped, "wav") == (RATE, SECONDS * RATE)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.mp3", ("-q:a", "7", "-write_xing", "0")),  # its header guesses by the first frame's bit rate
        ("a.mp3", ("-q:a", "7")),
        ("a.ogg", ("-c:a", "libopus")),
        ("a.aac", ("-c:a", "aac")),
        ("a.m4a", ("-c:a", "aac", "-movflags", "empty_moov+frag_keyframe")),
        ("a.mka", ("-c:a", "flac", "-live", "1")),
    ],
)
def test_the_length_is_that_of_what_is_decoded(name: str, words: tuple[str, ...], flac: Path, tmp_path: Path) -> None:
    ffmpeg("-i", flac, *words, tmp_path / name)
    content, kind = (tmp_path / name).read_bytes(), name.rpartition(".")[2]
    rate_hz, samples = measure_sound(content, kind)
    assert samples / rate_hz == pytest.approx(decode_sound(content, kind, 1).samples_at(48000) / 48000, abs=0.06)
    assert samples / rate_hz == pytest.approx(SECONDS, abs=0.08)


def test_ogg_that_was_cut_off_has_the_length_of_what_is_there(flac: Path, tmp_path: Path) -> None:
    ffmpeg("-i", flac, "-c:a", "libopus", tmp_path / "a.ogg")
    content = (tmp_path / "a.ogg").read_bytes()
    content = content[: len(content) // 2]
    rate_hz, samples = measure_sound(content, "ogg")
    assert samples / rate_hz == pytest.approx(decode_sound(content, "ogg", 1).samples_at(48000) / 48000, abs=0.1)
    assert 3 < samples / rate_hz < 9


def test_a_clip_has_the_length_of_its_sound(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [noise(seconds=7)], "-c:a", "aac")
    rate_hz, samples = measure_sound(path.read_bytes(), "mp4")
    assert samples / rate_hz == pytest.approx(7, abs=0.06)
