"""Decoded sound as samples: in its own channels, or mixed to one or two of them, whatever they are."""

import re
from functools import lru_cache

import av
import numpy as np
import numpy.typing as npt

LAYOUTS = {1: "mono", 2: "stereo"}
"""What FFmpeg calls so many channels."""
_PROBE = 64
_MOST_GUESSED = 8
_MOST_PLANES = 2  # PyAV crashes on the planes of eight channels
_UNNAMED = re.compile(r"\d+ channels").fullmatch

Float = npt.NDArray[np.float32]


def mix(frame: av.AudioFrame, channels: int) -> Float:
    """float32 [channels, N] in −1..1 at the frame's own rate, from any sample format and channel layout."""
    weights = mixing_weights(frame.layout.name, channels)
    mixed: Float = np.einsum("oc,cn->on", weights, own_channels(frame))  # `@` would wake BLAS' threads
    return mixed


def own_channels(frame: av.AudioFrame) -> Float:
    """float32 [C, N] in −1..1 at the frame's own rate, its channels as they are, from any sample format."""
    own = frame.layout
    planar = own.nb_channels <= _MOST_PLANES
    pieces = av.AudioResampler("fltp" if planar else "flt", own, frame.sample_rate).resample(frame)
    arrays = [piece.to_ndarray() for piece in pieces]
    by_channel = [piece if planar else piece.reshape(-1, own.nb_channels).T for piece in arrays]
    return by_channel[0] if len(by_channel) == 1 else np.concatenate(by_channel, axis=1)


@lru_cache(maxsize=64)
def mixing_weights(layout: str, channels: int) -> Float:
    """How much of each channel of a layout goes into each of `channels`: [channels, C].

    They are FFmpeg's own (`-ac 1`), scaled so that full scale stays full scale. Of ambisonics, which FFmpeg does not
    mix, the omnidirectional channel is taken; sound fixed to the head, which some files have beside it, is left out.
    Other layouts that FFmpeg can't mix, and more than eight channels of which nothing is known, give their mean.
    """
    count = av.AudioLayout(layout).nb_channels
    weights = np.zeros((channels, count), np.float32)
    if layout.startswith("ambisonic"):
        weights[:, 0] = 1
        return weights
    if not (_UNNAMED(layout) and count > _MOST_GUESSED):
        weights = _weights_of_ffmpeg(layout, count, channels)
    loudest = float(np.abs(weights).sum(axis=1).max())
    if not loudest:
        return np.full((channels, count), 1 / count, np.float32)
    scaled: Float = weights / np.float32(max(1.0, loudest))
    return scaled


def _weights_of_ffmpeg(layout: str, count: int, channels: int) -> Float:
    """The weights that FFmpeg mixes by, found by mixing one channel after the other; zeros where it can't."""
    alone = np.repeat(np.eye(count, dtype=np.float32), _PROBE, axis=0)
    frame = av.AudioFrame.from_ndarray(alone.reshape(1, -1), format="flt", layout=layout)
    frame.sample_rate = 48000
    try:
        (mixed,) = av.AudioResampler("flt", LAYOUTS[channels], 48000).resample(frame)
    except av.FFmpegError:
        return np.zeros((channels, count), np.float32)
    weights: Float = mixed.to_ndarray().reshape(-1, channels)[_PROBE // 2 :: _PROBE].T
    return weights
