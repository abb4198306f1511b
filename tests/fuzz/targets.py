"""The places where bytes come in that nobody vouches for, each as a function of any bytes that keeps a promise."""

import atexit
import gzip
import io
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import av
import numpy as np
from PIL import Image

from barcode_video import write_video
from cluster.errors import UserError
from cluster.json_text import parse_json
from cluster.pace import LocalPace
from frames_and_sound import frames_and_sound
from pipeline.errors import SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.inspect.cards import make_card
from pipeline.inspect.choose import ChosenSample
from pipeline.inspect.facts import HEAD_BYTES, read_facts
from pipeline.inspect.verify_sample import problems_of
from pipeline.prepare.fetch.fetched import fetched
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.manifests.read import ListOptions, VideoList
from pipeline.prepare.manifests.row import VideoRow
from pipeline.reasons import Reason
from pipeline.samples.metadata import SampleMetadata
from pipeline.settings.load import dump_settings, load_settings
from pipeline.shards.foreign.naming import split_name
from pipeline.shards.foreign.sample import read_foreign
from pipeline.shards.members import read_sample
from pipeline.shards.shard_files import SampleEntry
from pipeline.shards.tar_members import BLOCK, DamagedTarError, walk
from pipeline.shards.tar_run import read_members
from pipeline.sound.flac import encode_flac
from pipeline.stream.decode import decode_sample
from raw_http_server import RawServer, answer
from raw_tar import binary_size, header, member, pax, tar_of

SPEC = frames_and_sound(1, 32, None, 11025, 4000, 1)
FETCH = FetchSettings(attempts=1, stall_s=1, patience_s=5, longest_wait_s=1, max_gb=0.01)
MEMBERS = ("jpg", "png", "webp", "flac", "mp3", "wav", "ogg", "mp4", "webm", "ts", "avi", "json", "cls")
LISTS = (".csv", ".json", ".jsonl", ".txt", ".parquet", ".csv.gz")


_WORDS = (b"\r\n", b"\n", b'"', b"'", b"&a ", b"*a", b": ", b",", b"-1", b"1e999", b"\x0b", b"\x00")


@dataclass(frozen=True)
class Target:
    """A place to fuzz.

    Attributes:
        check: fails on bytes for which the place doesn't keep its promise.
        seeds: inputs to begin with.
    """

    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def check_sentence(error: Exception) -> None:
    """What is wrong is said on one line."""
    assert str(error)
    assert "\n" not in str(error)


def check_tar(content: bytes) -> None:
    """An end after as many steps as there are blocks, files within the tar and in order, or damage."""
    end = count = 0
    try:
        for one in walk(lambda at, size: content[at : at + size], len(content)):
            assert end <= one.start < one.data <= one.data + one.size <= min(one.end, len(content))
            end, count = one.end, count + 1
            assert count <= len(content) // BLOCK
            split_name(one.name)
    except DamagedTarError as error:
        check_sentence(error)
    for beginning in (False, True):
        try:
            assert sum(len(file) for _, file in read_members(content, beginning=beginning)) <= len(content)
        except ValueError:
            continue


def tars() -> list[bytes]:
    """Small tars of all kinds of headers."""
    whole = tar_of({"a.jpg": b"x" * 600, "a.flac": b"y"})
    return [
        whole,
        pax([(b"path", b"long/name.jpg"), (b"size", b"3")]) + member(b"a", b"abc") + bytes(2 * BLOCK),
        member(b"././@LongLink", b"n" * 300, b"L") + whole,
        header(b"a.jpg", binary_size(-2000)) + whole,
        header(b"b.jpg", binary_size(512)) + bytes(BLOCK) + whole,
        member(b"d/", b"", b"5") + member(b"l", b"", b"2") + whole,
    ]


def check_member(content: bytes) -> None:
    """A sample with these bytes as one of its files, whose kind the first byte tells, decodes or is bad, and `gavt
    inspect` shows it or says what is wrong with it."""
    if not content:
        return
    kind, data = MEMBERS[content[0] % len(MEMBERS)], content[1:]
    parts = {"jpg": _picture("JPEG"), "flac": _flac(), kind: data}
    own = {"json": _metadata("clip" if kind == "mp4" else "frame"), **parts}
    if kind == "mp4":
        del own["jpg"]
    if kind in ("png", "webp"):
        del parts["jpg"]
    elif kind in ("mp3", "wav", "ogg"):
        del parts["flac"]
    elif kind in ("mp4", "webm", "ts", "avi"):
        parts = {kind: data}
    tar = tar_of({f"k.{name}": file for name, file in parts.items()})
    for read in (read_foreign, read_sample):
        try:
            decode_sample(read(tar, "k"), SPEC)
        except ValueError as error:
            check_sentence(error)
    if kind in ("jpg", "flac", "mp4", "json"):
        sample = tar_of({f"k.{name}": file for name, file in own.items()})[: -2 * BLOCK]
        entry = SampleEntry(key="k", offset=0, bytes=len(sample), crc32=0)
        assert make_card(ChosenSample("a.tar", entry), sample).key == "k"
        assert read_facts(ChosenSample("a.tar", entry), sample[:HEAD_BYTES])
        assert all(map(str, problems_of(sample, entry, {"frame_height": 480})))


def members() -> list[bytes]:
    """A small file of each kind, behind the byte that tells it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        files = {
            "jpg": _picture("JPEG"),
            "png": _picture("PNG"),
            "webp": _picture("WEBP"),
            "flac": _flac(),
            "mp3": _sound("mp3", "libmp3lame"),
            "wav": _sound("wav", "pcm_s16le"),
            "ogg": _sound("ogg", "libopus"),
            "mp4": write_video(place / "a.mp4", 1, size=(64, 64)).read_bytes(),
            "webm": write_video(
                place / "a.webm", 1, size=(64, 64), codec="libvpx-vp9", audio_codec="libopus"
            ).read_bytes(),
            "ts": write_video(place / "a.ts", 1, size=(64, 64)).read_bytes(),
            "avi": write_video(place / "a.avi", 1, size=(64, 64), codec="mpeg4", audio_codec="libmp3lame").read_bytes(),
            "json": _metadata("frame"),
            "cls": b"violin",
        }
    return [bytes([MEMBERS.index(kind)]) + content for kind, content in files.items()]


@cache
def _metadata(layout: Literal["frame", "clip"]) -> bytes:
    times = [0.3] if layout == "frame" else [number / 25 for number in range(25)]
    metadata = SampleMetadata(
        layout=layout,
        video="v",
        source="v",
        frame_times_s=times,
        fps=25.0,
        audio_start_s=0.0,
        audio_rate_hz=11025,
        audio_samples=6000,
    )
    return metadata.model_dump_json().encode()


@cache
def _picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48 * 40 * 3, dtype=np.uint8).reshape(40, 48, 3)).save(buffer, kind)
    return buffer.getvalue()


@cache
def _flac() -> bytes:
    return encode_flac((np.sin(np.arange(6000) * 0.05) * 9000).astype(np.int16)[None], 11025)


def _sound(kind: str, codec: str) -> bytes:
    buffer = io.BytesIO()
    rate_hz = 48000 if codec == "libopus" else 22050
    tone = (np.sin(np.arange(rate_hz) * 0.05) * 9000).astype(np.int16)[None]
    with av.open(buffer, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate_hz, 0
        resampler = av.AudioResampler(stream.format, "mono", rate_hz, frame_size=stream.frame_size or None)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def check_list(content: bytes) -> None:
    """A list of these bytes, whose ending the first byte tells, has rows, or ends in one sentence."""
    if not content:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"list{LISTS[content[0] % len(LISTS)]}"
        path.write_bytes(content[1:])
        for options in (ListOptions(skip_wrong=True), ListOptions(source="/v/{video}.mp4", split="train")):
            try:
                for row in VideoList([str(path)], options):
                    assert row.video
                    assert row.source
                    row.source.encode()
            except UserError as error:
                check_sentence(error)


def lists() -> list[bytes]:
    """A short list of each format, behind the byte that tells its ending."""
    texts = [
        (".csv", 'source,video,start_s,end_s,labels,boxes\na.mp4,a,1,2,x; y,"[[0,0,1,1]]"\nb.mp4,b,,,"[""z""]",\n'),
        (".csv", '---g-f_I2yQ,1,"people marching",test\n--0PQM4-hqg,30,"waterfall burbling",train\n'),
        (".csv", "label,youtube_id,time_start,time_end,split\ntestifying,---QUuC4vJs,84,94,validate\n"),
        (".csv", '# YTID, start\n--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n'),
        (".json", '[{"file": "zpWuikVorYg_000032", "class": "elk", "bbox": [[0.4, 0.2, 0.6, 0.7]]}]'),
        (".json", '{"version": 1.0, "videos": {"flute": ["jW_AuF6dQYY"], "flute violin": ["8DHG_hVSw1o"]}}'),
        (".jsonl", '{"source": "a.mp4", "labels": ["x"], "start_s": 1, "end_s": 2, "boxes": [[0, 0, 1, 1]]}\n'),
        (".txt", "a.mp4\n# note\nhttps://me:pw@host/b.mp4?token=3\n/data/c.mkv\ndQw4w9WgXcQ\n"),
        (".txt", "nXSc,3 4 10\n"),
    ]
    found = [bytes([LISTS.index(suffix)]) + text.encode() for suffix, text in texts]
    packed = gzip.compress(texts[0][1].encode())
    with tempfile.TemporaryDirectory() as folder:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"source": ["a.mp4"], "labels": [["x"]]}), f"{folder}/a.parquet")
        parquet = Path(folder, "a.parquet").read_bytes()
    return [*found, bytes([LISTS.index(".csv.gz")]) + packed, bytes([LISTS.index(".parquet")]) + parquet]


def check_settings(content: bytes) -> None:
    """A settings file of these bytes and its first line as an override are read, or end in one sentence."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.yaml"
        path.write_bytes(content)
        override = content.split(b"\n", 1)[0].decode(errors="surrogateescape")
        for file, overrides in ((path, []), (None, [override])):
            try:
                settings = load_settings(file, ExperimentSettings, overrides).settings
                path.write_text(dump_settings(settings), encoding="utf-8")
                again = load_settings(path, ExperimentSettings).settings
                assert again.model_dump_json() == settings.model_dump_json()
            except SettingsError as error:
                check_sentence(error)
    try:
        parse_json(content)
    except json.JSONDecodeError as error:
        check_sentence(error)


def settings() -> list[bytes]:
    """Small settings files with aliases, merges, numbers and dates."""
    return [
        b"train.steps=1e3\nname: a\ntrain: {steps: 10, learning_rate: 1e-3, health: {}}\n",
        b"a: &a {frame_size: 32}\nfeatures: {<<: *a, audio_samples: 0x10}\n",
        b"base: [b.yaml]\ndata:\n  train: [{url: a, weight: 2}]\n  cache: {gigabytes: .5}\n",
        b"name: 2024-01-02\nseed: 1_000\nmodel: {visual_embedder: {kind: patch, patch: 8}}\n",
        b"seed: 190:20:30\nname: !!binary aGk=\nfetch: {yt_dlp_options: {a: !!set {b, c}, d: !!omap [e: 1]}}\n",
        b'? [a, b]\n: 1\n"\\x41": ~\n--- \nname: |\n  text\n',
        b'{"name": "x", "train": {"steps": 3}, "evaluate": {"limit": null}}',
    ]


class _Server:
    """A server for the whole process; each answer has a path of its own."""

    def __init__(self) -> None:
        self.server = RawServer().__enter__()
        self.folder = Path(tempfile.mkdtemp(prefix="gavt-fuzz-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.number = 0


@cache
def _server() -> _Server:
    return _Server()


def check_http(content: bytes) -> None:
    """A server that answers with these bytes fails its row with a reason that nobody has to look into."""
    running = _server()
    running.number += 1
    path = f"/{running.number}.mp4"
    running.server.answers = {path: content}
    row = VideoRow("v", running.server.url + path)
    for one in fetched([row], FETCH, running.folder, LocalPace()):
        assert one.problem is None or one.problem.reason != Reason.ERROR, one.problem
    assert not list(running.folder.iterdir())


def http() -> list[bytes]:
    """Answers with all headers that are looked at."""
    return [
        answer(b"video", b'ETag: "abc"', b"Last-Modified: Fri, 31 Dec 2100 23:59:59 GMT"),
        answer(b"video", b"Content-Encoding: gzip", b"Content-Type: video/mp4; charset=utf-8"),
        answer(gzip.compress(b"video" * 99), b"Content-Encoding: gzip"),
        answer(b"", b"Retry-After: Fri, 31 Dec 2100 23:59:59 GMT", status=b"503 Busy"),
        answer(b"", b"Location: /2.mp4", status=b"302 Found"),
        answer(b"", b"Location: http://[::1]:1/x", status=b"307 Found"),
        answer(b"eo", b"Content-Range: bytes 3-4/5", status=b"206 Partial Content"),
        answer(b"<html>", b"Content-Type: text/html"),
        answer(b"", b"Content-MD5: abc=", b"Repr-Digest: sha-256=:abc=:", b"Set-Cookie: a=b; Path=/"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nvideo\r\n0\r\nX: y\r\n\r\n",
    ]


TARGETS = {
    "http": Target(check_http, http),
    "tars": Target(check_tar, tars),
    "members": Target(check_member, members),
    "lists": Target(check_list, lists),
    "settings": Target(check_settings, settings),
}


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """A seed with a few bytes changed, cut out, doubled or exchanged for some that mean something somewhere."""
    content = bytearray(seed)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(content) + 1)
        length = chance.choice((1, 1, 2, 4, 12, 100))
        piece = chance.choice(
            (
                chance.randbytes(length),
                bytes(length),
                b"\xff" * length,
                b"9" * chance.choice((3, 30, 5000)),
                b"[" * chance.choice((2, 2000)),
                chance.choice(
                    (b"\r\n", b"\n", b'"', b"'", b"&a ", b"*a", b": ", b",", b"-1", b"1e999", b"\x0b", b"\x00")
                ),
                bytes(content[at : at + length]),
            )
        )
        content[at : at + chance.choice((0, len(piece)))] = piece
    return bytes(content)
