"""When each frame of a track of sound begins, where the container does not tell for every one."""

from fractions import Fraction

import av

# a time stands before several frames there, or before none, and FFmpeg counts on by the rate that the track began with
_COUNTED_ON = ("mpegts", "mpeg", "aac", "mp3", "ac3", "eac3", "dts")


class SoundClock:
    """Tells the times of a track's frames, which come in decoding order.

    Args:
        tick_s: length (s) of a tick of the track's clock.
        container_format: FFmpeg's name of the container's format.
    """

    def __init__(self, tick_s: Fraction, container_format: str) -> None:
        self._tick_s, self._counts_on = tick_s, container_format in _COUNTED_ON
        self._packet_end: int | None = None
        self._gave_sound = False
        self._counted: set[int] = set()
        # frames are counted on from here, in whole numbers, since there are thousands of them
        self._origin: int | Fraction = 0  # ticks
        self._behind = 0  # samples
        self._rate_hz = 0

    @property
    def end_s(self) -> Fraction | None:
        """When the frame that came last ends, on the container's clock; None before the first."""
        return self._end_tick() * self._tick_s if self._rate_hz else None

    def expect(self, packet: av.Packet) -> None:
        """Told of each packet before its frames: of one that begins where the one before ends the samples know better
        where it lies."""
        if not self._counts_on or packet.pts is None:
            return
        # behind a packet that gave nothing there is a hole, whose length only times know
        if self._gave_sound and self._packet_end is not None and abs(packet.pts - self._packet_end) <= 1:
            self._counted.add(packet.pts)
        self._gave_sound = False
        self._packet_end = packet.pts + (packet.duration or 0)

    def tick_of(self, frame: av.AudioFrame) -> tuple[int, bool]:
        """Time of the next frame in ticks, and whether it has one of its own; one that has none begins where the one
        before ends, the first of them at 0."""
        rate, pts = frame.sample_rate, frame.pts
        # the decoder of MPEG audio gives the first frame of another rate the rate before, so that its length is wrong
        own = pts is not None and not (pts in self._counted and rate == self._rate_hz)
        self._counted.discard(pts)
        if own:
            self._origin, self._behind = pts, 0
        elif rate != self._rate_hz:
            self._origin, self._behind = self._end_tick(), 0
        self._rate_hz = rate
        tick = pts if own else round(self._end_tick())
        self._behind += frame.samples
        self._gave_sound = True
        return tick, own

    def _end_tick(self) -> int | Fraction:
        if not self._behind:
            return self._origin
        return self._origin + Fraction(self._behind * self._tick_s.denominator, self._rate_hz * self._tick_s.numerator)
