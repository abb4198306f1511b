"""Keypoints of the persons in a sample's frames as one of its files, `{key}.keypoints.npy`: read by who asks for them.

float16 [frames, persons, 68, 3], of each point of the skeleton (`pipeline.samples.skeleton`) x and y in 0–1 of the
upright image, beyond it where a detector says so, to 1/4096 of its sides, and the confidence in 0–1. All three are 0
where a point wasn't found, or its person isn't seen then; a person has the same place in all frames.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.samples.skeleton import POINTS
from pipeline.shards.array_file import decode_array, encode_array

KEYPOINTS_FILE = "keypoints.npy"
"""What it is called behind the key."""
Keypoints = npt.NDArray[np.floating[Any]]
_STORED = np.float16


def encode_keypoints(points: Keypoints) -> bytes:
    """The file of keypoints [frames, persons, 68, 3]."""
    most = np.finfo(_STORED).max
    stored = points.clip(-most, most).astype(_STORED)
    return encode_array(np.where(stored[..., 2:] > 0, stored, _STORED(0)))


def decode_keypoints(content: bytes) -> Keypoints:
    """[frames, persons, 68, 3] of the file.

    Raises:
        ValueError: it is something else.
    """
    try:
        points = decode_array(content)
        if points.ndim != 4 or points.shape[2:] != (POINTS, 3) or points.dtype.kind != "f":
            found = f"{points.dtype} {list(points.shape)}"
            raise ValueError(f"expected float16 [frames, persons, {POINTS}, 3], found {found}")
        if not np.isfinite(points).all():
            raise ValueError("expected numbers, found some that are none")
    except ValueError as error:
        raise ValueError(f".{KEYPOINTS_FILE}: {error}") from None
    return points
