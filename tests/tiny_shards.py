"""Small shard sets for tests: a coloured square on grey, and the tone that belongs to its colour."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.samples.metadata import SampleMetadata
from pipeline.samples.skeleton import POINTS
from pipeline.shards.keypoints_file import KEYPOINTS_FILE, encode_keypoints
from pipeline.sound.flac import encode_flac
from written_shards import Sample, write_shards

RATE_HZ = 11025
AUDIO_SAMPLES = 4095
COLOURS = {"low": (220, 40, 40), "high": (40, 60, 220)}
TONES_HZ = {"low": 220.0, "high": 1760.0}

FEATURES = {
    "frame_size": 32,
    "audio_samples": AUDIO_SAMPLES,
    "stft_frame": 254,
    "stft_hop": 128,
    "frequency_bins": 32,
    "warp": "area",
}
_EMBEDDER = {"kind": "convolution", "widths": [8, 16, 16]}
MODEL = {
    "visual_embedder": _EMBEDDER,
    "audio_embedder": _EMBEDDER,
    "width": 16,
    "feed_forward": 32,
    "layers": 2,
    "heads": 2,
    "norm_first": True,
}


def write_shard_set(
    folder: Path,
    samples: int,
    samples_per_shard: int = 8,
    seed: int = 0,
    samples_per_video: int = 1,
    labels: tuple[str, ...] = ("low", "high"),
    known: Mapping[str, object] = MappingProxyType({}),
    without: str = "",
) -> Path:
    """A finished shard set of `samples` samples in `folder`, as `gavt prepare` would leave it. All samples of a video
    have its label; no video lies in two shards.

    Args:
        known: more of what every sample's JSON says. `keypoints` of each frame's persons (`None` in the place of one
            who isn't seen) become a file.
        without: what the name of a file ends with that every sample lacks.
    """
    assert samples_per_shard % samples_per_video == 0
    numbers = [range(first, min(first + samples_per_shard, samples)) for first in range(0, samples, samples_per_shard)]

    def sample(index: int) -> Sample:
        key, files = _sample(index, seed, index // samples_per_video, labels, known)
        return key, {name: content for name, content in files.items() if name != without}

    return write_shards(folder, ([sample(index) for index in shard] for shard in numbers))


def _sample(index: int, seed: int, video: int, labels: tuple[str, ...], known: Mapping[str, object]) -> Sample:
    random = np.random.default_rng([seed, index])
    label = labels[video % len(labels)]
    size, (x, y) = 16, random.integers(0, 32, 2)
    pixels = random.integers(100, 140, (48, 48, 3)).astype(np.uint8)
    pixels[y : y + size, x : x + size] = COLOURS[label]
    image = io.BytesIO()
    Image.fromarray(pixels).save(image, "JPEG", quality=95)
    time_s = np.arange(AUDIO_SAMPLES) / RATE_HZ
    tone = np.sin(2 * np.pi * TONES_HZ[label] * time_s + random.uniform(0, 6)) * 8000
    said = {
        "video": f"video{video}",
        "source": f"video{video}.mp4",
        "frame_times_s": [0.2],
        "audio_start_s": 0.0,
        "audio_rate_hz": RATE_HZ,
        "audio_samples": AUDIO_SAMPLES,
        "labels": [label],
        "visible": [label],
        "boxes": [(x / 48, y / 48, (x + size) / 48, (y + size) / 48)],
    }
    said |= known
    files = {"jpg": image.getvalue(), "flac": encode_flac(tone.astype(np.int16)[None], RATE_HZ)}
    if (persons := said.pop("keypoints", None)) is not None:
        points = keypoints_of(persons)
        said["keypoints"], files[KEYPOINTS_FILE] = points.shape[1], encode_keypoints(points)
    metadata = SampleMetadata.model_validate(said)
    return f"video{index}-000", {"json": metadata.model_dump_json().encode(), **files}


def keypoints_of(frames: Sequence[Sequence[Any]]) -> npt.NDArray[np.float64]:
    """[frames, persons, 68, 3] of lists of each frame's persons; None stands for one who isn't seen."""
    nobody = [[0.0] * 3] * POINTS
    return np.array([[nobody if one is None else one for one in persons] for persons in frames], np.float64)
