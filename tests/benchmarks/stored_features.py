"""Storing features of clips, beside the bare network on the same batches; and an epoch of training from stored
features, beside one that makes them of the media each time."""

import io
import tempfile
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from cluster.process_group import ProcessGroup
from pipeline.experiment import ExperimentSettings
from pipeline.extract.compute import Networks
from pipeline.extract.extract import extract_features
from pipeline.extract.networks.contract import Moments
from pipeline.extract.settings import ExtractSettings
from pipeline.samples.metadata import SampleMetadata
from pipeline.settings.load import load_settings
from pipeline.shards.shard_set import ShardSet
from pipeline.sound.flac import encode_flac
from pipeline.stream.in_order import InOrder
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import plan_reading
from pipeline.stream.settings import DataSettings
from pipeline.train.load import untrained
from pipeline.video.clip import ClipEncoder
from result import Result
from written_shards import Sample, write_shards

CPU = torch.device("cpu")
CLIPS, ROUNDS = 1000, 2
LEAST_SHARE = 0.9
VIDEOS = 8
LEAST_TIMES = 20.0
CONFIG = Path(__file__).parents[2] / "configs/experiments/see_hear.yaml"
READING = DataSettings(workers=1)
RATE_HZ = 16_000
_SIDES = (320, 240)


def run() -> list[Result]:
    """1 000 clips of a second, and an epoch of 8 videos of ten segments: three minutes of a core in all."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        return [share_of_bare(Path(folder), CLIPS, ROUNDS), epochs(Path(folder), VIDEOS)]


def share_of_bare(folder: Path, clips: int, rounds: int) -> Result:
    """ResNet-18, whose computing hides least; the two take turns, so that other work on the machine meets both."""
    settings = ExtractSettings.model_validate({"models": [{"model": "resnet18"}], "random_weights": True, "batch": 16})
    of_round = clips // rounds
    source = write_shards(folder / "clips", [[_clip(number) for number in range(of_round)]], "clip")
    networks = Networks(settings, Moments(1, 1.0), CPU)
    plan = InOrder(ShardSet.open(str(source)), READING, networks.fields, False)
    with Loader(plan, settings.batch) as loader:
        positions = [range(at, min(at + settings.batch, of_round)) for at in range(0, of_round, settings.batch)]
        kept = [{name: one.clone() for name, one in read.inputs("cpu").items()} for read in loader.batches(positions)]
    stored_s = bare_s = 0.0
    for number in range(rounds):
        stored_s += _seconds(lambda number=number: _extract(source, folder / f"features{number}", settings))
        bare_s += _seconds(lambda: [networks.compute(inputs) for inputs in kept])
    share = bare_s / stored_s
    peer = f"the network alone on the same batches in memory: {clips / bare_s:.1f} clips/s"
    return Result("stored_features share of bare", share, "", LEAST_SHARE, share >= LEAST_SHARE, peer)


def epochs(folder: Path, videos: int) -> Result:
    """See the Sound on ten seconds of VGG-19 and VGGish."""
    experiment = load_settings(str(CONFIG), ExperimentSettings).settings
    chosen = {"models": [{"model": "vgg19"}, {"model": "vggish"}], "random_weights": True, "batch": 4}
    settings = ExtractSettings.model_validate(chosen)
    source = write_shards(folder / "videos", [[_segments(number) for number in range(videos)]], "segments")
    stored = folder / "stored"
    _extract(source, stored, settings)
    system = untrained(experiment, "cpu", 0).train()
    optimizer = torch.optim.AdamW(system.parameters(), lr=1e-3)
    networks = Networks(settings, Moments(10, 1.0), CPU)

    def step(inputs: dict[str, torch.Tensor], positions: list[int], metadata: list[SampleMetadata]) -> None:
        targets = system.task.targets(0, positions, metadata, "train")
        loss, _ = system(inputs, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    pieces = [range(at, at + settings.batch) for at in range(0, videos, settings.batch)]

    def from_media(loader: Loader) -> None:
        for batch in loader.batches(pieces):
            made = networks.compute(batch.inputs("cpu"))
            step({name: values.float() for name, values in made.items()}, batch.positions, batch.metadata)

    def from_features(loader: Loader) -> None:
        for batch in loader.batches(pieces):
            step(batch.inputs("cpu"), batch.positions, batch.metadata)

    media = InOrder(ShardSet.open(str(source)), READING, networks.fields, False)
    features = plan_reading(str(stored), experiment.features, READING, 0, False, fields=system.inputs)
    with Loader(media, settings.batch) as of_media, Loader(features, settings.batch) as of_features:
        from_features(of_features)  # its processes have begun then
        own_s, media_s = _seconds(lambda: from_features(of_features)), _seconds(lambda: from_media(of_media))
    times = media_s / own_s
    peer = f"the same epoch with features made of the media each time: {media_s:.1f} s, here {own_s:.2f} s"
    return Result("stored_features epoch", times, "", LEAST_TIMES, times >= LEAST_TIMES, peer)


def _extract(source: Path, out: Path, settings: ExtractSettings) -> None:
    extract_features(str(source), str(out), settings, READING, ProcessGroup(0, 0, 1, CPU))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _pixels(number: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    coarse = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(_SIDES, Image.Resampling.BICUBIC))


def _known(number: int, layout: str, frame_times_s: Iterable[float], seconds: int) -> tuple[str, bytes, bytes]:
    sound = np.random.default_rng(number).integers(-8000, 8000, (1, seconds * RATE_HZ), dtype=np.int16)
    metadata = SampleMetadata.model_validate(
        {
            "layout": layout,
            "video": f"v{number}",
            "source": f"v{number}.mp4",
            "frame_times_s": list(frame_times_s),
            "fps": 10.0 if layout == "clip" else None,
            "audio_start_s": 0.0,
            "audio_rate_hz": RATE_HZ,
            "audio_samples": sound.shape[1],
            "segment_labels": None if layout == "clip" else [["Bark"]] * seconds,
        }
    )
    return f"v{number}_0000", metadata.model_dump_json().encode(), encode_flac(sound, RATE_HZ)


def _clip(number: int) -> Sample:
    """A second at ten frames a second."""
    encoder = ClipEncoder(*_SIDES, Fraction(10), 20)
    for place in range(10):
        encoder.add(av.VideoFrame.from_ndarray(np.roll(_pixels(number), 8 * place, axis=1), format="rgb24"))
    key, known, sound = _known(number, "clip", [place / 10 for place in range(10)], 1)
    return key, {"json": known, "mp4": encoder.finish(), "flac": sound}


def _segments(number: int) -> Sample:
    key, known, sound = _known(number, "segments", [place + 0.5 for place in range(10)], 10)
    pictures = {}
    for place in range(10):
        file = io.BytesIO()
        Image.fromarray(_pixels(10 * number + place)).save(file, "JPEG", quality=90)
        pictures[f"{place:02d}.jpg"] = file.getvalue()
    return key, {"json": known, **pictures, "flac": sound}
