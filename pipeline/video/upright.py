"""How a decoded frame becomes upright with square pixels: the one place that knows, for pictures, clips and overlays.

A file's display matrix may turn its pictures by quarter turns and mirror them. A matrix that turns by another angle
counts as the nearest quarter turn, and one that flattens the picture, as of zeros, as none: no picture can be shown so.
"""

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import av
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideDataContainer

from pipeline.video.bitstream import sequence_header

_Kind = TypeVar("_Kind", bound=np.generic)
_FLAT = 1e-3  # area, for sides of 1, below which a matrix leaves no picture
SQUARE = Fraction(1)


@dataclass(frozen=True)
class Display:
    """How a frame is to be shown: first its columns change sides where it is `mirrored`, then it is turned.

    Attributes:
        turns: quarter turns counter-clockwise, 0–3.
        mirrored: whether left and right change sides.
        pixel_aspect: width of a pixel over its height, before it is turned.
    """

    turns: int = 0
    mirrored: bool = False
    pixel_aspect: Fraction = SQUARE

    @property
    def moves_pixels(self) -> bool:
        """Whether a frame isn't upright as it is."""
        return bool(self.turns) or self.mirrored

    @property
    def sideways(self) -> bool:
        """Whether the upright picture is as wide as the frame is high."""
        return self.turns % 2 == 1

    def upright(self, pixels: npt.NDArray[_Kind]) -> npt.NDArray[_Kind]:
        """A frame's pixels [H, W, …] as they are to be seen; a view."""
        return np.rot90(pixels[:, ::-1] if self.mirrored else pixels, self.turns)

    def square_size(self, width: int, rows: int) -> tuple[Fraction, Fraction]:
        """Width and height of a frame of `width` × `rows` once its pixels are square, not turned yet. The longer side
        of a pixel is squeezed, so nothing is made up."""
        if self.pixel_aspect > 1:
            return Fraction(width), rows / self.pixel_aspect
        return width * self.pixel_aspect, Fraction(rows)

    def scaled_size(self, width: int, rows: int, most_rows: int) -> tuple[Fraction, Fraction]:
        """`square_size` scaled down so that the upright picture is at most `most_rows` high."""
        wide, high = self.square_size(width, rows)
        scale = min(Fraction(1), most_rows / (wide if self.sideways else high))
        return wide * scale, high * scale


class PixelAspects:
    """The pixel aspect of each frame of a track, which may change with every new header of its sequence.

    What the container says holds for pictures that say what the first ones do: it is written once, for the whole track.

    Args:
        stream: the track, of which nothing was decoded yet.
    """

    def __init__(self, stream: av.VideoStream) -> None:
        codec = stream.codec_context
        self._name, self._extradata = codec.name, codec.extradata
        self._stated = Fraction(stream.sample_aspect_ratio or 0) or SQUARE
        self._first = Fraction(codec.sample_aspect_ratio or 0)
        self._known: dict[bytes, Fraction] = {}
        self._newest = self._stated
        self._at: dict[int, Fraction] = {}

    def see(self, packet: av.Packet) -> None:
        """The next packet that is decoded."""
        header = sequence_header(packet, self._name, self._extradata) if packet.size else b""
        if header:
            if header not in self._known:
                self._known[header] = self._of_header(packet)
            self._newest = self._known[header]
        if packet.pts is not None:
            self._at[packet.pts] = self._newest

    def of(self, frame: av.VideoFrame) -> Fraction:
        """The aspect of a frame that came of the packets seen; frames come in the order of presentation."""
        aspect = self._newest if frame.pts is None else self._at.get(frame.pts, self._newest)
        if frame.pts is not None and len(self._at) > 1000:
            self._at = {pts: known for pts, known in self._at.items() if pts >= frame.pts}
        return aspect

    def _of_header(self, packet: av.Packet) -> Fraction:
        """The aspect that a sequence says which begins with this packet."""
        decoder = av.CodecContext.create(self._name, "r")
        assert isinstance(decoder, av.VideoCodecContext)
        if packet.has_sidedata("new_extradata"):
            decoder.extradata = bytes(packet.get_sidedata("new_extradata"))
        elif self._extradata:
            decoder.extradata = self._extradata
        decoder.thread_count = 1
        for item in (packet, None):
            try:
                decoder.decode(item)
            except av.FFmpegError:
                break  # a damaged picture; its header was read before
        own = Fraction(decoder.sample_aspect_ratio or 0)
        return self._stated if own in (0, self._first) else own


def display_of(frame: av.VideoFrame, pixel_aspect: Fraction = SQUARE) -> Display:
    """How a frame that PyAV decoded is to be shown."""
    # `frame.side_data` would hold the frame that holds it: frames of 3 MB and more, until the garbage collector comes
    matrix = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]  # the stubs know no argument
    if matrix is None:
        return Display(pixel_aspect=pixel_aspect)
    # x and y of the frame times (a b, c d) are x and y of the picture, y downwards
    a, b, _, c, d, *_ = struct.unpack("9i", bytes(matrix))
    lengths = math.hypot(a, b) * math.hypot(c, d)
    if not lengths or abs(a * d - b * c) < _FLAT * lengths:
        return Display(pixel_aspect=pixel_aspect)
    mirrored = a * d < b * c
    if mirrored:
        a, b = -a, -b
    across, down = math.hypot(a, b), math.hypot(c, d)
    angle = math.atan2(c / down - b / across, a / across + d / down)
    return Display(round(angle / (math.pi / 2)) % 4, mirrored, pixel_aspect)
