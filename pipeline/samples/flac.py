"""Audio as FLAC bytes: int16, lossless."""

import io

import av
import numpy as np
import numpy.typing as npt

_LAYOUTS = {1: "mono", 2: "stereo"}


def encode_flac(audio: npt.NDArray[np.int16], rate_hz: int) -> bytes:
    """FLAC of `audio` [C, S]; the same samples always give the same bytes.

    Raises:
        ValueError: not int16, or neither one nor two channels.
    """
    if audio.dtype != np.int16 or audio.ndim != 2 or audio.shape[0] not in _LAYOUTS:
        raise ValueError(f"expected int16 audio [1 or 2, S], found {audio.dtype} {audio.shape}")
    buffer = io.BytesIO()
    layout = _LAYOUTS[audio.shape[0]]
    options = {"fflags": "+bitexact", "metadata_header_padding": "0"}  # else 8 KiB of padding in every sample
    with av.open(buffer, "w", format="flac", container_options=options) as container:
        stream = container.add_stream("flac", rate=rate_hz, layout=layout, format="s16")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.T).reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = rate_hz
        frame.pts = 0
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for piece in (frame, None):
            container.mux(stream.encode(piece))
    return buffer.getvalue()


def decode_flac(content: bytes) -> tuple[npt.NDArray[np.int16], int]:
    """Audio [C, S] as int16, and its rate in Hz.

    Raises:
        ValueError: the bytes are not whole FLAC audio.
    """
    try:
        with av.open(io.BytesIO(content), format="flac") as container:
            stream = container.streams.audio[0]
            # each frame of FLAC has a checksum, which FFmpeg looks at only if told to
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
            channels, rate_hz = stream.codec_context.channels, stream.codec_context.sample_rate
            pieces = [frame.to_ndarray().reshape(-1, channels) for frame in container.decode(stream)]
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"expected FLAC audio: {error}") from error
    if not pieces:
        raise ValueError("expected FLAC audio, found no samples in it")
    audio = np.concatenate(pieces)
    if audio.dtype != np.int16:
        raise ValueError(f"expected int16 FLAC audio, found {audio.dtype}")
    return np.ascontiguousarray(audio.T), rate_hz
