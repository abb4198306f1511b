"""Clips as Look, Listen and Attend takes them, against reading and decoding the same frames in a bare loop."""

import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import av
import numpy as np
import numpy.typing as npt

from pipeline.experiment import ExperimentSettings
from pipeline.samples.metadata import SampleMetadata
from pipeline.settings.load import load_settings
from pipeline.sound.flac import encode_flac
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import plan_reading
from pipeline.video.clip import ClipEncoder, convert
from result import Result
from written_shards import write_shards

CONFIG = Path(__file__).parents[2] / "configs/experiments/look_listen_attend.yaml"
LEAST = 0.9
CLIPS, CLIP_S, SIDE, ROUNDS = 8, 8, 256, 5
FPS = Fraction(2997, 100)
WORDS = ["task.range_s=1.8", "task.least_s=1.0", "data.workers=0"]
"""Clips of eight seconds hold that much more sound on both sides; the frames are those of the paper."""
Pictures = npt.NDArray[np.uint8]


def run() -> list[Result]:
    """CPU time of a process for each clip, in the median of some rounds by turns: the loader without workers, the
    middle of the clip cut out, and loops that take the same bytes from the shard, decode from the first frame on that
    is needed, scale each that is wanted, and decode the sound."""
    settings = load_settings(str(CONFIG), ExperimentSettings, WORDS).settings
    ways: dict[str, Callable[[Path], None]] = {"ours": lambda shards: _with_loader(shards, settings)}
    first = round((CLIP_S - settings.features.frames / FPS) / 2 * FPS)
    wanted = range(first, first + settings.features.frames)
    ways["PyAV"] = lambda shards: _by_hand(shards, wanted, settings.features.frame_size, _with_pyav)
    if find_spec("torchcodec") is not None:
        ways["torchcodec"] = lambda shards: _by_hand(shards, wanted, settings.features.frame_size, _with_torchcodec)
    times: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        shards = write_shards(Path(folder) / "shards", [list(_clips())], "clip")
        for turn in range(ROUNDS + 1):
            for name, way in ways.items():
                begun = time.process_time()
                way(shards)
                if turn:  # libraries are loaded in the first
                    times[name].append((time.process_time() - begun) / CLIPS)
    found_s = {name: median(taken) for name, taken in times.items()}
    figure = found_s["PyAV"] / found_s["ours"]
    said = ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in found_s.items())
    without = "" if "torchcodec" in ways else "; torchcodec is not installed"
    peer = f"a bare loop: ms of a core a clip of {len(wanted)} frames: {said}{without}"
    return [Result("clip_loading", figure, "", LEAST, figure >= LEAST, peer)]


def _with_loader(shards: Path, settings: ExperimentSettings) -> None:
    plan = plan_reading(str(shards), settings.features, settings.data, 0, augment=False, fields=settings.fields)
    with Loader(plan, CLIPS) as loader:
        for _ in loader.batches([range(CLIPS)]):
            pass


def _by_hand(shards: Path, wanted: range, size: int, decode: Callable[[bytes, range, int], Iterator[Pictures]]) -> None:
    listed = json.loads(next(shards.glob("shard-*.json")).read_text())
    with next(shards.glob("shard-*.tar")).open("rb") as tar:
        for sample in listed["samples"]:
            tar.seek(sample["offset"])
            members = dict(_members(tar.read(sample["bytes"])))
            frames = np.empty((len(wanted), 3, size, size), np.uint8)
            for number, picture in enumerate(decode(members["mp4"], wanted, size)):
                frames[number] = picture
            with av.open(io.BytesIO(members["flac"])) as sound:
                np.concatenate([frame.to_ndarray() for frame in sound.decode(audio=0)], 1)


def _members(content: bytes) -> Iterator[tuple[str, bytes]]:
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            yield member.name.rpartition(".")[2], file.read()


def _with_pyav(content: bytes, wanted: range, size: int) -> Iterator[Pictures]:
    with av.open(io.BytesIO(content)) as clip:
        stream = clip.streams.video[0]
        stream.codec_context.thread_count = 1
        assert stream.time_base is not None
        clip.seek(int(wanted[0] / FPS / stream.time_base), stream=stream)
        for frame in clip.decode(stream):
            assert frame.time is not None
            number = round(frame.time * FPS)
            if number > wanted[-1]:
                break
            if number in wanted:
                picture = frame.reformat(size, size, "rgb24", interpolation="BILINEAR").to_ndarray()
                yield picture.transpose(2, 0, 1)


def _with_torchcodec(content: bytes, wanted: range, size: int) -> Iterator[Pictures]:
    import torch.nn.functional as F
    from torchcodec.decoders import VideoDecoder

    frames = VideoDecoder(content, num_ffmpeg_threads=1).get_frames_in_range(wanted.start, wanted.stop).data
    scaled = F.interpolate(frames.float(), (size, size), mode="area").round().byte()
    yield from scaled.numpy()


def _clips() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Textures that drift, with noise of two channels."""
    rate_hz, frames = 21000, round(CLIP_S * FPS)
    for number in range(CLIPS):
        random = np.random.default_rng(number)
        coarse = random.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        texture = np.kron(coarse, np.ones((16, 16, 1), np.uint8)) // 2 + random.integers(0, 64, (384, 384, 3), np.uint8)
        encoder = ClipEncoder(SIDE, SIDE, FPS, 20)
        for place in range(frames):
            x, y = place * 128 // frames, place * 64 // frames
            part = np.ascontiguousarray(texture[y : y + SIDE, x : x + SIDE])
            encoder.add(convert(av.VideoFrame.from_ndarray(part, format="rgb24"), SIDE, SIDE, "yuv420p"))
        sound = random.integers(-8000, 8000, (2, round(frames / FPS * rate_hz)), dtype=np.int16)
        metadata = SampleMetadata(
            layout="clip",
            video=f"video{number}",
            source=f"video{number}.mp4",
            frame_times_s=[float(place / FPS) for place in range(frames)],
            fps=float(FPS),
            audio_start_s=0.0,
            audio_rate_hz=rate_hz,
            audio_samples=sound.shape[1],
        )
        files = {
            "json": metadata.model_dump_json().encode(),
            "mp4": encoder.finish(),
            "flac": encode_flac(sound, rate_hz),
        }
        yield f"video{number}_0000", files
