"""From a sample's bytes to tensors: JPEG to a square of pixels, FLAC to a waveform."""

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.samples.flac import decode_flac
from pipeline.samples.metadata import Box, SampleMetadata
from pipeline.stream.shard_set import Sample

CENTRE = 0.5


@dataclass(frozen=True)
class DecodedSample:
    """A sample as tensors.

    Attributes:
        frames: uint8 [T, 3, K, K], a square of the upright image, scaled to K pixels.
        waveform: float32 [C, S] in −1..1.
        square: box of that square in the upright image, `[x1, y1, x2, y2]` in 0–1.
    """

    key: str
    metadata: SampleMetadata
    frames: Tensor
    waveform: Tensor
    square: Box


def decode_sample(
    sample: Sample, frame_size: int, audio_rate_hz: int, audio_samples: int, place: float = CENTRE
) -> DecodedSample:
    """Decode a sample.

    Args:
        frame_size: K, the side of the square in pixels.
        place: where the square lies along the longer side of the image, 0–1; the middle by default.

    Raises:
        ValueError: an image or sound that can't be decoded, or with another rate or fewer samples than asked for.
    """
    images, square = [], (0.0, 0.0, 1.0, 1.0)
    for content in sample.images:
        image, square = _decode_square(content, frame_size, place, sample.key)
        images.append(image)
    if not images:
        raise ValueError(f"{sample.key}: no image in it")
    audio, rate_hz = decode_flac(sample.audio)
    if rate_hz != audio_rate_hz or audio.shape[1] < audio_samples:
        raise ValueError(
            f"{sample.key}: expected {audio_samples} audio samples at {audio_rate_hz} Hz as the features ask for, "
            f"found {audio.shape[1]} at {rate_hz} Hz"
        )
    start = (audio.shape[1] - audio_samples) // 2
    waveform = torch.from_numpy(audio[:, start : start + audio_samples].astype(np.float32) / 32768.0)
    return DecodedSample(sample.key, sample.metadata, torch.stack(images), waveform, square)


def canvas_size(frame_size: int, resize_minimum: float) -> int:
    """Side of the square that augmentation crops from, so that its smallest crop is not enlarged."""
    return math.ceil(frame_size / resize_minimum)


def _decode_square(content: bytes, size: int, place: float, key: str) -> tuple[Tensor, Box]:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.draft("RGB", (size, size))  # decodes at a fraction of the size where that is enough
            pixels = image.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{key}: an image in it can't be decoded: {error}") from error
    width, height = pixels.size
    side = min(width, height)
    left, top = round((width - side) * place), round((height - side) * place)
    box = (left, top, left + side, top + side)
    if (side, side) != (size, size) or side != max(width, height):
        pixels = pixels.resize((size, size), Image.Resampling.BILINEAR, box=box)
    square = (left / width, top / height, (left + side) / width, (top + side) / height)
    # a copy: PIL's buffer is read-only
    return torch.from_numpy(np.array(pixels).transpose(2, 0, 1).copy()), square
