"""Audio as FLAC bytes: int16, lossless."""

import io
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt

from pipeline.video.open_media import open_container

_LAYOUTS = {1: "mono", 2: "stereo"}
# each frame of FLAC has a checksum, which FFmpeg looks at only if told to
_CHECKED = {"err_detect": "crccheck+explode"}


MOST_SAMPLES = 1 << 26
"""Of a sound that is decoded as a whole, all channels together: 25 minutes at 44.1 kHz, 270 MB as float32. A file of a
megabyte may claim, and unpack to, thousands of hours."""


class FlacHeader(NamedTuple):
    """What a FLAC file says of itself; `samples` (a channel) is 0 where it doesn't know."""

    rate_hz: int
    channels: int
    bits: int
    samples: int


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


def read_header(content: bytes) -> FlacHeader | None:
    """The header of a FLAC file; None where the bytes don't begin with one."""
    if content[:4] != b"fLaC" or len(content) < 42 or content[4] & 0x7F:
        return None
    fields = int.from_bytes(content[18:26], "big")
    return FlacHeader(fields >> 44, (fields >> 41 & 7) + 1, (fields >> 36 & 31) + 1, fields & (1 << 36) - 1)


def check_length(samples: int, channels: int) -> None:
    """See that a sound of so many samples a channel may be decoded as a whole.

    Raises:
        ValueError: it is too long.
    """
    if samples * channels > MOST_SAMPLES:
        raise ValueError(f"expected at most {MOST_SAMPLES:,} samples of sound, found {samples * channels:,}")


def decode_flac(content: bytes) -> tuple[npt.NDArray[np.int16], int]:
    """Audio [C, S] as int16, and its rate in Hz.

    Raises:
        ValueError: the bytes are not whole FLAC audio.
    """
    header = read_header(content)
    if header is not None:
        check_length(header.samples, header.channels)
    frames, channels, rate_hz = None, 0, 0
    if header is not None and header.bits == 16 and header.samples:
        channels, rate_hz = header.channels, header.rate_hz
        frames = _decode_as_one_packet(content, header)
    if frames is None:
        frames, channels, rate_hz = _decode_with_parser(content)
    audio = _joined(frames, channels)
    if header is not None and len(audio) < header.samples:  # the parser passes over what it takes for junk
        raise ValueError(f"expected FLAC audio of {header.samples} samples, found {len(audio)}")
    return np.ascontiguousarray(audio.T), rate_hz


def _decode_as_one_packet(content: bytes, header: FlacHeader) -> list[av.AudioFrame] | None:
    """The frames; None where not all samples come out.

    Opening a file and looking for the frames in it costs as much as decoding them. The decoder finds them by itself,
    since each says how long it is; only junk between them needs the parser.
    """
    context = av.CodecContext.create("flac", "r")
    context.thread_count = 1
    context.options = _CHECKED
    try:
        frames: list[av.AudioFrame] = context.decode(av.Packet(content))
    except av.FFmpegError:
        return None
    if sum(frame.samples for frame in frames) != header.samples:
        return None
    return frames


def _decode_with_parser(content: bytes) -> tuple[list[av.AudioFrame], int, int]:
    """The frames, their channels and their rate in Hz.

    Raises:
        ValueError: damaged, not FLAC, or not of 16 bits.
    """
    try:
        with open_container(io.BytesIO(content), format="flac") as container:
            stream = container.streams.audio[0]
            stream.codec_context.options = _CHECKED
            channels, rate_hz = stream.codec_context.channels, stream.codec_context.sample_rate
            frames: list[av.AudioFrame] = []
            length = 0
            for frame in container.decode(stream):
                length += frame.samples
                check_length(length, channels)
                frame.pts = None  # joined one behind the other, whatever their times are
                frames.append(frame)
            return frames, channels, rate_hz
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"expected FLAC audio: {error}") from error


def _joined(frames: list[av.AudioFrame], channels: int) -> npt.NDArray[np.int16]:
    """[S, C] of all frames, joined by FFmpeg: in Python each of the many frames costs a microsecond.

    Raises:
        ValueError: none, or not all of them int16 and of as many channels.
    """
    fifo = av.AudioFifo()
    for frame in frames:
        fifo.write(frame)  # refuses a frame of another format than the first
    whole = fifo.read()
    if whole is None:
        raise ValueError("expected FLAC audio, found no samples in it")
    if whole.format.name != "s16" or whole.layout.nb_channels != channels:
        raise ValueError(f"expected int16 FLAC audio, found {whole.format.name}, {whole.layout.nb_channels} channels")
    # the plane is longer than what is in it
    return np.frombuffer(memoryview(whole.planes[0])[: whole.samples * channels * 2], np.int16).reshape(-1, channels)
