"""Media and pictures that others made are opened in one place each, which knows no playlists and starts no programs."""

import ast
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import MediaError
from pipeline.inspect.cards import make_card
from pipeline.inspect.choose import ChosenSample
from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.shard_files import SampleEntry
from pipeline.sound.flac import MOST_SAMPLES, decode_flac, encode_flac
from pipeline.sound.sound import decode_sound
from pipeline.video.clip import CHECKED
from pipeline.video.clip_frames import ClipFrames
from pipeline.video.open_picture import MOST_PIXELS, open_picture
from pipeline.video.video_file import open_video
from raw_tar import tar_of

REPOSITORY = Path(__file__).parents[3]
_PACKAGES = ("pipeline", "jobs", "cluster")


def video(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width = stream.height = 32
        for number in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 9 * number, np.uint8))))
        container.mux(stream.encode(None))
    return path


@contextmanager
def counted_connections() -> Iterator[tuple[int, list[int]]]:
    """A port of this machine, and what connected to it."""
    came: list[int] = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def count() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return
                came.append(1)

        threading.Thread(target=count, daemon=True).start()
        yield server.getsockname()[1], came
        server.shutdown(socket.SHUT_RDWR)


def playlists(other: Path, port: int) -> dict[str, bytes]:
    return {
        "ffconcat": f"ffconcat version 1.0\nfile {other.name}\n".encode(),
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n".encode(),
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n".encode(),
        "dash": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>http://127.0.0.1:{port}/'
        "</BaseURL></MPD>".encode(),
    }


@pytest.mark.timeout(60)  # the SDP would wait for packets
@pytest.mark.parametrize("name", ["ffconcat", "hls", "sdp", "dash"])
def test_a_list_of_other_media_is_neither_followed_nor_taken_for_a_video(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with counted_connections() as (port, came):
        content = playlists(video(tmp_path / "other.mp4"), port)[name]
        for kind in ("mp4", "webm", "ts"):
            with pytest.raises(ValueError, match=kind):
                ClipFrames(content, kind)
            with pytest.raises(ValueError, match=kind):
                decode_sound(content, kind, 1)
        (tmp_path / "a.mp4").write_bytes(content)
        with pytest.raises(MediaError) as refused, open_video(str(tmp_path / "a.mp4")):
            pass
        assert refused.value.reason == "unreadable"
        assert not came


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call of `OWNER.NAME` in the packages: its file and itself."""
    owner, _, function = name.partition(".")
    for package in _PACKAGES:
        for file in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == function:
                    base = node.func.value
                    if owner in (getattr(base, "id", None), getattr(base, "attr", None)):
                        yield str(file.relative_to(REPOSITORY)), node


def test_nobody_else_opens_media_to_read_it() -> None:
    def writes(call: ast.Call) -> bool:
        mode = call.args[1] if len(call.args) > 1 else None
        return isinstance(mode, ast.Constant) and mode.value == "w"

    readers = {file for file, call in calls("av.open") if not writes(call)}
    assert readers == {"pipeline/video/open_media.py"}
    # it gets clips that were muxed from packets of a file that was opened there
    assert {file for file, _ in calls("decord.VideoReader")} == {"pipeline/video/decord_frames.py"}


def test_nobody_else_opens_pictures() -> None:
    assert {file for file, _ in calls("Image.open")} == {"pipeline/video/open_picture.py"}


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["EPS", "GIF", "TIFF", "PNG"])
def test_a_jpg_that_is_another_picture_is_a_problem_of_its_card_and_starts_no_program(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.check_call", pytest.fail)
    monkeypatch.setattr("subprocess.Popen", pytest.fail)
    metadata = SampleMetadata(
        video="v", source="v", frame_times_s=[1.0], audio_start_s=0.0, audio_rate_hz=8000, audio_samples=800
    )
    sample = tar_of(
        {
            "k.json": metadata.model_dump_json().encode(),
            "k.jpg": encoded(Image.new("RGB", (8, 8)), kind),
            "k.flac": encode_flac(np.zeros((1, 800), np.int16), 8000),
        }
    )
    card = make_card(ChosenSample("s.tar", SampleEntry(key="k", offset=0, bytes=len(sample), crc32=0)), sample)
    assert card.problem is not None
    assert "image" in card.problem


def test_a_small_file_that_claims_a_huge_picture_is_refused_before_a_pixel_is_decoded() -> None:
    width = 10_000
    bomb = encoded(Image.new("1", (width, MOST_PIXELS // width + 1)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(ValueError, match="pixels"), open_picture(bomb, ["PNG"]) as image:
        image.load()


def test_a_sound_whose_header_claims_hours_is_refused_before_it_is_decoded() -> None:
    flac = bytearray(encode_flac(np.zeros((1, 8000), np.int16), 8000))
    flac[21:26] = (int.from_bytes(flac[21:26], "big") & ~((1 << 36) - 1) | (MOST_SAMPLES + 1)).to_bytes(5, "big")
    with pytest.raises(ValueError, match="expected at most 67,108,864 samples"):
        decode_flac(bytes(flac))


def test_a_sound_that_is_longer_than_its_header_says_is_refused_while_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.sound.flac.MOST_SAMPLES", 20_000)
    flac = bytearray(encode_flac(np.zeros((1, 40_000), np.int16), 8000))
    flac[21:26] = (int.from_bytes(flac[21:26], "big") & ~((1 << 36) - 1)).to_bytes(5, "big")  # 0: not known
    with pytest.raises(ValueError, match="expected at most 20,000 samples"):
        decode_flac(bytes(flac))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 40_000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        for piece in (frame, None):
            container.mux(stream.encode(piece))
    with pytest.raises(ValueError, match="expected at most 20,000 samples"):
        decode_sound(buffer.getvalue(), "wav", 1)


def test_a_sound_of_few_samples_and_many_holes_is_refused_before_the_holes_are_filled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for second in range(0, 30, 9):
            frame = av.AudioFrame.from_ndarray(np.ones((1, 800), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8000, 8000 * second
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert decode_sound(buffer.getvalue(), "mkv", 1).parts
    monkeypatch.setattr("pipeline.sound.flac.MOST_SAMPLES", 200_000)
    with pytest.raises(ValueError, match="expected at most 200,000 samples"):
        decode_sound(buffer.getvalue(), "mkv", 1)


def test_a_clip_of_absurd_size_is_refused_by_its_decoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clip = video(tmp_path / "a.mp4").read_bytes()
    assert len(list(ClipFrames(clip).decode([0]))) == 1
    monkeypatch.setitem(CHECKED, "max_pixels", "1000")
    with pytest.raises(ValueError, match="expected"):
        list(ClipFrames(clip).decode([0]))
