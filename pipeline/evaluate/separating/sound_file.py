"""Sounds of any length written as WAV or FLAC, piece by piece."""

from pathlib import Path
from typing import Literal

import av
import numpy as np

from pipeline.errors import SettingsError
from pipeline.sound.channels import Float

SoundFormat = Literal["wav", "flac"]

_CODECS = {"wav": "pcm_s24le", "flac": "flac"}
_BITS = 24
_MOST_OF_FLAC = 8


class SoundFile:
    """A file of 24 bits a sample, at any rate; what is louder than full scale is cut and counted.

    Attributes:
        clipped: samples that were cut.
    """

    def __init__(self, path: Path, kind: SoundFormat, rate_hz: int, layout: str) -> None:
        self.clipped, self._layout, self._rate_hz, self._written = 0, layout, rate_hz, 0
        # more than 4 GB are a WAV of 64 bits
        options = {"rf64": "auto", "fflags": "+bitexact"} if kind == "wav" else {"fflags": "+bitexact"}
        self._out = av.open(str(path), "w", format=kind, container_options=options)
        self._stream = self._out.add_stream(_CODECS[kind], rate=rate_hz, layout=layout, format="s32")

    def write(self, sound: Float) -> None:
        """The next samples [C, n], in −1..1."""
        if not sound.shape[1]:
            return
        full = 1 << (_BITS - 1)
        whole = np.rint(sound * full)
        self.clipped += int(np.count_nonzero((whole > full - 1) | (whole < -full)))
        levels = whole.clip(-full, full - 1).astype(np.int32) << (32 - _BITS)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(levels.T).reshape(1, -1), format="s32", layout=self._layout
        )
        frame.sample_rate, frame.pts = self._rate_hz, self._written
        self._written += sound.shape[1]
        self._out.mux(self._stream.encode(frame))

    def __enter__(self) -> "SoundFile":
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._out.mux(self._stream.encode(None))
        self._out.close()


def check_format(kind: SoundFormat, channels: int) -> None:
    """See that a format holds so many channels.

    Raises:
        SettingsError: it doesn't.
    """
    if kind == "flac" and channels > _MOST_OF_FLAC:
        raise SettingsError(
            f"--format: expected wav, since FLAC has at most {_MOST_OF_FLAC} channels, found {channels}"
        )
