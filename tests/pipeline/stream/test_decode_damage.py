"""Whatever happens to a sample's bytes, reading it ends soon, well or with a ValueError, and then it is replaced."""

import io
import random
import tarfile
import time
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import pytest
from test_decode import coded, metadata, music, picture, sound_file

from barcode_video import barcode, write_video
from frames_and_sound import frames_and_sound
from pipeline.shards.foreign.sample import read_foreign
from pipeline.shards.members import Sample, read_sample
from pipeline.sound.flac import encode_flac
from pipeline.stream.decode import decode_sample
from pipeline.video.clip import ClipEncoder

SPEC = frames_and_sound(1, 64, None, 11025, 8000, 1)


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"k.{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def clip() -> bytes:
    encoder = ClipEncoder(96, 96, Fraction(25), 28)
    for number in range(60):
        encoder.add(av.VideoFrame.from_ndarray(barcode(number, 96, 96), format="rgb24"))
    return encoder.finish()


@cache
def samples(folder: Path) -> dict[str, tuple[Callable[[bytes, str], Sample], bytes]]:
    """How to read each kind of sample, and one of it."""

    def video(name: str, codec: str = "libx264", sound: str = "aac") -> bytes:
        path = write_video(folder / name, 2, size=(96, 96), codec=codec, audio_codec=sound)
        return path.read_bytes()

    jpeg = coded(picture(128, 96))
    own = metadata().model_dump_json().encode()
    own_clip = metadata(layout="clip", fps=25.0).model_dump_json().encode()
    files = {
        "ts": {"ts": video("a.ts")},
        "webm": {"webm": video("a.webm", "libvpx-vp9", "libopus")},
        "mp4": {"mp4": video("a.mp4")},
        "mp3": {"png": coded(picture(64, 64), "PNG"), "mp3": sound_file("mp3", "libmp3lame")},
        "wav": {"webp": coded(picture(64, 64), "WEBP"), "wav": sound_file("wav", "pcm_s16le")},
        "ogg": {"jpg": jpeg, "ogg": sound_file("ogg", "libopus", 48000)},
        "m4a": {"jpg": jpeg, "m4a": sound_file("mp4", "aac")},
    }
    ours = {
        "frame": {"json": own, "jpg": jpeg, "flac": encode_flac(music(), 11025)},
        "clip": {"json": own_clip, "mp4": clip(), "flac": encode_flac(music(25000), 11025)},
    }
    return {name: (read_sample, tar_of(parts)) for name, parts in ours.items()} | {
        name: (read_foreign, tar_of(parts)) for name, parts in files.items()
    }


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Bits flipped, the end cut off, zeros or noise for some of it, or a changed byte near the start of a file."""
    broken = bytearray(content)
    start = draw.randrange(len(broken))
    stop = min(len(broken), start + draw.randrange(1, 4000))
    how = draw.choice(("flip", "cut", "zeros", "noise", "header"))
    if how == "flip":
        for _ in range(draw.choice((1, 3, 30))):
            broken[draw.randrange(len(broken))] ^= 1 << draw.randrange(8)
    elif how == "cut":
        del broken[start:]
    elif how == "header":
        begin = draw.choice([at for at in range(0, len(broken), 512) if broken[at : at + 2] == b"k."]) + 512
        broken[min(begin + draw.randrange(600), len(broken) - 1)] = draw.randrange(256)
    else:
        broken[start:stop] = bytes(stop - start) if how == "zeros" else draw.randbytes(stop - start)
    return bytes(broken)


def read_damaged(folder: Path, seed: int, times: int) -> tuple[int, int]:
    """How many of `times` damaged samples of each kind could be read, and how many not."""
    draw = random.Random(seed)
    good = bad = 0
    for read, content in samples(folder).values():
        assert decode_sample(read(content, "k"), SPEC).arrays["frames"].shape == (1, 3, 64, 64)
        for _ in range(times):
            broken = damaged(content, draw)
            begun = time.monotonic()
            try:
                decoded = decode_sample(read(broken, "k"), SPEC)
                assert (decoded.arrays["frames"].shape, decoded.arrays["sound"].shape) == ((1, 3, 64, 64), (1, 8000))
                good += 1
            except ValueError:
                bad += 1
            assert time.monotonic() - begun < 10
    return good, bad


def test_damage_ends_well_or_with_a_value_error(tmp_path: Path) -> None:
    good, bad = read_damaged(tmp_path, 5, 20)
    assert good >= 10
    assert bad >= 60


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_much_damage_ends_well_or_with_a_value_error(tmp_path: Path) -> None:
    good, bad = read_damaged(tmp_path, 6, 1500)
    assert min(good, bad) >= 3000
