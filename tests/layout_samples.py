"""Samples of each layout, six seconds long, with keypoints and labels."""

import io
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.features.settings import FeatureSettings
from pipeline.samples.metadata import SampleMetadata
from pipeline.samples.skeleton import POINTS
from pipeline.shards.keypoints_file import KEYPOINTS_FILE, encode_keypoints
from pipeline.shards.members import Sample
from pipeline.sound.flac import encode_flac
from pipeline.video.clip import ClipEncoder
from tiny_shards import FEATURES, RATE_HZ, keypoints_of

SECONDS = 6
POSE = {"kind": "keypoints"}
PERSON = [[0.01 * n, 0.5, 0.5] for n in range(POINTS)]
LABELS = {"kind": "segment_labels", "segments": 2, "classes": ["cat", "dog"]}
KNOWN = {"segment_labels": [["dog"], []]}


def features(**more: Any) -> FeatureSettings:
    inputs = {"pose": POSE, "labels": LABELS}
    return FeatureSettings.model_validate(FEATURES | {"inputs": inputs} | more)


def sound() -> npt.NDArray[np.int16]:
    return np.random.default_rng(0).integers(-9000, 9000, (1, SECONDS * RATE_HZ)).astype(np.int16)


def coded(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@cache
def clip() -> bytes:
    encoder = ClipEncoder(96, 64, Fraction(10), 20)
    for number in range(SECONDS * 10):
        pixels = np.full((64, 96, 3), 4 * number, np.uint8)
        encoder.add(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
    return encoder.finish()


def sample_of(layout: str, **changed: Any) -> Sample:
    """Six seconds of sound and one picture, one a second, or ten."""
    images = [coded(np.full((60, 90, 3), 40 * number, np.uint8)) for number in range(SECONDS)]
    known = {"layout": layout, "video": "v", "source": "v.mp4", "frame_times_s": [], "audio_start_s": 0.0}
    known |= {"audio_rate_hz": RATE_HZ, "audio_samples": SECONDS * RATE_HZ} | KNOWN
    shown = {"frame": images[3:4], "segments": images, "clip": []}[layout]
    whole = {"images": shown, "audio": encode_flac(sound(), RATE_HZ), "clip": clip() if layout == "clip" else None}
    whole["files"] = {KEYPOINTS_FILE: encode_keypoints(keypoints_of([[PERSON, None]] * 60))}
    return Sample("k", SampleMetadata.model_validate(known), **(whole | changed))


def with_keypoints(sample: Sample, persons: Sequence[Sequence[Any]]) -> Sample:
    return replace(sample, files={KEYPOINTS_FILE: encode_keypoints(keypoints_of(persons))})


FRAMES_OF = {"frame": 1, "segments": 4, "clip": 4}
