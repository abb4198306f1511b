"""What preparing a video gives, whatever the layout."""

import hashlib
import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_LONGEST_KEY = 80  # a tar header holds names of 100 characters


@dataclass(frozen=True)
class EncodedSample:
    """A sample as it goes into a shard: file extension → content."""

    key: str
    files: dict[str, bytes]


@dataclass(frozen=True)
class PreparedVideo:
    """What a video gave.

    Attributes:
        samples: its samples, in the order of their times.
        left_out: how many wanted samples it did not give, by reason.
        sound_repeated: its sound is shorter than that of a sample, and is repeated.
        silent: it has no audio track, and silence stands for it.
    """

    samples: list[EncodedSample] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    sound_repeated: bool = False
    silent: bool = False


def key_of(video: str) -> str:
    """The video's part of a sample key: letters, digits, `_` and `-` only, unique as the id is."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", video)[:_LONGEST_KEY]
    return plain if plain == video else f"{plain}-{hashlib.sha256(video.encode()).hexdigest()[:8]}"


def level_dbfs(audio: npt.NDArray[np.int16]) -> float:
    """Power (dB of full scale) of audio [C, S]."""
    samples = audio.astype(np.float32).reshape(-1)
    power = float(np.dot(samples, samples)) / max(1, samples.size) / 32768**2
    return float(10 * np.log10(max(power, 1e-20)))
