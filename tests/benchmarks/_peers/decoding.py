"""What every loader does with a sample: the frame decoded and scaled, the audio decoded."""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.sound.flac import decode_flac


def decode_frame(content: bytes, size: int) -> npt.NDArray[np.uint8]:
    """uint8 [3, K, K] of a square JPEG; decoded at a fraction of its size where that is enough."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (size, size))
        pixels = image.convert("RGB")
    if pixels.size != (size, size):
        pixels = pixels.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(pixels).transpose(2, 0, 1)


def decode(sample: Mapping[str, Any], size: int) -> tuple[Any, Any, Any]:
    """Frame [3, K, K] (uint8) and audio [C, S] (int16) as tensors, and the metadata, of `jpg`, `flac` and `json`."""
    import torch

    audio, _ = decode_flac(sample["flac"])
    frame = np.ascontiguousarray(decode_frame(sample["jpg"], size))
    return torch.from_numpy(frame), torch.from_numpy(audio), json.loads(sample["json"])


def collate(samples: list[tuple[Any, Any, Any]]) -> tuple[Any, Any, list[Any]]:
    """Frames [B, 3, K, K], audio [B, C, S] and the metadata of a batch."""
    import torch

    frames, audio, metadata = zip(*samples, strict=True)
    return torch.stack(frames), torch.stack(audio), list(metadata)
