"""Small shard sets of samples with several pictures: a square that lights up when a click is heard."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.samples.metadata import SampleMetadata
from pipeline.sound.flac import encode_flac
from tiny_shards import AUDIO_SAMPLES, FEATURES, RATE_HZ
from written_shards import Sample, write_shards

PICTURES = 16
SAMPLES = 2 * (AUDIO_SAMPLES + 1)
MOVING = FEATURES | {"frames": PICTURES // 2}
"""Features of which a sample holds twice as much."""


def write_moving_set(folder: Path, samples: int, seed: int, **known: object) -> Path:
    """A finished shard set of so many videos, with what is known besides of each."""
    numbers = [range(first, min(first + 8, samples)) for first in range(0, samples, 8)]
    return write_shards(folder, ([_sample(number, seed, known) for number in shard] for shard in numbers), "segments")


def _sample(number: int, seed: int, known: dict[str, object]) -> Sample:
    random = np.random.default_rng([seed, number])
    lit = random.random(PICTURES) < 0.3
    x, y = random.integers(0, 24, 2)
    sound = random.normal(0, 100, SAMPLES)
    files = {}
    for place in range(PICTURES):
        pixels = random.integers(100, 140, (48, 48, 3)).astype(np.uint8)
        pixels[y : y + 20, x : x + 20] = 250 if lit[place] else 60
        image = io.BytesIO()
        Image.fromarray(pixels).save(image, "JPEG", quality=95)
        files[f"{place:02d}.jpg"] = image.getvalue()
        if lit[place]:
            middle = round((place + 0.5) * SAMPLES / PICTURES)
            sound[middle - 40 : middle + 40] += 12000 * np.sin(np.arange(80))
    metadata = SampleMetadata(
        layout="segments",
        video=f"video{seed}-{number}",
        source=f"video{seed}-{number}.mp4",
        frame_times_s=[(place + 0.5) * SAMPLES / PICTURES / RATE_HZ for place in range(PICTURES)],
        audio_start_s=0.0,
        audio_rate_hz=RATE_HZ,
        audio_samples=SAMPLES,
        labels=["click"],
        segment_labels=[["click"] if one else [] for one in lit],
    )
    metadata = metadata.model_copy(update=known)
    files["flac"] = encode_flac(sound.astype(np.int16)[None], RATE_HZ)
    return f"video{number}-000", {"json": metadata.model_dump_json().encode(), **files}
