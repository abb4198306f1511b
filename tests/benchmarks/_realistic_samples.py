"""A shard set of samples as large and as hard to decode as real ones: 256×256 frames, six seconds of sound."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pipeline.samples.metadata import Box, SampleMetadata
from pipeline.sound.flac import encode_flac
from written_shards import write_shards

RATE_HZ = 11025
_LABELS = ("violin", "cello", "flute", "horn")
_TEXTURES = 6


def write_realistic(
    folder: Path,
    samples: int,
    samples_per_shard: int = 250,
    side: int = 256,
    audio_samples: int = 65_535,
    boxes: list[Box] | None = None,
    name: str = "video{:07d}",
) -> Path:
    """Frames of about 25 KB and sounds of about 90 KB, unless made smaller; the same numbers give the same bytes.

    Args:
        side: of the square frames in pixels.
        audio_samples: of each sound, at `RATE_HZ`.
        boxes: of what sounds in every frame; nobody knows unless given.
        name: of the videos, by their number.
    """
    textures, tracks = _make_textures(), _make_tracks()
    return write_shards(
        folder,
        (
            (
                (f"{name.format(index)}_0000", dict(_sample(index, textures, tracks, side, audio_samples, boxes, name)))
                for index in range(first, min(first + samples_per_shard, samples))
            )
            for first in range(0, samples, samples_per_shard)
        ),
    )


def _sample(
    index: int,
    textures: list[npt.NDArray[np.uint8]],
    tracks: list[npt.NDArray[np.float32]],
    side: int,
    audio_samples: int,
    boxes: list[Box] | None,
    name: str,
) -> Iterator[tuple[str, bytes]]:
    random = np.random.default_rng(index)
    metadata = SampleMetadata(
        video=name.format(index),
        source=f"videos/{name.format(index)}.mp4",
        frame_times_s=[3.0],
        audio_start_s=0.0,
        audio_rate_hz=RATE_HZ,
        audio_samples=audio_samples,
        labels=[_LABELS[index % len(_LABELS)]],
        boxes=boxes,
    )
    yield "json", metadata.model_dump_json().encode()
    texture = textures[index % _TEXTURES]
    y, x = random.integers(0, texture.shape[0] - side, 2)
    image = Image.fromarray(texture[y : y + side, x : x + side])
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        left, top = random.integers(0, side * 3 // 4, 2)
        draw.ellipse(
            (left, top, left + side // 5, top + side // 5), fill=tuple(int(c) for c in random.integers(0, 255, 3))
        )
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=90)
    yield "jpg", jpeg.getvalue()
    track = tracks[index % _TEXTURES]
    start = random.integers(0, len(track) - audio_samples)
    piece = track[start : start + audio_samples] * random.uniform(0.5, 1.0)
    yield "flac", encode_flac(piece.astype(np.int16)[None], RATE_HZ)


def _make_textures() -> list[npt.NDArray[np.uint8]]:
    """Colours that vary over all scales, as in photographs, with a camera's noise."""
    textures = []
    for seed in range(_TEXTURES):
        random = np.random.default_rng([1, seed])
        picture = np.full((1024, 1024, 3), 128, np.float32)
        for scale in (128, 64, 32, 16, 8, 4, 2):
            coarse = random.normal(0, 6 + scale / 4, (1024 // scale, 1024 // scale, 3)).astype(np.float32)
            picture += coarse.repeat(scale, 0).repeat(scale, 1)
        picture += random.normal(0, 3, picture.shape)
        textures.append(np.clip(picture, 0, 255).astype(np.uint8))
    return textures


def _make_tracks() -> list[npt.NDArray[np.float32]]:
    """A minute of notes of harmonics each, and noise 23 dB below."""
    tracks = []
    for seed in range(_TEXTURES):
        random = np.random.default_rng([2, seed])
        time_s = np.arange(60 * RATE_HZ) / RATE_HZ
        pitch_hz = 220 * 2 ** (random.integers(0, 24, 240) / 12)
        phase = np.cumsum(pitch_hz.repeat(len(time_s) // 240 + 1)[: len(time_s)]) * 2 * np.pi / RATE_HZ
        tone = sum(np.sin(phase * harmonic) / harmonic for harmonic in range(1, 8)) * np.exp(-(time_s % 0.25) * 4)
        tracks.append((6000 * tone + random.normal(0, 400, len(time_s))).astype(np.float32))
    return tracks
