"""Clips as short MP4 files: H.264 at a constant frame rate, made so that any reader finds every frame.

No frame refers to a later one and every keyframe begins anew, so the n-th packet is the n-th frame, and readers that
count (decord) and readers that go by time agree. That costs 7–9 % of the size. The header lies in front.
"""

import io
import math
from collections.abc import Iterator
from fractions import Fraction

import av
import av.video.frame
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from pipeline.video.open_media import open_container
from pipeline.video.open_picture import MOST_PIXELS

Pixels = npt.NDArray[np.uint8]
# without these two, pixels would depend on the processor
_EXACT = Interpolation.ACCURATE_RND | Interpolation.BITEXACT
CHECKED = {"err_detect": "crccheck+bitstream+buffer+explode", "max_pixels": str(MOST_PIXELS)}
"""Options of a decoder that tells of damage instead of guessing pixels, and makes none of absurd size."""


class ClipEncoder:
    """Frames to an MP4 in memory, one by one; the same frames always give the same bytes.

    Args:
        width, height: size of the clip in pixels, both even; frames of another size are scaled.
        fps: frame rate. A keyframe comes at least once a second.
        crf: x264's constant rate factor: 18 can hardly be told from the source, 23 takes half its bytes.

    Raises:
        ValueError: an odd width or height.
    """

    def __init__(self, width: int, height: int, fps: Fraction, crf: int) -> None:
        if width % 2 or height % 2:
            raise ValueError(f"expected an even width and height, found {width}×{height}")
        self.frames = 0
        self._buffer = io.BytesIO()
        self._container = av.open(
            self._buffer,
            "w",
            format="mp4",
            container_options={"fflags": "+bitexact", "movflags": "+faststart"},
            # the muxer reads what it has written to move the header to the front
            io_open=lambda url, flags, options: _Reader(self._buffer),
        )
        gop = max(1, math.floor(fps))
        stream = self._container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1  # with more, the bytes depend on the machine
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        stream.options = {
            "preset": "veryfast",
            "crf": str(crf),
            # mbtree: x264's AVX-512 version reads memory that nobody wrote, and the bytes of a clip in fifty change
            "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:bframes=0:mbtree=0:"
            "colormatrix=smpte170m",
        }
        self._stream, self._fps = stream, fps
        self._scaler = VideoReformatter()

    def add(self, image: av.VideoFrame) -> None:
        """The next frame, of any size and pixel format."""
        frame = convert(image, self._stream.width, self._stream.height, "yuv420p", scaler=self._scaler)
        if frame is image:  # its time is the caller's
            frame = av.VideoFrame.from_ndarray(image.to_ndarray(), format="yuv420p")
        frame.pts, frame.time_base = self.frames, 1 / self._fps
        frame.pict_type = av.video.frame.PictureType.NONE  # else the source's keyframes become the clip's
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def finish(self) -> bytes:
        """The whole file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._buffer.getvalue()


def convert(
    image: av.VideoFrame,
    width: int,
    height: int,
    pixel_format: str,
    scaling: Interpolation = Interpolation.BICUBIC,
    scaler: VideoReformatter | None = None,
) -> av.VideoFrame:
    """A frame in another size and pixel format, its colours as BT.601 if they stay YUV; the same on every machine.

    Args:
        scaling: bicubic where what is made is kept; bilinear takes half the time.
        scaler: kept by whoever converts many frames alike, since making one costs a third of using it. For one thread.
    """
    return (scaler or VideoReformatter()).reformat(
        image,
        width,
        height,
        pixel_format,
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.MPEG if pixel_format.startswith("yuv") else None,
        interpolation=scaling | _EXACT,
        threads=1,
    )


def decode_clip(content: bytes) -> Iterator[Pixels]:
    """The frames of a clip, RGB [H, W, 3], in order.

    Raises:
        ValueError: the bytes are no video, or a frame of it is damaged.
    """
    for frame in _decode(content):
        yield frame.to_ndarray(format="rgb24")


def measure_clip(content: bytes) -> tuple[int, int, int]:
    """Frames, width and height of a clip; decodes every frame, as `decode_clip` does.

    Raises:
        ValueError: the bytes are no video, or a frame of it is damaged.
    """
    frames = width = height = 0
    for frame in _decode(content):
        frames, width, height = frames + 1, frame.width, frame.height
    return frames, width, height


def _decode(content: bytes) -> Iterator[av.VideoFrame]:
    try:
        with open_container(io.BytesIO(content), format="mp4") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            stream.codec_context.options = CHECKED
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise ValueError(f"expected a whole clip, found a damaged frame at {frame.time} s")
                yield frame
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"expected an MP4 clip: {error}") from error


class _Reader(io.RawIOBase):
    """A place of its own in a buffer that is being written to."""

    def __init__(self, buffer: io.BytesIO) -> None:
        self._buffer = buffer
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._buffer.getbuffer().nbytes}[whence]
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int = -1) -> bytes:
        written_to = self._buffer.tell()
        self._buffer.seek(self._place)
        content = self._buffer.read(size)
        self._place = self._buffer.tell()
        self._buffer.seek(written_to)
        return content
